//! `capstan daemon`: the command line of the daemon. [`crate::daemon`] interprets it.

use std::path::PathBuf;
use std::time::Duration;

use capstan_confinement::Mode;
use capstan_core::units;
use clap::Args;

use super::tls::TlsArgs;
use crate::daemon::Flags;

/// The command line of `capstan daemon`.
#[derive(Debug, Args)]
pub(super) struct Daemon {
    /// Address to listen on: a unix socket, a TCP port, or sockets passed by systemd. May be repeated
    ///
    /// [default for root: unix:///run/capstan.sock; for others: capstan.sock in XDG_RUNTIME_DIR, else in the data directory]. TCP on an
    /// address other than loopback requires --tls-cert, --tls-key and --tls-ca, or --insecure-tcp. Example: -H tcp://127.0.0.1:7878
    #[arg(short = 'H', long = "host", value_name = "unix://PATH|tcp://HOST:PORT|fd://[NAME|N|*]")]
    hosts: Vec<String>,
    /// Address to serve the routes on that handlers claim, and nothing else. May be repeated [default: none]
    ///
    /// Everyone who can connect may use the routes, over TCP without TLS too. TCP uses --tls-cert if it is given. Example:
    /// --serve tcp://0.0.0.0:8080
    #[arg(long, value_name = "unix://PATH|tcp://HOST:PORT|fd://[NAME|N|*]")]
    serve: Vec<String>,
    /// File to append a line to for each request that a handler answers, or - for stdout [default: none]
    #[arg(long, value_name = "FILE|-")]
    access_log: Option<PathBuf>,
    /// Format of the access log [default: common]
    #[arg(long, value_name = "common|json")]
    access_log_format: Option<String>,
    /// Data directory: programs, compiled code, key and lock file
    ///
    /// [default for root: /var/lib/capstan; for others: capstan in XDG_STATE_HOME, else in ~/.local/state]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Configuration file. Options override it [default: none]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Log everything, and serve profiles of the daemon and of jobs below /debug/ [default: off]
    #[arg(long)]
    debug: bool,
    /// Serve TCP to other machines without client certificates: anyone who can connect may use the API [default: off]
    #[arg(long)]
    insecure_tcp: bool,
    /// Mode of the unix sockets, in octal [default: 0660]
    #[arg(long, value_name = "MODE")]
    socket_mode: Option<String>,
    /// Group of the unix sockets, by name or number [default: the group of the daemon]
    #[arg(short = 'G', long, value_name = "GROUP")]
    socket_group: Option<String>,
    /// PEM file with the certificate revocation lists of the CAs of --tls-ca, one list for each CA [default: none]
    ///
    /// Clients whose certificate is revoked are rejected.
    #[arg(long, value_name = "FILE", help_heading = "TLS")]
    tls_crl: Option<PathBuf>,
    /// Connections that the kernel holds for each listener, as far as net.core.somaxconn allows [default: 4096]
    #[arg(long, value_name = "N")]
    backlog: Option<u32>,
    /// How to treat clients while the daemon starts [default: hold]
    ///
    /// `hold`: the kernel holds their connections, and no client gets a response. `answer`: /_ping and /_ready get 503 immediately, and
    /// all other requests wait.
    #[arg(long, value_name = "hold|answer")]
    while_booting: Option<String>,
    /// Confinement: privileges that the daemon gives up when it starts [default: best]
    ///
    /// `off`: none. `best`: all that this kernel allows. `strict`: all; if the kernel does not support one of them, the
    /// daemon does not start.
    #[arg(long, value_name = "off|best|strict")]
    confine: Option<Mode>,
    /// Maximum time of the start: 30s, 5m, or seconds. Beyond it the daemon exits with 1 [default: 5m]
    #[arg(long, value_name = "TIME", value_parser = units::duration)]
    boot_deadline: Option<Duration>,
}

impl Daemon {
    /// Returns the flags for the daemon. An address before the subcommand comes first.
    pub(super) fn flags(self, global_host: Option<String>, tls: TlsArgs) -> Flags {
        Flags {
            hosts: global_host.into_iter().chain(self.hosts).collect(),
            serve: self.serve,
            access_log: self.access_log,
            access_log_format: self.access_log_format,
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
