//! `Reload`: reads the configuration and the TLS files again at SIGHUP.
//!
//! The reload first reads the configuration file, whose limits and grants for jobs take effect immediately, and then the TLS files. Each of
//! the two is checked completely before it is used. If the check fails, the error is logged and the old state stays. Connections and jobs are
//! not affected: a job keeps the policy that it was created with. A confined daemon cannot access paths that its configuration did not name at
//! its start, so a configuration that names others is rejected. The service manager is notified of the beginning and the end
//! (`man 5 systemd.service`, `Type=notify`).

use std::convert::Infallible;
use std::io;
use std::sync::Arc;

use capstan_core::policy::Ceiling;
use capstan_engine::events::EventKind;
use capstan_listen::tls;
use tokio::signal::unix::{self, SignalKind};

use super::boot::Boot;
use super::ceiling::ceiling;
use super::confinement::Confinement;
use super::files;
use super::flags::Flags;
use super::notify::Notifier;
use super::settings::Settings;

/// Reloads at each SIGHUP. From its creation on, SIGHUP does not end the daemon.
#[derive(Debug)]
pub(super) struct Reload {
    hangup: unix::Signal,
    flags: Flags,
}

impl Reload {
    /// Creates the reload of a daemon that was started with `flags`, which still override the configuration file.
    ///
    /// # Errors
    /// The signal cannot be received.
    pub(super) fn new(flags: Flags) -> io::Result<Self> {
        Ok(Self { hangup: unix::signal(SignalKind::hangup())?, flags })
    }

    /// Reloads at each SIGHUP. One during the start takes effect after it, and one during the shutdown is ignored.
    pub(super) async fn on_hangup(mut self, boot: &Boot, notifier: &Notifier) -> Infallible {
        boot.wait_until_ready().await;
        loop {
            if self.hangup.recv().await.is_none() || boot.engine().is_shutting_down() {
                return std::future::pending().await;
            }
            notifier.reloading();
            tracing::info!("SIGHUP: reloading");
            let mut errors = Vec::new();
            errors.extend(self.reload_configuration(boot).await.err());
            if let Some(server) = boot.tls() {
                errors.extend(reload_tls(boot.settings().tls.clone(), server).await.err());
            }
            notifier.reloaded(if errors.is_empty() {
                "ready"
            } else {
                "ready; not all could be reloaded, see the log"
            });
            let error = (!errors.is_empty()).then(|| errors.join("; "));
            boot.engine().events().publish(EventKind::DaemonReload { error });
        }
    }

    /// Reads the configuration file and replaces the ceiling of the engine.
    async fn reload_configuration(&self, boot: &Boot) -> Result<(), String> {
        let (flags, current, confinement) = (self.flags.clone(), boot.settings().clone(), boot.confinement().clone());
        // Reading files can block.
        let ceiling = tokio::task::spawn_blocking(move || load_ceiling(flags, &current, &confinement)).await;
        match ceiling.unwrap_or_else(|error| Err(error.to_string())) {
            Ok(ceiling) => {
                // This directory is not in the configuration file.
                let scratch_folder = boot.engine().ceiling().scratch_folder.clone();
                boot.engine().set_ceiling(Ceiling { scratch_folder, ..ceiling });
                tracing::info!("configuration: reloaded, and used for all new jobs");
                Ok(())
            }
            Err(error) => {
                tracing::error!(%error, "configuration: not reloaded, what was there before stays");
                Err(error)
            }
        }
    }
}

/// Reads the configuration file and returns its ceiling. `current` are the settings of the running daemon.
fn load_ceiling(flags: Flags, current: &Settings, confinement: &Confinement) -> Result<Ceiling, String> {
    let settings = Settings::load(flags).map_err(|error| error.to_string())?;
    confinement.check(&settings).map_err(|error| error.to_string())?;
    let mut ceiling = ceiling(&settings).map_err(|error| error.to_string())?;
    let changed = current.needs_restart(&settings);
    if !changed.is_empty() {
        tracing::warn!(
            changed = changed.join(", "),
            "configuration: the change of these settings takes effect at the next start"
        );
    }
    let room = current.limits.memory;
    if ceiling.limits.memory > room {
        tracing::warn!(
            room,
            "configuration: policy.memory stays at its old value until the next start, because its address space is reserved then"
        );
        ceiling.limits.memory = room;
    }
    Ok(ceiling)
}

/// Reads the private key and the certificates again.
async fn reload_tls(paths: tls::Files, server: &Arc<tls::Server>) -> Result<(), String> {
    let server = server.clone();
    let result = tokio::task::spawn_blocking(move || {
        let result = server.reload(&paths, files::read_tls);
        result.map(|()| server.not_after()).map_err(|error| error.to_string())
    });
    match result.await.unwrap_or_else(|error| Err(error.to_string())) {
        Ok(not_after) => {
            tracing::info!(%not_after, "TLS: reloaded, and used for all new connections");
            Ok(())
        }
        Err(error) => {
            tracing::error!(%error, "TLS: not reloaded, what was there before stays");
            Err(format!("TLS: {error}"))
        }
    }
}
