//! `Environment`: the environment variables of the command, read once and passed on as a value.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};

/// A set of environment variables.
#[derive(Clone, Debug, Default)]
pub(super) struct Environment(BTreeMap<OsString, OsString>);

impl Environment {
    /// Reads the variables of this process.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the only place where the command reads the environment, once"
    )]
    pub(super) fn from_process() -> Self {
        Self(std::env::vars_os().collect())
    }

    /// Returns the value of `name`, which may be empty, or `None` if the variable is not set.
    pub(super) fn get(&self, name: impl AsRef<OsStr>) -> Option<&OsStr> {
        self.0.get(name.as_ref()).map(OsString::as_os_str)
    }

    /// Returns the value of `name` if it is not empty. For an address or a path, an empty variable counts as unset.
    pub(super) fn non_empty(&self, name: &str) -> Option<&OsStr> {
        self.get(name).filter(|value| !value.is_empty())
    }
}

impl<K: Into<OsString>, V: Into<OsString>, const N: usize> From<[(K, V); N]> for Environment {
    fn from(variables: [(K, V); N]) -> Self {
        Self(variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}
