//! What is read anew when the daemon is sent SIGHUP: the one place for it.
//!
//! Each part reads what it needs, and checks it whole before it puts it to use; a part that cannot says so and stays as it was. No
//! connection and no run is touched. The service manager is told of the beginning and of the end (`man 5 systemd.service`, `Type=notify`).

use std::convert::Infallible;
use std::io;
use std::sync::Arc;

use tokio::signal::unix::{self, SignalKind};

use super::boot::Boot;
use super::notify::Notify;
use super::places;
use crate::tls;

/// What can be read anew, from the moment this is made: a hangup does not end the daemon any more.
#[derive(Debug)]
pub(super) struct Reload {
    hangup: unix::Signal,
    tls: tls::Files,
}

impl Reload {
    /// Of these files.
    ///
    /// # Errors
    /// That signals cannot be listened to.
    pub(super) fn new(tls: tls::Files) -> io::Result<Self> {
        Ok(Self { hangup: unix::signal(SignalKind::hangup())?, tls })
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
            let status = match boot.tls() {
                Some(server) => self.tls(server).await,
                None => "ready",
            };
            notify.reloaded(status);
        }
    }

    async fn tls(&self, server: &Arc<tls::Server>) -> &'static str {
        let (files, server) = (self.tls.clone(), server.clone());
        // Files may be on a disk that takes its time.
        let loaded = tokio::task::spawn_blocking(move || {
            let loaded = server.reload(&files, places::read_tls);
            loaded.map(|()| server.not_after()).map_err(|error| error.to_string())
        });
        match loaded.await.unwrap_or_else(|error| Err(error.to_string())) {
            Ok(not_after) => {
                tracing::info!(%not_after, "TLS: connections are made with what was read now");
                "ready"
            }
            Err(error) => {
                tracing::error!(%error, "TLS: what was read now cannot be used, and what was there before stays");
                "ready; new TLS files cannot be used, see the log"
            }
        }
    }
}
