//! Translates the settings into the rules of the daemon's confinement: what the configuration names, and what every daemon needs.
//!
//! The rule for a file names its directory, because a file that is replaced, as certificates are, is a different file for the kernel.

use std::ffi::OsStr;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use capstan_confinement::{Access, NETWORK, Rule, Rules};
use capstan_core::mount;
use capstan_listen::listener::{Address, Host};

use crate::daemon::files::{self, SecretSource};
use crate::daemon::settings::{MountTable, SecretTable, Settings, WebhookSettings};
use crate::daemon::{environment, procfs};

/// Files of the kernel about this process and the machine's processors, which the tokio runtimes and the profilers read.
const KERNEL_PATHS: [&str; 3] = ["/proc", "/sys/devices/system/cpu", "/sys/fs/cgroup"];

/// The port of name servers.
const DNS: u16 = 53;

/// Returns the rules for what jobs may be granted. A reload can change these settings.
pub(super) fn job_rules(settings: &Settings) -> Rules {
    let mut allowlist = Allowlist::default();
    for (name, table) in &settings.mounts {
        allowlist.mount(&format!("mount {name}"), table);
    }
    for table in &settings.mount_prefixes {
        allowlist.mount("mount prefix", table);
    }
    for (name, table) in &settings.secrets {
        allowlist.secret(name, table);
    }
    if !settings.network.is_empty() {
        allowlist.name_service(NETWORK);
        allowlist.0.allows_tcp_connect = true;
        // WASI binds the socket of a guest before it connects it.
        allowlist.0.ports.insert(0);
    }
    if !settings.outbound.is_empty() {
        allowlist.name_service("HTTP requests of jobs");
        allowlist.0.allows_tcp_connect = true;
        allowlist.roots("HTTP requests of jobs", settings.outbound_ca.as_deref());
    }
    allowlist.0
}

/// Returns the rules for everything that a daemon with these settings needs. `config` is its configuration file.
pub(super) fn daemon_rules(settings: &Settings, config: Option<&Path>) -> Rules {
    let mut allowlist = Allowlist(job_rules(settings));
    for path in KERNEL_PATHS {
        allowlist.add("files of the kernel", Path::new(path), Access::READ);
    }
    allowlist.executables();
    allowlist.add("the data directory", &settings.data, Access::WRITE);
    for host in settings.hosts.iter().chain(&settings.serve) {
        allowlist.host(host);
    }
    if settings.listening.permissions.group.is_some() {
        allowlist.name_service("the group of sockets");
    }
    let tls = [&settings.tls.cert, &settings.tls.key, &settings.tls.ca, &settings.tls.crl];
    for path in tls.into_iter().flatten() {
        allowlist.file("a file for TLS", path);
    }
    if let Some(path) = config {
        allowlist.file("the configuration", path);
    }
    for (name, webhook) in &settings.webhooks {
        allowlist.webhook(name, webhook);
    }
    allowlist.0
}

/// Returns where the debug information of `program` may be, if it is apart: beside the program, in `.debug` there, and below
/// `/usr/lib/debug`. Backtraces and profiles need it.
fn debug_files(program: &Path) -> [PathBuf; 3] {
    let directory = program.parent().unwrap_or(Path::new("/"));
    let name = [program.file_name().unwrap_or_default(), OsStr::new(".debug")].join(OsStr::new(""));
    let system = Path::new("/usr/lib/debug").join(directory.strip_prefix("/").unwrap_or(directory));
    [directory.join(&name), directory.join(".debug").join(&name), system.join(&name)]
}

/// Collects rules.
#[derive(Default)]
struct Allowlist(Rules);

impl Allowlist {
    /// Allows access to `path`. Skips a path that does not exist: its first use reports that.
    fn add(&mut self, what: &str, path: &Path, access: Access) {
        if let Some(path) = files::resolve(path) {
            self.0.paths.push(Rule { purpose: what.to_owned(), path, access });
        }
    }

    /// Allows reading a file and its replacements: its directory, and the directory that a symbolic link leads to.
    fn file(&mut self, what: &str, path: &Path) {
        self.parent(what, path, Access::READ_FILES);
        if let Some(path) = files::resolve(path) {
            self.parent(what, &path, Access::READ_FILES);
        }
    }

    /// Allows access to the parent directory of `path`, or only to `path` if the parent is the root directory.
    fn parent(&mut self, what: &str, path: &Path, access: Access) {
        match path.parent() {
            Some(parent) if parent == Path::new("") => self.add(what, Path::new("."), access),
            Some(parent) if parent != Path::new("/") => self.add(what, parent, access),
            _ => self.add(what, path, access),
        }
    }

    fn secret(&mut self, name: &str, table: &SecretTable) {
        if let Some(source) = table.source() {
            self.secret_source(&format!("secret {name}"), &source);
        }
    }

    fn secret_source(&mut self, what: &str, source: &SecretSource) {
        match source {
            SecretSource::File(path) => self.file(what, path),
            SecretSource::Credential(name) => {
                if let Some(directory) = environment::credentials_directory() {
                    self.file(what, &directory.join(name));
                }
            }
            SecretSource::Variable(_) => {}
        }
    }

    /// Allows connecting to the receiver, looking up its name, and reading its key and the certificates that it may have.
    fn webhook(&mut self, name: &str, webhook: &WebhookSettings) {
        let what = format!("webhook {name}");
        self.secret_source(&what, &webhook.secret);
        let endpoint = &webhook.config.endpoint;
        self.0.connect_ports.insert(endpoint.port);
        if endpoint.host.parse::<IpAddr>().is_err() {
            self.name_service(&what);
            // An answer that is too long for a datagram is asked for again over TCP.
            self.0.connect_ports.insert(DNS);
        }
        if endpoint.is_https || webhook.tls_ca.is_some() {
            self.roots(&what, webhook.tls_ca.as_deref());
        }
    }

    /// Allows reading the certificates in `ca`, or those that this machine trusts.
    fn roots(&mut self, what: &str, ca: Option<&Path>) {
        if let Some(path) = ca {
            return self.file(what, path);
        }
        self.add(what, Path::new("/etc"), Access::READ);
        for path in environment::certificates() {
            self.add(what, &path, Access::READ);
            self.file(what, &path);
        }
    }

    /// Allows looking up the names of hosts and groups: the files with the names, and with the configuration of the name service.
    fn name_service(&mut self, what: &str) {
        self.add(what, Path::new("/etc"), Access::READ);
        self.file(what, Path::new("/etc/resolv.conf"));
    }

    fn mount(&mut self, what: &str, table: &MountTable) {
        let is_file = files::resolve(&table.path).is_some_and(|path| !files::is_directory(&path));
        let is_writable = table.access == mount::Access::ReadWrite;
        let what = format!("{what} ({}, {})", table.path.display(), table.access);
        match (is_file, is_writable) {
            (true, false) => self.file(&what, &table.path),
            (true, true) => self.parent(&what, &files::resolve(&table.path).unwrap_or_default(), Access::CHANGE_FILES),
            (false, false) => self.add(&what, &table.path, Access::READ),
            (false, true) => self.add(&what, &table.path, Access::WRITE),
        }
    }

    fn host(&mut self, host: &Host) {
        match host {
            Host::Bind(Address::Unix(path)) => self.parent("the directory of a socket", path, Access::SOCKETS),
            Host::Bind(Address::Tcp { host, port }) => {
                self.0.ports.insert(*port);
                if host.parse::<IpAddr>().is_err() {
                    self.name_service("a host");
                }
            }
            Host::Inherited(_) => {}
        }
    }

    /// Allows executing this program, which is the compiler too, and libraries. The name service loads libraries from the same directories.
    fn executables(&mut self) {
        self.add("the program", Path::new("/proc/self/exe"), Access::EXECUTE);
        self.add("the list of libraries", Path::new("/etc/ld.so.cache"), Access::READ_FILES);
        let program = files::resolve(Path::new("/proc/self/exe"));
        for path in program.iter().flat_map(|program| debug_files(program)) {
            self.add("the debug information of the program", &path, Access::READ_FILES);
        }
        for library in procfs::executed_files().iter().filter(|file| Some(*file) != program.as_ref()) {
            self.parent("libraries", library, Access::EXECUTE);
        }
    }
}
