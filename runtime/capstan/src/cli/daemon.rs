//! `capstan daemon`: what may be typed; what it means is the daemon's own affair.

use std::path::PathBuf;
use std::time::Duration;

use capstan_confinement::Mode;
use capstan_core::units;
use clap::Args;

use super::tls::TlsArgs;
use crate::daemon::Flags;

/// What `capstan daemon` is called with.
#[derive(Debug, Args)]
pub(super) struct Daemon {
    /// Listen here, on a unix socket, on TCP, or on what was passed by systemd; may be repeated. Default: one unix socket.
    #[arg(short = 'H', long = "host", value_name = "unix://PATH|tcp://HOST:PORT|fd://[NAME|N|*]")]
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
    /// Give unix sockets this mode, in octal. Default: 0660.
    #[arg(long, value_name = "MODE")]
    socket_mode: Option<String>,
    /// Give unix sockets to this group, by name or number. Default: the daemon's own.
    #[arg(short = 'G', long, value_name = "GROUP")]
    socket_group: Option<String>,
    /// Let in nobody over TCP whose certificate is on these lists, one from each of the CAs.
    #[arg(long, value_name = "FILE")]
    tls_crl: Option<PathBuf>,
    /// Have the kernel hold this many connections for each listener, as far as it allows. Default: 4096.
    #[arg(long, value_name = "N")]
    backlog: Option<u32>,
    /// What becomes of clients while the daemon starts: they are held, or told so where they ask whether it is ready. Default: hold.
    #[arg(long, value_name = "hold|answer")]
    while_booting: Option<String>,
    /// What the daemon gives up at its start: nothing, all that this kernel lets it, or all or else not start. Default: best.
    #[arg(long, value_name = "off|best|strict")]
    confine: Option<Mode>,
    /// Give up a start that takes longer. Default: 5m.
    #[arg(long, value_name = "TIME", value_parser = units::duration)]
    boot_deadline: Option<Duration>,
}

impl Daemon {
    /// The flags, with an address that stood before the subcommand as the first.
    pub(super) fn flags(self, outer: Option<String>, tls: TlsArgs) -> Flags {
        Flags {
            hosts: outer.into_iter().chain(self.hosts).collect(),
            data: self.data,
            config: self.config,
            debug: self.debug,
            insecure_tcp: self.insecure_tcp,
            boot_deadline: self.boot_deadline,
            while_booting: self.while_booting,
            backlog: self.backlog,
            socket_mode: self.socket_mode,
            socket_group: self.socket_group,
            tls_cert: tls.tls_cert,
            tls_key: tls.tls_key,
            tls_ca: tls.tls_ca,
            tls_crl: self.tls_crl,
            confine: self.confine,
        }
    }
}
