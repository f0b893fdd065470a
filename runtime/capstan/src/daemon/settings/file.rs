//! The configuration file, as it is written.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use capstan_confinement::Mode;
use capstan_core::mount::{self, Quota};
use capstan_core::policy::{Excess, PolicyRequest};
use capstan_core::units;
use capstan_engine::history::HistoryLimits;
use capstan_listen::listener::{self, Access};
use serde::Deserialize;

use super::http::HttpTable;
use super::{MOST_HELD, MOST_REMEMBERED, SettingsError};
use crate::daemon::data_dirs::SecretPlace;

/// The configuration file. What is absent has its default; a key that is not known is an error that names it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct File {
    pub(super) hosts: Vec<String>,
    pub(super) data: Option<PathBuf>,
    #[serde(deserialize_with = "units::deserialize_duration")]
    pub(super) grace: Option<Duration>,
    pub(super) confine: Option<Mode>,
    pub(super) boot: BootTable,
    pub(super) listen: ListenTable,
    pub(super) tls: TlsTable,
    pub(super) limits: LimitsTable,
    /// What no job may go beyond, in the form in which manifests and callers ask.
    pub(super) policy: PolicyRequest,
    pub(super) manifests: ManifestsTable,
    pub(super) mounts: BTreeMap<String, MountTable>,
    pub(super) secrets: BTreeMap<String, SecretTable>,
    pub(super) mount_prefixes: Vec<MountTable>,
    pub(super) compile: CompileTable,
    pub(super) history: HistoryTable,
    pub(super) events: EventsTable,
    pub(super) http: HttpTable,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct HistoryTable {
    pub(super) jobs: Option<usize>,
    #[serde(deserialize_with = "units::deserialize_size")]
    pub(super) bytes: Option<u64>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct EventsTable {
    pub(super) keep: Option<usize>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct BootTable {
    #[serde(deserialize_with = "units::deserialize_duration")]
    pub(super) deadline: Option<Duration>,
    pub(super) policy: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ListenTable {
    pub(super) backlog: Option<u32>,
    pub(super) socket_mode: Option<String>,
    pub(super) socket_group: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct TlsTable {
    pub(super) cert: Option<PathBuf>,
    pub(super) key: Option<PathBuf>,
    pub(super) ca: Option<PathBuf>,
    pub(super) crl: Option<PathBuf>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct LimitsTable {
    pub(super) runs: Option<usize>,
    pub(super) queue: Option<usize>,
    #[serde(deserialize_with = "units::deserialize_size")]
    pub(super) stack: Option<u64>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ManifestsTable {
    pub(super) excess: Excess,
}

/// A directory or a file that may be granted, or below which any may be.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::daemon) struct MountTable {
    pub(in crate::daemon) path: PathBuf,
    /// The most that may be done below it.
    #[serde(default)]
    pub(in crate::daemon) access: mount::Access,
    /// Bytes that a run may write there.
    #[serde(default, deserialize_with = "units::deserialize_size")]
    pub(in crate::daemon) disk: Option<u64>,
    /// Files, directories and links that a run may make there.
    #[serde(default)]
    pub(in crate::daemon) files: Option<u64>,
}

impl MountTable {
    /// What a run may put there.
    pub(in crate::daemon) fn quota(&self) -> Quota {
        Quota { bytes: self.disk.unwrap_or(u64::MAX), files: self.files.unwrap_or(u64::MAX) }
    }
}

/// A secret that may be granted, from one of three places.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::daemon) struct SecretTable {
    file: Option<PathBuf>,
    env: Option<String>,
    credential: Option<String>,
    /// The handlers that may have it; `*` for all.
    pub(in crate::daemon) handlers: Vec<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct CompileTable {
    #[serde(deserialize_with = "units::deserialize_duration")]
    pub(super) timeout: Option<Duration>,
    #[serde(deserialize_with = "units::deserialize_size")]
    pub(super) memory: Option<u64>,
    #[serde(deserialize_with = "units::deserialize_size")]
    pub(super) upload: Option<u64>,
}

impl ListenTable {
    /// How to listen; `insecure_tcp` is a word that only the command line has.
    ///
    /// # Errors
    /// [`SettingsError::Backlog`], [`SettingsError::Access`].
    pub(super) fn options(self, insecure_tcp: bool) -> Result<listener::Options, SettingsError> {
        let default = listener::Options::default();
        let backlog = self.backlog.unwrap_or(default.backlog);
        if !(1..=MOST_HELD).contains(&backlog) {
            return Err(SettingsError::Backlog(backlog));
        }
        let access = Access {
            mode: self.socket_mode.map_or(Ok(default.access.mode), |mode| Access::mode(&mode))?,
            group: self.socket_group.map(|group| Access::group(&group)).transpose()?,
        };
        Ok(listener::Options { backlog, insecure_tcp, access })
    }
}

impl SecretTable {
    /// Where it comes from; `None` unless that is one place.
    pub(in crate::daemon) fn place(&self) -> Option<SecretPlace> {
        match (&self.file, &self.env, &self.credential) {
            (Some(path), None, None) => Some(SecretPlace::File(path.clone())),
            (None, Some(name), None) => Some(SecretPlace::Variable(name.clone())),
            (None, None, Some(name)) if !name.contains('/') => Some(SecretPlace::Credential(name.clone())),
            _ => None,
        }
    }
}

impl HistoryTable {
    /// What is remembered of jobs.
    ///
    /// # Errors
    /// [`SettingsError::History`]
    pub(super) fn bounds(self) -> Result<HistoryLimits, SettingsError> {
        let default = HistoryLimits::default();
        let jobs = self.jobs.unwrap_or(default.jobs);
        if !(1..=MOST_REMEMBERED).contains(&jobs) {
            return Err(SettingsError::History(jobs));
        }
        let bytes = self.bytes.map_or(default.bytes, |bytes| bytes.try_into().unwrap_or(usize::MAX));
        Ok(HistoryLimits { jobs, bytes })
    }
}
