//! `DataDirs`: the default data directory and the default socket of a user.

use std::path::{Path, PathBuf};

use capstan_listen::listener::Address;

/// The directories that the environment names for a user's data and sockets.
#[derive(Clone, Debug, Default)]
pub(crate) struct DataDirs {
    pub(crate) is_root: bool,
    /// `XDG_RUNTIME_DIR`
    pub(crate) runtime: Option<PathBuf>,
    /// `XDG_STATE_HOME`
    pub(crate) state: Option<PathBuf>,
    /// `HOME`
    pub(crate) home: Option<PathBuf>,
}

impl DataDirs {
    /// Returns the default data directory. Returns `None` if the environment names no directory for it.
    pub(crate) fn data(&self) -> Option<PathBuf> {
        if self.is_root {
            return Some("/var/lib/capstan".into());
        }
        let state = self.state.clone().or_else(|| self.home.as_ref().map(|home| home.join(".local/state")));
        state.map(|state| state.join("capstan"))
    }

    /// Returns the default address of the daemon, which its clients use too. `data` is the data directory.
    pub(crate) fn host(&self, data: &Path) -> Address {
        Address::Unix(match &self.runtime {
            _ if self.is_root => "/run/capstan.sock".into(),
            Some(runtime) => runtime.join("capstan.sock"),
            None => data.join("capstan.sock"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_directories_depend_on_the_user_and_its_environment() {
        let all = DataDirs {
            is_root: false,
            runtime: Some("/run/user/1".into()),
            state: Some("/s".into()),
            home: Some("/h".into()),
        };
        let unix = |path: &str| Address::Unix(path.into());
        assert_eq!(all.data(), Some("/s/capstan".into()));
        assert_eq!(all.host(Path::new("/d")), unix("/run/user/1/capstan.sock"));
        let home_only = DataDirs { runtime: None, state: None, ..all.clone() };
        assert_eq!(home_only.data(), Some("/h/.local/state/capstan".into()));
        assert_eq!(home_only.host(Path::new("/d")), unix("/d/capstan.sock"));
        let root = DataDirs { is_root: true, ..all };
        assert_eq!(root.data(), Some("/var/lib/capstan".into()));
        assert_eq!(root.host(Path::new("/d")), unix("/run/capstan.sock"));
        assert_eq!(DataDirs::default().data(), None);
    }
}
