//! `Flags`: the command-line flags of `capstan daemon`.

use std::path::PathBuf;
use std::time::Duration;

use capstan_confinement::Mode;

/// The command-line flags of `capstan daemon`. A flag that is absent leaves the setting to the configuration file, or to its default.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    /// The hosts to listen on.
    pub hosts: Vec<String>,
    /// The hosts to serve claimed routes on.
    pub serve: Vec<String>,
    /// The file of the access log, or `-` for stdout.
    pub access_log: Option<PathBuf>,
    /// The format of the access log: `common` or `json`.
    pub access_log_format: Option<String>,
    /// The data directory.
    pub data: Option<PathBuf>,
    /// The configuration file.
    pub config: Option<PathBuf>,
    /// Whether to log everything and to serve `/debug/`.
    pub debug: bool,
    /// Whether clients on other machines may connect over TCP without authentication.
    pub insecure_tcp: bool,
    /// The limit on the time of the start.
    pub boot_deadline: Option<Duration>,
    /// What happens to connections during the start: `hold` or `answer`.
    pub while_booting: Option<String>,
    /// The number of connections that the kernel holds for each listener.
    pub backlog: Option<u32>,
    /// The mode of unix sockets, in octal.
    pub socket_mode: Option<String>,
    /// The group of unix sockets, by name or number.
    pub socket_group: Option<String>,
    /// The certificate for TCP.
    pub tls_cert: Option<PathBuf>,
    /// The private key of the certificate.
    pub tls_key: Option<PathBuf>,
    /// The CAs of client certificates, which are required if this is set.
    pub tls_ca: Option<PathBuf>,
    /// The certificate revocation lists of these CAs.
    pub tls_crl: Option<PathBuf>,
    /// How strictly the daemon confines itself.
    pub confine: Option<Mode>,
}
