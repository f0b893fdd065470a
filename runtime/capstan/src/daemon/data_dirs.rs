//! Where the daemon's authority comes from: the environment, read once, and the two paths that the operator names.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::{self, Read as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use cap_std::fs::Dir;
use capstan_core::mount::{self, MountSource};
use capstan_listen::listener::{Activation, Address};
use capstan_listen::tls;
use rustix::fs::OFlags;

/// A FIFO in the place of a file must not hold the start back.
const O_NONBLOCK: i32 = OFlags::NONBLOCK.bits().cast_signed();
/// Bytes that are read of a secret: more than the longest may have.
const MOST_SECRET: u64 = 128 << 10;

/// What the environment says about where things are.
#[derive(Clone, Debug, Default)]
pub(crate) struct Places {
    pub(crate) is_root: bool,
    pub(crate) runtime: Option<PathBuf>,
    pub(crate) state: Option<PathBuf>,
    pub(crate) home: Option<PathBuf>,
    /// `CAPSTAN_LOG`
    pub(crate) log_filter: Option<String>,
}

impl Places {
    /// The environment of this process.
    pub(super) fn of_process() -> Self {
        #[expect(
            clippy::disallowed_methods,
            reason = "this is the edge at which the daemon reads the environment, once"
        )]
        let variable = |name| std::env::var_os(name).filter(|value: &OsString| !value.is_empty());
        Self {
            is_root: rustix::process::geteuid().is_root(),
            runtime: variable("XDG_RUNTIME_DIR").map(PathBuf::from),
            state: variable("XDG_STATE_HOME").map(PathBuf::from),
            home: variable("HOME").map(PathBuf::from),
            log_filter: variable("CAPSTAN_LOG").and_then(|value| value.into_string().ok()),
        }
    }

    /// The data folder where none is named; `None` where the environment names no place for it.
    pub(crate) fn data(&self) -> Option<PathBuf> {
        if self.is_root {
            return Some("/var/lib/capstan".into());
        }
        let state = self.state.clone().or_else(|| self.home.as_ref().map(|home| home.join(".local/state")));
        state.map(|state| state.join("capstan"))
    }

    /// The address where none is named, for the daemon and for its clients.
    pub(crate) fn host(&self, data: &Path) -> Address {
        Address::Unix(match &self.runtime {
            _ if self.is_root => "/run/capstan.sock".into(),
            Some(runtime) => runtime.join("capstan.sock"),
            None => data.join("capstan.sock"),
        })
    }
}

/// What whoever started the daemon, such as systemd, has to say to it.
#[derive(Clone, Debug, Default)]
pub(super) struct Supervisor {
    /// `NOTIFY_SOCKET`
    pub(super) notify: Option<OsString>,
    /// How often it wants to hear that the daemon lives: `WATCHDOG_USEC`, where `WATCHDOG_PID` is this process or nobody.
    pub(super) watchdog: Option<Duration>,
    /// What it has passed to listen on.
    pub(super) activation: Activation,
}

impl Supervisor {
    /// As the environment of this process says.
    pub(super) fn of_process() -> Self {
        #[expect(
            clippy::disallowed_methods,
            reason = "this is the edge at which the daemon reads the environment, once"
        )]
        let variable = |name| std::env::var_os(name);
        let text = |name| variable(name).map(|value| value.to_string_lossy().into_owned());
        Self {
            notify: variable("NOTIFY_SOCKET").filter(|socket| !socket.is_empty()),
            watchdog: watchdog(text("WATCHDOG_USEC").as_deref(), text("WATCHDOG_PID").as_deref(), std::process::id()),
            activation: Activation { fds: text("LISTEN_FDS"), pid: text("LISTEN_PID"), names: text("LISTEN_FDNAMES") },
        }
    }
}

fn watchdog(micros: Option<&str>, of: Option<&str>, me: u32) -> Option<Duration> {
    let micros = micros?.parse().ok().filter(|micros| *micros > 0)?;
    of.is_none_or(|of| of.parse() == Ok(me)).then(|| Duration::from_micros(micros))
}

/// Whether this process has something open under a number.
#[expect(clippy::disallowed_methods, reason = "what this process has open, under the name that the kernel gives it")]
pub(super) fn is_open(number: u32) -> bool {
    std::fs::symlink_metadata(format!("/proc/self/fd/{number}")).is_ok()
}

/// What `vm.max_map_count` is set to; `None` where the kernel does not say.
#[expect(clippy::disallowed_methods, reason = "a setting of the kernel, under the name that it alone gives out")]
pub(super) fn max_maps() -> Option<usize> {
    std::fs::read_to_string("/proc/sys/vm/max_map_count").ok()?.trim().parse().ok()
}

/// What the kernel says of this process: its memory now and at most, in bytes, and its threads. Empty where it does not say.
#[expect(clippy::disallowed_methods, reason = "the process itself, under the name that the kernel gives out")]
pub(super) fn process_numbers() -> Vec<(&'static str, u64)> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let number = |name: &str| {
        let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        value.trim().trim_end_matches(" kB").parse::<u64>().ok()
    };
    let bytes = |name| number(name).map(|kilobytes| kilobytes * 1024);
    let all = [
        ("memory_bytes", bytes("VmRSS")),
        ("memory_peak_bytes", bytes("VmHWM")),
        ("address_space_bytes", bytes("VmSize")),
        ("threads", number("Threads")),
    ];
    all.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

/// The most connections that the kernel holds for a listener; `None` where it does not say.
#[expect(clippy::disallowed_methods, reason = "a setting of the kernel, under the name that it alone gives out")]
pub(super) fn max_backlog() -> Option<u32> {
    std::fs::read_to_string("/proc/sys/net/core/somaxconn").ok()?.trim().parse().ok()
}

/// The path that `path` leads to, without symlinks; `None` where there is nothing.
#[expect(clippy::disallowed_methods, reason = "looked at, and not opened: where what the operator named lies")]
pub(super) fn resolved(path: &Path) -> Option<PathBuf> {
    std::fs::canonicalize(path).ok()
}

/// Whether there is a folder at `path`.
#[expect(clippy::disallowed_methods, reason = "looked at, and not opened: what the operator named")]
pub(super) fn is_folder(path: &Path) -> bool {
    path.is_dir()
}

/// The files that this process executes code of: itself and its libraries.
#[expect(clippy::disallowed_methods, reason = "the process itself, under the name that the kernel gives out")]
pub(super) fn executed_files() -> BTreeSet<PathBuf> {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let executed = maps.lines().filter(|line| line.split(' ').nth(1).is_some_and(|rights| rights.contains('x')));
    executed.filter_map(|line| line.find('/').map(|at| PathBuf::from(&line[at..]))).collect()
}

/// Where the service manager hands credentials over.
#[expect(clippy::disallowed_methods, reason = "the operator named a credential in the configuration")]
pub(super) fn credentials() -> Option<PathBuf> {
    std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from)
}

/// The text of the configuration file.
#[expect(clippy::disallowed_methods, reason = "the operator named this file in --config")]
pub(super) fn read_config(path: &Path) -> io::Result<String> {
    std::fs::read_to_string(path)
}

/// A key, or certificates, with who may read them.
#[expect(clippy::disallowed_methods, reason = "the operator named this file in [tls] or a flag --tls-…")]
pub(super) fn read_tls(path: &Path) -> io::Result<tls::Read> {
    let mut file = std::fs::File::open(path)?;
    let mode = file.metadata()?.permissions().mode();
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(tls::Read { bytes, mode })
}

/// The data folder; made, for this user alone, if it is not there.
#[expect(clippy::disallowed_methods, reason = "the operator named this folder in --data, or left it at the default")]
pub(super) fn open_data(path: &Path) -> io::Result<Dir> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    Dir::open_ambient_dir(path, cap_std::ambient_authority())
}

/// A directory or a file that is granted to jobs, by the operator's configuration or by the user of `capstan run`.
///
/// # Errors
/// What the system says; what is neither a directory nor a file, which is never opened: that could block.
#[expect(clippy::disallowed_methods, reason = "the operator or the user named it, to grant it")]
pub(crate) fn open_mount(path: &Path) -> io::Result<MountSource> {
    if std::fs::metadata(path)?.is_dir() {
        let dir = Dir::open_ambient_dir(path, cap_std::ambient_authority())?;
        return Ok(MountSource { dir: Arc::new(dir), file: None });
    }
    let path = std::fs::canonicalize(path)?;
    let folder = path.parent().ok_or(io::ErrorKind::NotFound)?;
    let dir = Dir::open_ambient_dir(folder, cap_std::ambient_authority())?;
    mount::open_file(Arc::new(dir), &path)
}

/// A directory below which the operator's configuration grants any path, and its path as text.
#[expect(clippy::disallowed_methods, reason = "the operator named this directory in the configuration")]
pub(super) fn open_prefix(path: &Path) -> io::Result<(Arc<Dir>, String)> {
    let text =
        path.to_str().filter(|_| path.is_absolute()).ok_or_else(|| io::Error::other("it is no absolute path"))?;
    Ok((Arc::new(Dir::open_ambient_dir(path, cap_std::ambient_authority())?), text.to_owned()))
}

/// The value of a variable that the operator's configuration passes on to jobs; `None` where it is not set, or is not text.
#[expect(clippy::disallowed_methods, reason = "the operator named this variable in the configuration")]
pub(super) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Where a secret is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum SecretPlace {
    File(PathBuf),
    Variable(String),
    /// What the service manager hands over under a name (`man 5 systemd.exec`, `LoadCredential=`).
    Credential(String),
}

/// A secret, as it is kept; of a file also whether others than its owner may read it.
#[expect(clippy::disallowed_methods, reason = "the operator named this place in the configuration")]
pub(super) fn read_secret(place: &SecretPlace) -> io::Result<(Vec<u8>, bool)> {
    let path = match place {
        SecretPlace::File(path) => path.clone(),
        SecretPlace::Variable(name) => {
            let value = std::env::var_os(name).ok_or_else(|| io::Error::other("the variable is not set"))?;
            return Ok((value.into_encoded_bytes(), false));
        }
        SecretPlace::Credential(name) => {
            let folder = credentials();
            folder.ok_or_else(|| io::Error::other("no service manager has handed credentials over"))?.join(name)
        }
    };
    let file = std::fs::OpenOptions::new().read(true).custom_flags(O_NONBLOCK).open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    let mut bytes = Vec::new();
    file.take(MOST_SECRET).read_to_end(&mut bytes)?;
    Ok((bytes, metadata.permissions().mode() & 0o077 != 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_places_of_the_user() {
        let all = Places {
            is_root: false,
            runtime: Some("/run/user/1".into()),
            state: Some("/s".into()),
            home: Some("/h".into()),
            log_filter: None,
        };
        let unix = |path: &str| Address::Unix(path.into());
        assert_eq!(all.data(), Some("/s/capstan".into()));
        assert_eq!(all.host(Path::new("/d")), unix("/run/user/1/capstan.sock"));
        let bare = Places { runtime: None, state: None, ..all.clone() };
        assert_eq!(bare.data(), Some("/h/.local/state/capstan".into()));
        assert_eq!(bare.host(Path::new("/d")), unix("/d/capstan.sock"));
        let root = Places { is_root: true, ..all };
        assert_eq!(root.data(), Some("/var/lib/capstan".into()));
        assert_eq!(root.host(Path::new("/d")), unix("/run/capstan.sock"));
        assert_eq!(Places::default().data(), None);
    }

    #[test]
    fn the_watchdog_is_for_whom_it_is_meant() {
        let second = Some(Duration::from_secs(1));
        assert_eq!(watchdog(Some("1000000"), None, 7), second);
        assert_eq!(watchdog(Some("1000000"), Some("7"), 7), second);
        for (micros, of) in [
            (None, Some("7")),
            (Some("1000000"), Some("8")),
            (Some("1000000"), Some("")),
            (Some("0"), None),
            (Some("soon"), None),
            (Some("-1"), None),
        ] {
            assert_eq!(watchdog(micros, of, 7), None, "{micros:?} {of:?}");
        }
    }

    #[test]
    fn what_is_open_is_told_from_what_is_not() {
        use std::os::fd::AsRawFd as _;
        let file = tempfile::tempfile().unwrap();
        assert!(is_open(file.as_raw_fd().try_into().unwrap()));
        assert!(!is_open(999_999));
    }

    #[expect(clippy::disallowed_methods, reason = "a test looks into its own folder")]
    #[test]
    fn a_data_folder_is_made_for_its_user_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b");
        open_data(&path).unwrap();
        let mode = folder.path().join("a/b").metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        open_data(&path).unwrap();
    }
}
