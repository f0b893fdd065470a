//! [`ManifestError`]: why a manifest is not valid.

/// A manifest is not valid. The text says where and what was expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ManifestError(pub(super) String);
