//! `Environment`: the variables that the command was called with, read once and handed on as a value.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};

/// The variables of the caller.
#[derive(Clone, Debug, Default)]
pub(super) struct Environment(BTreeMap<OsString, OsString>);

impl Environment {
    /// The variables of this process.
    #[expect(clippy::disallowed_methods, reason = "this is the edge at which the command reads the environment, once")]
    pub(super) fn of_process() -> Self {
        Self(std::env::vars_os().collect())
    }

    /// The value of `name`, which may be empty.
    pub(super) fn get(&self, name: impl AsRef<OsStr>) -> Option<&OsStr> {
        self.0.get(name.as_ref()).map(OsString::as_os_str)
    }

    /// The value of `name` unless it is empty, which counts as unset where an address or a folder is meant.
    pub(super) fn filled(&self, name: &str) -> Option<&OsStr> {
        self.get(name).filter(|value| !value.is_empty())
    }
}

impl<K: Into<OsString>, V: Into<OsString>, const N: usize> From<[(K, V); N]> for Environment {
    fn from(variables: [(K, V); N]) -> Self {
        Self(variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}
