//! What is read anew when the daemon is sent SIGHUP: the one place for it.
//!
//! First the configuration, of which what jobs may use and touch takes effect at once; then the TLS files. Each part is checked whole
//! before it is put to use; a part that cannot be says so and stays as it was. No connection and no job is touched: a job keeps the policy
//! that it was made with. What a confined daemon was not told of at its start is not to be had any more: a configuration that names it is one
//! that cannot be used. The service manager is told of the beginning and of the end (`man 5 systemd.service`, `Type=notify`).

use std::convert::Infallible;
use std::io;
use std::sync::Arc;

use capstan_core::policy::Ceiling;
use capstan_engine::events::EventKind;
use capstan_listen::tls;
use tokio::signal::unix::{self, SignalKind};

use super::Flags;
use super::boot::{self, Boot};
use super::confinement::Confinement;
use super::data_dirs;
use super::notify::Notify;
use super::settings::Settings;

/// What reads everything anew, from the moment this is made: a hangup does not end the daemon any more.
#[derive(Debug)]
pub(super) struct Reload {
    hangup: unix::Signal,
    flags: Flags,
}

impl Reload {
    /// For a daemon that was started with `flags`, which still win over the configuration.
    ///
    /// # Errors
    /// That signals cannot be listened to.
    pub(super) fn new(flags: Flags) -> io::Result<Self> {
        Ok(Self { hangup: unix::signal(SignalKind::hangup())?, flags })
    }

    /// Reads everything anew at each SIGHUP; one that comes during the start is heeded when that is over, one during the end is not.
    pub(super) async fn on_hangup(mut self, boot: &Boot, notify: &Notify) -> Infallible {
        boot.until_ready().await;
        loop {
            if self.hangup.recv().await.is_none() || boot.engine().is_shutting_down() {
                return std::future::pending().await;
            }
            notify.reloading();
            tracing::info!("SIGHUP: reloading");
            let mut errors = Vec::new();
            errors.extend(self.configuration(boot).await.err());
            if let Some(server) = boot.tls() {
                errors.extend(tls(boot.settings().tls.clone(), server).await.err());
            }
            notify.reloaded(if errors.is_empty() { "ready" } else { "ready; not all could be reloaded, see the log" });
            let error = (!errors.is_empty()).then(|| errors.join("; "));
            boot.engine().events().publish(EventKind::DaemonReload { error });
        }
    }

    /// Reads the configuration, and puts another ceiling in the place of what the engine has.
    async fn configuration(&self, boot: &Boot) -> Result<(), String> {
        let (flags, started, confinement) = (self.flags.clone(), boot.settings().clone(), boot.confinement().clone());
        // Files may be on a disk that takes its time.
        let read = tokio::task::spawn_blocking(move || read(flags, &started, &confinement)).await;
        match read.unwrap_or_else(|error| Err(error.to_string())) {
            Ok(ceiling) => {
                // It is no setting, and stays where it is.
                let scratch_folder = boot.engine().ceiling().scratch_folder.clone();
                boot.engine().set_ceiling(Ceiling { scratch_folder, ..ceiling });
                tracing::info!("configuration: jobs that are made from now on have the policy that was read");
                Ok(())
            }
            Err(error) => {
                tracing::error!(%error, "configuration: what was read cannot be used, and what was there before stays");
                Err(error)
            }
        }
    }
}

/// The ceiling of the configuration as it is now, for a daemon that was `started` with another.
fn read(flags: Flags, started: &Settings, confinement: &Confinement) -> Result<Ceiling, String> {
    let settings = Settings::new(flags).map_err(|error| error.to_string())?;
    confinement.check(&settings).map_err(|error| error.to_string())?;
    let mut ceiling = boot::ceiling(&settings).map_err(|error| error.to_string())?;
    let later = started.needs_restart(&settings);
    if !later.is_empty() {
        tracing::warn!(
            changed = later.join(", "),
            "configuration: what was changed here takes effect at the next start"
        );
    }
    let room = started.ceiling.memory;
    if ceiling.limits.memory > room {
        tracing::warn!(room, "configuration: there is no room for more memory a run until the next start");
        ceiling.limits.memory = room;
    }
    Ok(ceiling)
}

/// Reads keys and certificates.
async fn tls(files: tls::Files, server: &Arc<tls::Server>) -> Result<(), String> {
    let server = server.clone();
    let loaded = tokio::task::spawn_blocking(move || {
        let loaded = server.reload(&files, data_dirs::read_tls);
        loaded.map(|()| server.not_after()).map_err(|error| error.to_string())
    });
    match loaded.await.unwrap_or_else(|error| Err(error.to_string())) {
        Ok(not_after) => {
            tracing::info!(%not_after, "TLS: connections are made with what was read now");
            Ok(())
        }
        Err(error) => {
            tracing::error!(%error, "TLS: what was read now cannot be used, and what was there before stays");
            Err(format!("TLS: {error}"))
        }
    }
}
