//! Mounts: which requests are granted, and with which quota.

use crate::mount::{Access, Quota, check_guest_path, check_guest_paths};
use crate::policy::ceiling::Ceiling;
use crate::policy::diagnostic::Source;
use crate::policy::findings::Findings;
use crate::policy::mounts::{MountGrant, MountRequest, SCRATCH};
use crate::units::format_size;

impl Ceiling {
    /// Returns the mounts that a manifest and a caller get.
    pub(super) fn evaluate_mounts(
        &self,
        [manifest, caller]: [Option<&[MountRequest]>; 2],
        has_scratch: bool,
        clamps_manifest: bool,
        findings: &mut Findings,
    ) -> Vec<MountGrant> {
        let of_manifest = manifest.map(|requests| {
            self.granted_mounts(requests, None, has_scratch, (Source::Manifest, !clamps_manifest), findings)
        });
        match caller {
            None => of_manifest.unwrap_or_default(),
            Some(requests) => {
                self.granted_mounts(requests, of_manifest.as_deref(), has_scratch, (Source::Caller, true), findings)
            }
        }
    }

    /// Returns the requests that the operator grants, and `above`, the grants of the level above.
    fn granted_mounts(
        &self,
        requests: &[MountRequest],
        above: Option<&[MountGrant]>,
        has_scratch: bool,
        (by, denies): (Source, bool),
        findings: &mut Findings,
    ) -> Vec<MountGrant> {
        let mut granted: Vec<MountGrant> = Vec::new();
        for request in requests {
            let check_overlap = |grant: &MountGrant| {
                // Two grants of the same mount with write access would get its quota twice.
                let is_writable = |grant: &MountGrant| grant.access == Access::ReadWrite;
                if is_writable(grant) && granted.iter().any(|other| other.is_for(request) && is_writable(other)) {
                    return Err("it is requested twice with write access".to_owned());
                }
                let paths = granted.iter().chain([grant]).map(|grant| (grant.guest.as_str(), self.is_file(grant)));
                let paths = has_scratch.then_some((SCRATCH, false)).into_iter().chain(paths);
                check_guest_paths(paths).map_err(|error| error.to_string())
            };
            let grant = self.grant(request, above, by, findings);
            match grant.and_then(|grant| check_overlap(&grant).map(|()| grant)) {
                Ok(grant) => granted.push(grant),
                Err(rule) => findings.mount(by, request, denies, rule),
            }
        }
        granted
    }

    fn grant(
        &self,
        request: &MountRequest,
        above: Option<&[MountGrant]>,
        by: Source,
        findings: &mut Findings,
    ) -> Result<MountGrant, String> {
        let (access, quota) = self.maximum(request)?;
        if access < request.access {
            return Err("the operator grants it for reading only".to_owned());
        }
        let (quota, quota_source) = match above {
            None => (quota, Source::Operator),
            Some(above) => match above.iter().find(|grant| grant.is_for(request) && grant.access >= request.access) {
                None => return Err("the manifest does not request it".to_owned()),
                Some(grant) => (grant.quota(), Source::Manifest),
            },
        };
        let mut min = |key: &'static str, limit: u64, requested: Option<u64>, format: fn(u64) -> String| {
            let granted = requested.unwrap_or(u64::MAX).min(limit);
            if let Some(requested) = requested.filter(|requested| *requested > limit) {
                let rule = format!("the {quota_source}'s {key} of this mount is {}", format(limit));
                findings.limit(key, by, format(requested), format(limit), rule, true);
            }
            (granted < u64::MAX).then_some(granted)
        };
        Ok(MountGrant {
            name: request.name.clone(),
            path: request.path.clone(),
            guest: request.guest_path().map_err(|error| error.to_string())?,
            access: request.access,
            disk: min("disk", quota.bytes, request.disk, format_size),
            files: min("files", quota.files, request.files, |files| files.to_string()),
        })
    }

    /// Returns the maximum access and quota that the operator grants for `request`.
    fn maximum(&self, request: &MountRequest) -> Result<(Access, Quota), String> {
        match (&request.name, &request.path) {
            (Some(name), None) => match self.mounts.get(name) {
                None => Err("the operator has no mount of this name".to_owned()),
                Some(mount) => Ok((mount.access, mount.quota)),
            },
            (None, Some(path)) => {
                check_guest_path(path)
                    .map_err(|_| "a path must be absolute, without `.`, `..` and NUL, and not the root".to_owned())?;
                let (prefix, _) = self.prefix(path).ok_or("no mount prefix of the operator contains this path")?;
                Ok((prefix.access, prefix.quota))
            }
            _ => Err("a mount must have a `name` or a `path`, but not both".to_owned()),
        }
    }

    fn is_file(&self, grant: &MountGrant) -> bool {
        grant.name.as_ref().and_then(|name| self.mounts.get(name)).is_some_and(|mount| mount.file.is_some())
    }
}
