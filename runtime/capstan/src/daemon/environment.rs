//! Reads the environment variables of the daemon. No other file of the daemon does.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::time::Duration;

use capstan_listen::listener::SocketActivation;

use super::data_dirs::DataDirs;

/// Returns the value of a variable. Returns `None` if it is not set.
#[expect(clippy::disallowed_methods, reason = "this is the one place where the daemon reads the environment")]
pub(super) fn variable(name: impl AsRef<OsStr>) -> Option<OsString> {
    std::env::var_os(name)
}

fn nonempty(name: &str) -> Option<OsString> {
    variable(name).filter(|value| !value.is_empty())
}

/// Returns the directories of this user.
pub(super) fn data_dirs() -> DataDirs {
    DataDirs {
        is_root: rustix::process::geteuid().is_root(),
        runtime: nonempty("XDG_RUNTIME_DIR").map(PathBuf::from),
        state: nonempty("XDG_STATE_HOME").map(PathBuf::from),
        home: nonempty("HOME").map(PathBuf::from),
    }
}

/// Returns the log filter from `CAPSTAN_LOG`, which has the syntax of `RUST_LOG`.
pub(super) fn log_filter() -> Option<String> {
    nonempty("CAPSTAN_LOG").and_then(|value| value.into_string().ok())
}

/// Returns the directory of the credentials that the service manager passes (`man 5 systemd.exec`, `LoadCredential=`).
pub(super) fn credentials_directory() -> Option<PathBuf> {
    variable("CREDENTIALS_DIRECTORY").map(PathBuf::from)
}

/// Returns the files and directories that replace the certificates of the distribution: `SSL_CERT_FILE`, `SSL_CERT_DIR`.
pub(super) fn certificates() -> Vec<PathBuf> {
    let directories = nonempty("SSL_CERT_DIR");
    let directories = directories.iter().flat_map(std::env::split_paths);
    nonempty("SSL_CERT_FILE").map(PathBuf::from).into_iter().chain(directories).collect()
}

/// What a service manager such as systemd passes to the daemon.
#[derive(Clone, Debug, Default)]
pub(super) struct ServiceManager {
    /// `NOTIFY_SOCKET`
    pub(super) notify_socket: Option<OsString>,
    /// The longest time between two signs of life: `WATCHDOG_USEC`, unless `WATCHDOG_PID` names another process.
    pub(super) watchdog: Option<Duration>,
    /// The sockets to listen on.
    pub(super) activation: SocketActivation,
}

impl ServiceManager {
    /// Reads the variables of this process.
    pub(super) fn from_environment() -> Self {
        let text = |name| variable(name).map(|value| value.to_string_lossy().into_owned());
        Self {
            notify_socket: nonempty("NOTIFY_SOCKET"),
            watchdog: watchdog(text("WATCHDOG_USEC").as_deref(), text("WATCHDOG_PID").as_deref(), std::process::id()),
            activation: SocketActivation {
                fds: text("LISTEN_FDS"),
                pid: text("LISTEN_PID"),
                names: text("LISTEN_FDNAMES"),
            },
        }
    }
}

fn watchdog(micros: Option<&str>, pid: Option<&str>, own_pid: u32) -> Option<Duration> {
    let micros = micros?.parse().ok().filter(|micros| *micros > 0)?;
    pid.is_none_or(|pid| pid.parse() == Ok(own_pid)).then(|| Duration::from_micros(micros))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn watchdog_of_another_process_or_without_time_is_none() {
        let second = Some(Duration::from_secs(1));
        assert_eq!(watchdog(Some("1000000"), None, 7), second);
        assert_eq!(watchdog(Some("1000000"), Some("7"), 7), second);
        for (micros, pid) in [
            (None, Some("7")),
            (Some("1000000"), Some("8")),
            (Some("1000000"), Some("")),
            (Some("0"), None),
            (Some("soon"), None),
            (Some("-1"), None),
        ] {
            assert_eq!(watchdog(micros, pid, 7), None, "{micros:?} {pid:?}");
        }
    }
}
