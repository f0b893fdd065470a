//! `SourceTable`: where a secret is read.

use std::path::PathBuf;

use serde::Deserialize;

use crate::daemon::files::SecretSource;

/// Where a secret that no job gets is read.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct SourceTable {
    pub(super) file: Option<PathBuf>,
    pub(super) env: Option<String>,
    pub(super) credential: Option<String>,
}

impl SourceTable {
    /// Returns the source of the secret. Returns `None` unless there is exactly one.
    pub(super) fn source(self) -> Option<SecretSource> {
        match (self.file, self.env, self.credential) {
            (Some(path), None, None) => Some(SecretSource::File(path)),
            (None, Some(name), None) => Some(SecretSource::Variable(name)),
            (None, None, Some(name)) if !name.contains('/') => Some(SecretSource::Credential(name)),
            _ => None,
        }
    }
}
