//! [`Grants`]: what a policy grants, opened and with its values.

use std::path::Path;

use super::Policy;
use super::ceiling::Ceiling;
use super::diagnostic::Denied;
use super::http::{HttpReach, Placeholder};
use super::mounts::MountGrant;
use super::network::Reach;
use super::secrets::SecretGrant;
use crate::env::Env;
use crate::mount::{Mount, MountSource, ScratchGrant, open_beneath};
use crate::secret::Secret;
use crate::units::format_size;

/// The grants of a policy, opened and with their values.
#[derive(Debug, Default)]
pub struct Grants {
    pub mounts: Vec<Mount>,
    pub env: Env,
    /// Each secret with the variable in which the guest finds it.
    pub secrets: Vec<(String, Secret)>,
    pub scratch: Option<ScratchGrant>,
}

impl Ceiling {
    /// Returns the grants of `policy`, which must be an evaluation of this ceiling.
    ///
    /// # Errors
    /// [`Denied`] if a path below a prefix cannot be opened, or if there is no directory for scratch directories.
    pub fn grants(&self, policy: &Policy) -> Result<Grants, Denied> {
        let mut grants = Grants::default();
        for grant in &policy.mounts {
            grants.mounts.extend(self.open(grant)?);
        }
        for name in &policy.pass_env {
            if let Some(value) = self.env.get(name) {
                grants.env.set(name, value).expect("the ceiling has valid variables");
            }
        }
        for SecretGrant { name, env } in &policy.secrets {
            if let Some(offered) = self.secrets.get(name) {
                grants.secrets.retain(|(known, _)| known != env);
                grants.secrets.push((env.clone(), offered.secret.clone()));
            }
        }
        if policy.scratch > 0 {
            let denied = || {
                let rule = "the daemon has no directory for scratch directories".to_owned();
                Denied::of_caller("scratch", format_size(policy.scratch), rule)
            };
            let folder = self.scratch_folder.clone().ok_or_else(denied)?;
            grants.scratch = Some(ScratchGrant { folder, bytes: policy.scratch });
        }
        Ok(grants)
    }

    /// Returns what the rules of `policy`, which must be an evaluation of this ceiling, reach from a daemon that listens on the ports
    /// `daemon_ports`. Returns `None` if there are no rules.
    pub fn reach(&self, policy: &Policy, daemon_ports: &[u16]) -> Option<Box<Reach>> {
        let reach = || Box::new(Reach::new(policy.network.clone(), daemon_ports, &self.network));
        (!policy.network.is_empty()).then(reach)
    }

    /// Returns the HTTP requests that the rules of `policy`, which must be an evaluation of this ceiling, allow from a daemon that listens on
    /// the ports `daemon_ports`. Returns `None` if there are no rules. `token` returns a new random token for each placeholder.
    pub fn http_reach(
        &self,
        policy: &Policy,
        daemon_ports: &[u16],
        token: impl Fn() -> String,
    ) -> Option<Box<HttpReach>> {
        let rules = policy.http.clone();
        if rules.is_empty() {
            return None;
        }
        let secret = |name: &str| self.secrets.get(name).map(|offered| &offered.secret);
        let placeholders = Placeholder::of_rules(&rules, secret, token);
        let operator = (self.http.as_slice(), self.network.as_slice());
        Some(Box::new(HttpReach::new(rules, &policy.network, daemon_ports, operator, placeholders)))
    }

    /// Returns the mount of `grant`. A named mount was opened when the daemon started; a path below a prefix is opened now.
    fn open(&self, grant: &MountGrant) -> Result<Option<Mount>, Denied> {
        let (guest_path, access, quota) = (grant.guest.clone(), grant.access, grant.quota());
        let opened = match (&grant.name, &grant.path) {
            (Some(name), _) => {
                self.mounts.get(name).map(|mount| Ok(MountSource { dir: mount.dir.clone(), file: mount.file.clone() }))
            }
            (None, Some(path)) => self.prefix(path).map(|(prefix, rest)| open_beneath(&prefix.dir, Path::new(rest))),
            (None, None) => None,
        };
        match opened {
            None => Ok(None),
            Some(Ok(MountSource { dir, file })) => Ok(Some(Mount { dir, file, guest_path, access, quota })),
            Some(Err(error)) => {
                let requested = format!("{} ({access})", grant.path.as_deref().unwrap_or_default());
                Err(Denied::of_caller("mounts", requested, format!("it cannot be opened: {error}")))
            }
        }
    }
}
