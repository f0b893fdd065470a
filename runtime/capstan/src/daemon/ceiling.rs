//! Builds the policy ceiling from the settings: it opens mounts and reads secrets once, so that both are values from then on.

use std::io;
use std::path::PathBuf;

use capstan_core::env::EnvError;
use capstan_core::mount::{GuestPathError, Mount, MountSource, check_guest_path};
use capstan_core::policy::{Ceiling, OfferedSecret, Prefix};
use capstan_core::secret::{Secret, SecretError};

use super::settings::{SecretTable, Settings};
use super::{environment, files};

/// Why something that the operator grants to jobs cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum CeilingError {
    #[error("cannot open mount {name}, {}: {source}; check [mounts.{name}] in the configuration file", path.display())]
    Mount { name: String, path: PathBuf, source: io::Error },
    #[error("the name of mount {name} cannot be a path in the guest: {source}; rename [mounts.{name}]")]
    MountName { name: String, source: GuestPathError },
    #[error("cannot open {}: {source}; check [[mount_prefixes]] in the configuration file", path.display())]
    MountPrefix { path: PathBuf, source: io::Error },
    #[error("policy.pass_env: variable {name} cannot be passed on: {source}")]
    Variable { name: String, source: EnvError },
    #[error("cannot read secret {name}: {source}; check [secrets.{name}] in the configuration file")]
    ReadSecret { name: String, source: io::Error },
    #[error("secret {name}: {source}")]
    Secret { name: String, source: SecretError },
}

/// Opens the mounts and reads the variables and secrets that jobs may request.
///
/// # Errors
/// [`CeilingError`]
pub(super) fn ceiling(settings: &Settings) -> Result<Ceiling, CeilingError> {
    let (excess, scratch) = (settings.excess, settings.scratch);
    let (network, http, features) = (settings.network.clone(), settings.outbound.clone(), settings.features.clone());
    let mut ceiling = Ceiling { excess, scratch, network, http, features, ..Ceiling::with_limits(settings.limits) };
    for (name, table) in &settings.mounts {
        let guest_path = format!("/{name}");
        check_guest_path(&guest_path).map_err(|source| CeilingError::MountName { name: name.clone(), source })?;
        let MountSource { dir, file } = files::open_mount(&table.path).map_err(|source| CeilingError::Mount {
            name: name.clone(),
            path: table.path.clone(),
            source,
        })?;
        let (access, quota) = (table.access, table.quota());
        ceiling.mounts.insert(name.clone(), Mount { dir, file, guest_path, access, quota });
    }
    for table in &settings.mount_prefixes {
        let (dir, path) = files::open_prefix(&table.path)
            .map_err(|source| CeilingError::MountPrefix { path: table.path.clone(), source })?;
        ceiling.prefixes.push(Prefix { path, dir, access: table.access, quota: table.quota() });
    }
    for name in &settings.pass_env {
        match environment::variable(name).and_then(|value| value.into_string().ok()) {
            Some(value) => {
                ceiling.env.set(name, value).map_err(|source| CeilingError::Variable { name: name.clone(), source })?
            }
            None => tracing::warn!(name, "a variable in policy.pass_env is not set or not UTF-8, so no job gets it"),
        }
    }
    for (name, table) in &settings.secrets {
        ceiling.secrets.insert(name.clone(), offered_secret(name, table)?);
    }
    Ok(ceiling)
}

fn offered_secret(name: &str, table: &SecretTable) -> Result<OfferedSecret, CeilingError> {
    let source = table.source().expect("the settings were checked for it");
    let (bytes, is_exposed) =
        files::read_secret(&source).map_err(|source| CeilingError::ReadSecret { name: name.to_owned(), source })?;
    if is_exposed {
        tracing::warn!(name, "users other than its owner can access the file of a secret; run chmod 600 on it");
    }
    let secret = Secret::new(&bytes).map_err(|source| CeilingError::Secret { name: name.to_owned(), source })?;
    Ok(OfferedSecret { secret, handlers: table.handlers.clone(), http: table.http.clone() })
}
