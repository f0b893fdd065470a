//! Which daemon a command talks to.

use std::path::PathBuf;

use capstan_listen::listener::{Address, AddressError};

use super::environment::Environment;
use crate::daemon::DataDirs;

/// Why there is no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ChoiceError {
    #[error(transparent)]
    Malformed(#[from] AddressError),
    #[error(
        "neither XDG_RUNTIME_DIR nor HOME is set, so there is no default address; name the daemon with -H or CAPSTAN_HOST"
    )]
    NoDefault,
}

/// The address of the daemon to talk to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Choice {
    pub(super) address: Address,
    /// Whether the user named it; else it is the default.
    pub(super) named: bool,
}

/// The flag, else `CAPSTAN_HOST`, else the default unix socket.
///
/// # Errors
/// [`ChoiceError`]
pub(super) fn choose(flag: Option<&str>, environment: &Environment) -> Result<Choice, ChoiceError> {
    let variable = environment.filled("CAPSTAN_HOST").map(|value| value.to_string_lossy());
    if let Some(text) = flag.or(variable.as_deref()) {
        return Ok(Choice { address: text.parse()?, named: true });
    }
    let address = default(&places(environment, rustix::process::geteuid().is_root()))?;
    Ok(Choice { address, named: false })
}

fn places(environment: &Environment, is_root: bool) -> DataDirs {
    let folder = |name: &str| environment.filled(name).map(PathBuf::from);
    let (runtime, state, home) = (folder("XDG_RUNTIME_DIR"), folder("XDG_STATE_HOME"), folder("HOME"));
    DataDirs { is_root, runtime, state, home }
}

/// Where a daemon of this user listens that was told nothing.
fn default(places: &DataDirs) -> Result<Address, ChoiceError> {
    match (places.data(), &places.runtime) {
        (None, None) => Err(ChoiceError::NoDefault),
        // The socket is in the data folder only where there is none for sockets.
        (data, _) => Ok(places.host(&data.unwrap_or_default())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(flag: Option<&str>, environment: &Environment, expected: &str) {
        let choice = choose(flag, environment).unwrap();
        assert_eq!((choice.address.to_string().as_str(), choice.named), (expected, true));
    }

    #[test]
    fn the_flag_goes_before_the_variable() {
        let environment = Environment::from([("CAPSTAN_HOST", "unix:///e")]);
        check(Some("tcp://a:1"), &environment, "tcp://a:1");
        check(None, &environment, "unix:///e");
        assert!(choose(None, &Environment::from([("CAPSTAN_HOST", "nonsense")])).is_err());
    }

    #[test]
    fn the_default_is_a_socket_that_the_user_owns() {
        let all = [("XDG_RUNTIME_DIR", "/r"), ("XDG_STATE_HOME", "/s"), ("HOME", "/h")];
        let at = |environment: &Environment, is_root| default(&places(environment, is_root));
        let unix = |path: &str| Ok(Address::Unix(path.into()));
        assert_eq!(at(&Environment::from(all), true), unix("/run/capstan.sock"));
        assert_eq!(at(&Environment::from(all), false), unix("/r/capstan.sock"));
        let [runtime, state, home] = all;
        assert_eq!(at(&Environment::from([runtime]), false), unix("/r/capstan.sock"));
        assert_eq!(at(&Environment::from([("XDG_RUNTIME_DIR", ""), state]), false), unix("/s/capstan/capstan.sock"));
        assert_eq!(at(&Environment::from([home]), false), unix("/h/.local/state/capstan/capstan.sock"));
        assert_eq!(at(&Environment::default(), false), Err(ChoiceError::NoDefault));
    }

    #[test]
    fn an_empty_variable_names_no_daemon() {
        let choice = choose(None, &Environment::from([("CAPSTAN_HOST", ""), ("HOME", "/h")])).unwrap();
        assert!(!choice.named);
    }
}
