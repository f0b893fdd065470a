//! Mounts: which of those that are asked for are granted, and with how much room.

use std::path::Path;
use std::sync::Arc;

use cap_std::fs::Dir;
use serde::Serialize;

use super::diagnostic::{Denied, Diagnostic, Notes, Source, Verdict};
use super::request::MountRequest;
use super::{Ceiling, size};
use crate::mount::{Access, Mount, Opened, Quota, check_guest_path, check_guest_paths, open_beneath};

/// Where a run finds its scratch directory.
pub const SCRATCH: &str = "/scratch";

/// A mount that is granted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MountGrant {
    /// The operator's name for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its path on the host, where it has no name but lies below a prefix that the operator allows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    pub guest: String,
    pub access: Access,
    /// Bytes that the run may write there. Default no limit but that over all mounts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk: Option<u64>,
    /// Files, directories and links that the run may make there. Default no limit but that over all mounts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub files: Option<u64>,
}

/// A directory below which any path may be asked for.
#[derive(Clone, Debug)]
pub struct Prefix {
    /// Its path on the host.
    pub path: String,
    pub dir: Arc<Dir>,
    /// The most that may be done below it.
    pub access: Access,
    pub quota: Quota,
}

impl Prefix {
    /// The rest of `path`, where it lies below; empty where it is the same.
    fn strip<'a>(&self, path: &'a str) -> Option<&'a str> {
        let rest = path.strip_prefix(self.path.trim_end_matches('/'))?;
        if rest.is_empty() { Some(rest) } else { rest.strip_prefix('/') }
    }
}

impl MountGrant {
    fn quota(&self) -> Quota {
        Quota { bytes: self.disk.unwrap_or(u64::MAX), files: self.files.unwrap_or(u64::MAX) }
    }

    fn is_of(&self, asked: &MountRequest) -> bool {
        self.name == asked.name && self.path == asked.path
    }
}

impl Ceiling {
    pub(super) fn mounts(
        &self,
        asked: [Option<&[MountRequest]>; 2],
        has_scratch: bool,
        lenient: bool,
        notes: &mut Notes,
    ) -> Vec<MountGrant> {
        let [manifest, caller] = asked;
        let wanted = manifest.map(|asked| self.granted(asked, None, has_scratch, (Source::Manifest, !lenient), notes));
        match caller {
            None => wanted.unwrap_or_default(),
            Some(asked) => self.granted(asked, wanted.as_deref(), has_scratch, (Source::Caller, true), notes),
        }
    }

    /// Those of `asked` that are granted, by the operator and by who stands `above`.
    fn granted(
        &self,
        asked: &[MountRequest],
        above: Option<&[MountGrant]>,
        has_scratch: bool,
        (by, denies): (Source, bool),
        notes: &mut Notes,
    ) -> Vec<MountGrant> {
        let mut granted: Vec<MountGrant> = Vec::new();
        for one in asked {
            let fits = |grant: &MountGrant| {
                // Each would have all the room that there is for both.
                let is_written = |grant: &MountGrant| grant.access == Access::ReadWrite;
                if is_written(grant) && granted.iter().any(|other| other.is_of(one) && is_written(other)) {
                    return Err("it is there twice to be written to".to_owned());
                }
                let paths = granted.iter().chain([grant]).map(|grant| (grant.guest.as_str(), self.is_file(grant)));
                let paths = has_scratch.then_some((SCRATCH, false)).into_iter().chain(paths);
                check_guest_paths(paths).map_err(|error| error.to_string())
            };
            match self.grant(one, above, by, notes).and_then(|grant| fits(&grant).map(|()| grant)) {
                Ok(grant) => granted.push(grant),
                Err(rule) => notes.mount(by, one, denies, rule),
            }
        }
        granted
    }

    fn grant(
        &self,
        asked: &MountRequest,
        above: Option<&[MountGrant]>,
        by: Source,
        notes: &mut Notes,
    ) -> Result<MountGrant, String> {
        let (access, quota) = self.most(asked)?;
        if access < asked.access {
            return Err("the operator grants it for reading only".to_owned());
        }
        let (quota, of) = match above {
            None => (quota, Source::Operator),
            Some(above) => match above.iter().find(|grant| grant.is_of(asked) && grant.access >= asked.access) {
                None => return Err("the manifest does without it".to_owned()),
                Some(grant) => (grant.quota(), Source::Manifest),
            },
        };
        let mut least = |key: &'static str, have: u64, asked: Option<u64>, show: fn(u64) -> String| {
            let granted = asked.unwrap_or(u64::MAX).min(have);
            if let Some(asked) = asked.filter(|asked| *asked > have) {
                let rule = format!("the {of}'s {key} of this mount is {}", show(have));
                notes.limit(key, by, show(asked), show(have), rule, true);
            }
            (granted < u64::MAX).then_some(granted)
        };
        Ok(MountGrant {
            name: asked.name.clone(),
            path: asked.path.clone(),
            guest: asked.guest_path().map_err(|error| error.to_string())?,
            access: asked.access,
            disk: least("disk", quota.bytes, asked.disk, size),
            files: least("files", quota.files, asked.files, |files| files.to_string()),
        })
    }

    /// What the operator grants of it at most.
    fn most(&self, asked: &MountRequest) -> Result<(Access, Quota), String> {
        match (&asked.name, &asked.path) {
            (Some(name), None) => match self.mounts.get(name) {
                None => Err("the operator has no mount of this name".to_owned()),
                Some(mount) => Ok((mount.access, mount.quota)),
            },
            (None, Some(path)) => {
                check_guest_path(path)
                    .map_err(|_| "a path is absolute, without `.`, `..` and NUL, and not the root".to_owned())?;
                let prefix = self.prefix(path).ok_or("the operator allows no path like it")?;
                Ok((prefix.0.access, prefix.0.quota))
            }
            _ => Err("a mount has a `name` or a `path`, and not both".to_owned()),
        }
    }

    /// The longest prefix that `path` lies below, and the rest of it.
    pub(super) fn prefix<'a>(&self, path: &'a str) -> Option<(&Prefix, &'a str)> {
        let below = self.prefixes.iter().filter_map(|prefix| Some((prefix, prefix.strip(path)?)));
        below.max_by_key(|(prefix, _)| prefix.path.len())
    }

    fn is_file(&self, grant: &MountGrant) -> bool {
        grant.name.as_ref().and_then(|name| self.mounts.get(name)).is_some_and(|mount| mount.file.is_some())
    }

    /// What `grant` grants: opened when the daemon started, or opened now, below its prefix.
    pub(super) fn open(&self, grant: &MountGrant) -> Result<Option<Mount>, Denied> {
        let (guest_path, access, quota) = (grant.guest.clone(), grant.access, grant.quota());
        let opened = match (&grant.name, &grant.path) {
            (Some(name), _) => {
                self.mounts.get(name).map(|mount| Ok(Opened { dir: mount.dir.clone(), file: mount.file.clone() }))
            }
            (None, Some(path)) => self.prefix(path).map(|(prefix, rest)| open_beneath(&prefix.dir, Path::new(rest))),
            (None, None) => None,
        };
        match opened {
            None => Ok(None),
            Some(Ok(Opened { dir, file })) => Ok(Some(Mount { dir, file, guest_path, access, quota })),
            Some(Err(error)) => {
                let asked = format!("{} ({access})", grant.path.as_deref().unwrap_or_default());
                let rule = format!("it cannot be opened: {error}");
                let (by, verdict) = (Source::Caller, Verdict::Denied);
                Err(Denied(vec![Diagnostic { key: "mounts", by, asked, verdict, granted: None, rule }]))
            }
        }
    }
}
