//! Settings as rules: what the configuration names, and what every daemon needs besides.
//!
//! A file is named by its folder: one that is replaced by another of its name, as certificates are, is another file to the kernel.

use std::net::IpAddr;
use std::path::Path;

use capstan_confinement::{Access, NETWORK, Rule, Rules};
use capstan_core::mount;
use capstan_listen::listener::{Address, Host};

use crate::daemon::data_dirs::{self, SecretPlace};
use crate::daemon::settings::{MountTable, SecretTable, Settings};

/// What the kernel tells of this process and of the machine's processors: the runtimes and the profilers read it.
const OF_THE_KERNEL: [&str; 3] = ["/proc", "/sys/devices/system/cpu", "/sys/fs/cgroup"];

/// What jobs may be granted under `settings`: that of a daemon's needs which is read anew at a reload.
pub(super) fn granted(settings: &Settings) -> Rules {
    let mut named = Named::default();
    for (name, table) in &settings.mounts {
        named.mount(&format!("mount {name}"), table);
    }
    for table in &settings.mount_prefixes {
        named.mount("mount prefix", table);
    }
    for (name, table) in &settings.secrets {
        named.secret(name, table);
    }
    if !settings.network.is_empty() {
        named.names(NETWORK);
        named.0.allows_tcp_connect = true;
        // A socket of a guest is bound before it is connected.
        named.0.ports.insert(0);
    }
    named.0
}

/// All that a daemon with `settings` needs, which were read from `config`.
pub(super) fn rules(settings: &Settings, config: Option<&Path>) -> Rules {
    let mut named = Named(granted(settings));
    for path in OF_THE_KERNEL {
        named.add("what the kernel tells", Path::new(path), Access::READ);
    }
    named.executed();
    named.add("the data folder", &settings.data, Access::WRITE);
    for host in &settings.hosts {
        named.host(host);
    }
    if settings.listening.access.group.is_some() {
        named.names("the group of sockets");
    }
    let tls = [&settings.tls.cert, &settings.tls.key, &settings.tls.ca, &settings.tls.crl];
    for path in tls.into_iter().flatten() {
        named.file("a file for TLS", path);
    }
    if let Some(path) = config {
        named.file("the configuration", path);
    }
    named.0
}

/// What is named, as it comes to rules.
#[derive(Default)]
struct Named(Rules);

impl Named {
    /// What is not there is left out: whoever needs it says so.
    fn add(&mut self, what: &str, path: &Path, access: Access) {
        if let Some(path) = data_dirs::resolved(path) {
            self.0.paths.push(Rule { purpose: what.to_owned(), path, access });
        }
    }

    /// A file, and another that is put in its place: its folder, and that of what it leads to.
    fn file(&mut self, what: &str, path: &Path) {
        self.beside(what, path, Access::READ_FILES);
        if let Some(path) = data_dirs::resolved(path) {
            self.beside(what, &path, Access::READ_FILES);
        }
    }

    /// The folder that `path` lies in; `path` alone where that is the root.
    fn beside(&mut self, what: &str, path: &Path, access: Access) {
        match path.parent() {
            Some(folder) if folder == Path::new("") => self.add(what, Path::new("."), access),
            Some(folder) if folder != Path::new("/") => self.add(what, folder, access),
            _ => self.add(what, path, access),
        }
    }

    fn secret(&mut self, name: &str, table: &SecretTable) {
        let what = format!("secret {name}");
        match table.place() {
            Some(SecretPlace::File(path)) => self.file(&what, &path),
            Some(SecretPlace::Credential(name)) => {
                if let Some(folder) = data_dirs::credentials() {
                    self.file(&what, &folder.join(name));
                }
            }
            Some(SecretPlace::Variable(_)) | None => {}
        }
    }

    /// The files by which names of hosts and groups are looked up, and that say with which libraries.
    fn names(&mut self, what: &str) {
        self.add(what, Path::new("/etc"), Access::READ);
        self.file(what, Path::new("/etc/resolv.conf"));
    }

    fn mount(&mut self, what: &str, table: &MountTable) {
        let is_file = data_dirs::resolved(&table.path).is_some_and(|path| !data_dirs::is_folder(&path));
        let writes = table.access == mount::Access::ReadWrite;
        let what = format!("{what} ({}, {})", table.path.display(), table.access);
        match (is_file, writes) {
            (true, false) => self.file(&what, &table.path),
            (true, true) => {
                self.beside(&what, &data_dirs::resolved(&table.path).unwrap_or_default(), Access::CHANGE_FILES)
            }
            (false, false) => self.add(&what, &table.path, Access::READ),
            (false, true) => self.add(&what, &table.path, Access::WRITE),
        }
    }

    fn host(&mut self, host: &Host) {
        match host {
            Host::Own(Address::Unix(path)) => self.beside("the folder of a socket", path, Access::SOCKETS),
            Host::Own(Address::Tcp { host, port }) => {
                self.0.ports.insert(*port);
                if host.parse::<IpAddr>().is_err() {
                    self.names("a host");
                }
            }
            Host::Passed(_) => {}
        }
    }

    /// This program, which compiles too, with its libraries and those beside them, which look names up.
    fn executed(&mut self) {
        self.add("the program", Path::new("/proc/self/exe"), Access::EXECUTE);
        self.add("the list of libraries", Path::new("/etc/ld.so.cache"), Access::READ_FILES);
        let program = data_dirs::resolved(Path::new("/proc/self/exe"));
        for library in data_dirs::executed_files().iter().filter(|file| Some(*file) != program.as_ref()) {
            self.beside("libraries", library, Access::EXECUTE);
        }
    }
}
