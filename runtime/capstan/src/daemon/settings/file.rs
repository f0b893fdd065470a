//! `File`: the configuration file, as it is written.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use capstan_confinement::Mode;
use capstan_core::mount::{self, Quota};
use capstan_core::policy::{Excess, HttpRule, PolicyRequest};
use capstan_core::units;
use capstan_engine::handler_store::FilesLimits;
use capstan_engine::history::HistoryLimits;
use capstan_listen::listener::{self, SocketPermissions};
use serde::Deserialize;

use super::error::{SettingsError, check_range};
use super::http::HttpTable;
use super::jobs::JobsTable;
use super::source::SourceTable;
use super::webhooks::WebhookTable;
use crate::daemon::files::SecretSource;

/// The limit on `listen.backlog`.
const MAX_BACKLOG: u32 = 65_535;
/// The limit on `history.jobs`: a job takes about a kilobyte besides its output.
const MAX_HISTORY_JOBS: usize = 10_000_000;

/// The configuration file. An absent key has its default. An unknown key is an error that names it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct File {
    pub(super) hosts: Vec<String>,
    pub(super) serve: Vec<String>,
    pub(super) access_log: AccessLogTable,
    pub(super) data: Option<PathBuf>,
    #[serde(deserialize_with = "units::deserialize_duration")]
    pub(super) grace: Option<Duration>,
    pub(super) confine: Option<Mode>,
    pub(super) boot: BootTable,
    pub(super) listen: ListenTable,
    pub(super) tls: TlsTable,
    pub(super) limits: LimitsTable,
    /// The limits for all jobs, in the form of a request.
    pub(super) policy: PolicyRequest,
    pub(super) manifests: ManifestsTable,
    pub(super) files: FilesTable,
    pub(super) mounts: BTreeMap<String, MountTable>,
    pub(super) secrets: BTreeMap<String, SecretTable>,
    pub(super) mount_prefixes: Vec<MountTable>,
    pub(super) compile: CompileTable,
    pub(super) history: HistoryTable,
    pub(super) jobs: JobsTable,
    pub(super) webhooks: BTreeMap<String, WebhookTable>,
    pub(super) events: EventsTable,
    pub(super) http: HttpTable,
    pub(super) outbound: OutboundTable,
}

/// The HTTP requests that guests send.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct OutboundTable {
    /// The certificates that servers must be issued by, in place of those that this machine trusts.
    pub(super) tls_ca: Option<PathBuf>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct AccessLogTable {
    pub(super) file: Option<PathBuf>,
    pub(super) format: Option<String>,
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
pub(super) struct FilesTable {
    #[serde(deserialize_with = "units::deserialize_size")]
    size: Option<u64>,
    entries: Option<u64>,
}

impl FilesTable {
    pub(super) fn limits(&self) -> FilesLimits {
        let default = FilesLimits::default();
        FilesLimits { size: self.size.unwrap_or(default.size), entries: self.entries.unwrap_or(default.entries) }
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ManifestsTable {
    pub(super) excess: Excess,
}

/// A directory or a file that may be granted to jobs, or a directory below which any path may.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::daemon) struct MountTable {
    pub(in crate::daemon) path: PathBuf,
    /// The access that may be granted at most.
    #[serde(default)]
    pub(in crate::daemon) access: mount::Access,
    /// The limit on the bytes that a run may write there.
    #[serde(default, deserialize_with = "units::deserialize_size")]
    pub(in crate::daemon) disk: Option<u64>,
    /// The limit on the files, directories and links that a run may create there.
    #[serde(default)]
    pub(in crate::daemon) files: Option<u64>,
}

impl MountTable {
    /// Returns the limits on what a run may write there.
    pub(in crate::daemon) fn quota(&self) -> Quota {
        Quota { bytes: self.disk.unwrap_or(u64::MAX), files: self.files.unwrap_or(u64::MAX) }
    }
}

/// A secret that may be granted to jobs, from one of three sources.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::daemon) struct SecretTable {
    file: Option<PathBuf>,
    env: Option<String>,
    credential: Option<String>,
    /// The handlers that may get it. `*` stands for all.
    pub(in crate::daemon) handlers: Vec<String>,
    /// The HTTP requests that may carry it. If there are any, guests get only a placeholder.
    #[serde(default)]
    pub(in crate::daemon) http: Vec<HttpRule>,
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
    /// Returns the options of the listeners. `insecure_tcp` has a flag, but no key in the file.
    ///
    /// # Errors
    /// [`SettingsError::OutOfRange`], [`SettingsError::SocketMode`], [`SettingsError::SocketGroup`].
    pub(super) fn options(self, insecure_tcp: bool) -> Result<listener::Options, SettingsError> {
        let default = listener::Options::default();
        let backlog = self.backlog.unwrap_or(default.backlog);
        let backlog = check_range("listen.backlog (--backlog)", backlog, &(1..=MAX_BACKLOG))?;
        let mode = self.socket_mode.map(|mode| SocketPermissions::parse_mode(&mode)).transpose();
        let group = self.socket_group.map(|group| SocketPermissions::parse_group(&group)).transpose();
        let permissions = SocketPermissions {
            mode: mode.map_err(SettingsError::SocketMode)?.unwrap_or(default.permissions.mode),
            group: group.map_err(SettingsError::SocketGroup)?,
        };
        Ok(listener::Options { backlog, insecure_tcp, permissions })
    }
}

impl SecretTable {
    /// Returns the source of the secret. Returns `None` unless there is exactly one.
    pub(in crate::daemon) fn source(&self) -> Option<SecretSource> {
        let Self { file, env, credential, handlers: _, http: _ } = self.clone();
        SourceTable { file, env, credential }.source()
    }
}

impl HistoryTable {
    /// Returns the limits on the history of jobs.
    ///
    /// # Errors
    /// [`SettingsError::OutOfRange`]
    pub(super) fn limits(self) -> Result<HistoryLimits, SettingsError> {
        let default = HistoryLimits::default();
        let jobs = check_range("history.jobs", self.jobs.unwrap_or(default.jobs), &(1..=MAX_HISTORY_JOBS))?;
        let bytes = self.bytes.map_or(default.bytes, |bytes| bytes.try_into().unwrap_or(usize::MAX));
        Ok(HistoryLimits { jobs, bytes })
    }
}
