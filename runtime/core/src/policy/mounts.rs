//! Mounts in a policy: what is requested, what is granted, and which paths of the host the operator allows.

use std::sync::Arc;

use cap_std::fs::Dir;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::mount::{self, Access, GuestPathError, Quota};
use crate::units::{self, SizeSchema};

/// The path of the scratch directory of a run.
pub const SCRATCH: &str = "/scratch";

/// A request for a directory or a file, by the name that the operator gave it or by its path on the host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MountRequest {
    /// The name of the mount in the operator's configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Instead of a name: a path on the host, below a prefix that the operator allows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The path in the guest. A relative path is resolved against `/`. Default: `/` and the name, or the path on the host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guest: Option<String>,
    /// The access of the guest to it.
    #[serde(default)]
    pub access: Access,
    /// Bytes that the run may write there.
    #[serde(default, deserialize_with = "units::deserialize_size", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<SizeSchema>")]
    pub disk: Option<u64>,
    /// Files, directories and links that the run may create there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<u64>,
}

/// A granted mount.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MountGrant {
    /// The name that the operator gave it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The path on the host, if it has no name but lies below a prefix that the operator allows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The path in the guest.
    pub guest: String,
    pub access: Access,
    /// Bytes that the run may write there. `None` leaves only the limit of all mounts together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk: Option<u64>,
    /// Files, directories and links that the run may create there. `None` leaves only the limit of all mounts together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub files: Option<u64>,
}

/// A directory below which any path may be granted.
#[derive(Clone, Debug)]
pub struct Prefix {
    /// The path on the host.
    pub path: String,
    pub dir: Arc<Dir>,
    /// The maximum access below it.
    pub access: Access,
    pub quota: Quota,
}

impl MountRequest {
    /// Returns the path in the guest.
    ///
    /// # Errors
    /// [`GuestPathError`] if the path is not valid.
    pub fn guest_path(&self) -> Result<String, GuestPathError> {
        let default = || self.name.as_ref().map(|name| format!("/{name}"));
        mount::guest_path(&self.guest.clone().or_else(default).or_else(|| self.path.clone()).unwrap_or_default())
    }
}

impl MountGrant {
    pub(super) fn quota(&self) -> Quota {
        Quota { bytes: self.disk.unwrap_or(u64::MAX), files: self.files.unwrap_or(u64::MAX) }
    }

    /// Returns whether it grants the mount of `request`, with any access.
    pub(super) fn is_for(&self, request: &MountRequest) -> bool {
        self.name == request.name && self.path == request.path
    }
}

impl Prefix {
    /// Returns the rest of `path` if the prefix contains it. The rest is empty if both are equal.
    pub(super) fn strip<'a>(&self, path: &'a str) -> Option<&'a str> {
        let rest = path.strip_prefix(self.path.trim_end_matches('/'))?;
        if rest.is_empty() { Some(rest) } else { rest.strip_prefix('/') }
    }
}
