//! `DaemonAddress`: the address of the daemon that a subcommand connects to.

use std::path::PathBuf;

use capstan_listen::listener::{Address, AddressError};

use super::environment::Environment;
use crate::daemon::DataDirs;

/// Why there is no address of a daemon.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum DaemonAddressError {
    #[error(transparent)]
    Malformed(#[from] AddressError),
    #[error(
        "there is no default address of the daemon, because neither XDG_RUNTIME_DIR nor HOME is set: name the daemon with -H or CAPSTAN_HOST"
    )]
    NoDefault,
}

/// The address of a daemon, and where it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DaemonAddress {
    pub(super) address: Address,
    /// Whether the user named the daemon with `-H` or `CAPSTAN_HOST`. Otherwise the address is the default.
    pub(super) is_explicit: bool,
}

/// Returns the address of the flag, else that of `CAPSTAN_HOST`, else the default unix socket.
///
/// # Errors
/// [`DaemonAddressError`]
pub(super) fn resolve(flag: Option<&str>, environment: &Environment) -> Result<DaemonAddress, DaemonAddressError> {
    let variable = environment.non_empty("CAPSTAN_HOST").map(|value| value.to_string_lossy());
    if let Some(text) = flag.or(variable.as_deref()) {
        return Ok(DaemonAddress { address: text.parse()?, is_explicit: true });
    }
    let address = default(&data_dirs(environment, rustix::process::geteuid().is_root()))?;
    Ok(DaemonAddress { address, is_explicit: false })
}

/// Returns the directories of this user.
pub(super) fn data_dirs(environment: &Environment, is_root: bool) -> DataDirs {
    let folder = |name: &str| environment.non_empty(name).map(PathBuf::from);
    let (runtime, state, home) = (folder("XDG_RUNTIME_DIR"), folder("XDG_STATE_HOME"), folder("HOME"));
    DataDirs { is_root, runtime, state, home }
}

/// Returns the address on which a daemon of this user listens by default.
fn default(dirs: &DataDirs) -> Result<Address, DaemonAddressError> {
    match (dirs.data(), &dirs.runtime) {
        (None, None) => Err(DaemonAddressError::NoDefault),
        // The socket is in the data directory only if there is no directory for sockets. So a missing data directory has no effect here.
        (data, _) => Ok(dirs.host(&data.unwrap_or_default())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(flag: Option<&str>, environment: &Environment, expected: &str) {
        let daemon = resolve(flag, environment).unwrap();
        assert_eq!((daemon.address.to_string().as_str(), daemon.is_explicit), (expected, true));
    }

    #[test]
    fn flag_overrides_variable() {
        let environment = Environment::from([("CAPSTAN_HOST", "unix:///e")]);
        check(Some("tcp://a:1"), &environment, "tcp://a:1");
        check(None, &environment, "unix:///e");
        assert!(resolve(None, &Environment::from([("CAPSTAN_HOST", "nonsense")])).is_err());
    }

    #[test]
    fn default_address_is_socket_of_the_user() {
        let all = [("XDG_RUNTIME_DIR", "/r"), ("XDG_STATE_HOME", "/s"), ("HOME", "/h")];
        let at = |environment: &Environment, is_root| default(&data_dirs(environment, is_root));
        let unix = |path: &str| Ok(Address::Unix(path.into()));
        assert_eq!(at(&Environment::from(all), true), unix("/run/capstan.sock"));
        assert_eq!(at(&Environment::from(all), false), unix("/r/capstan.sock"));
        let [runtime, state, home] = all;
        assert_eq!(at(&Environment::from([runtime]), false), unix("/r/capstan.sock"));
        assert_eq!(at(&Environment::from([("XDG_RUNTIME_DIR", ""), state]), false), unix("/s/capstan/capstan.sock"));
        assert_eq!(at(&Environment::from([home]), false), unix("/h/.local/state/capstan/capstan.sock"));
        assert_eq!(at(&Environment::default(), false), Err(DaemonAddressError::NoDefault));
    }

    #[test]
    fn empty_variable_counts_as_unset() {
        let daemon = resolve(None, &Environment::from([("CAPSTAN_HOST", ""), ("HOME", "/h")])).unwrap();
        assert!(!daemon.is_explicit);
    }
}
