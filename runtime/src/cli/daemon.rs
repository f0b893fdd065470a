//! `capstan daemon`: what may be typed; what it means is the daemon's own affair.

use std::path::PathBuf;

use clap::Args;

use crate::daemon::Flags;

/// What `capstan daemon` is called with.
#[derive(Debug, Args)]
pub(super) struct Daemon {
    /// Listen here, on a unix socket or on TCP; may be repeated. Default: one unix socket.
    #[arg(short = 'H', long = "host", value_name = "unix://PATH|tcp://HOST:PORT")]
    hosts: Vec<String>,
    /// Keep data here. Default: /var/lib/capstan for root, else capstan in the state folder of the user.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Read the configuration from this file; flags go before it.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Log everything, and serve what tells of the process, profiles among it.
    #[arg(long)]
    debug: bool,
    /// Serve TCP to other machines, without asking who they are.
    #[arg(long)]
    insecure_tcp: bool,
}

impl Daemon {
    /// The flags, with an address that stood before the subcommand as the first.
    pub(super) fn flags(self, outer: Option<String>) -> Flags {
        let Self { hosts, data, config, debug, insecure_tcp } = self;
        Flags { hosts: outer.into_iter().chain(hosts).collect(), data, config, debug, insecure_tcp }
    }
}
