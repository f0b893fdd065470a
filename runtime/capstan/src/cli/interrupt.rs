//! `Interrupt`: the signals with which a user or a supervisor stops a run.

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::error::CliError;

/// A receiver of SIGINT, SIGTERM and SIGHUP. Once it exists, these signals no longer end the process.
#[derive(Debug)]
pub(super) struct Interrupt {
    int: Signal,
    term: Signal,
    hup: Signal,
}

impl Interrupt {
    /// Starts to receive the signals.
    ///
    /// # Errors
    /// [`CliError::Startup`]
    pub(super) fn listen() -> Result<Self, CliError> {
        let listen = |kind| signal(kind).map_err(CliError::Startup);
        Ok(Self {
            int: listen(SignalKind::interrupt())?,
            term: listen(SignalKind::terminate())?,
            hup: listen(SignalKind::hangup())?,
        })
    }

    /// Waits for the next signal. Cancel-safe.
    pub(super) async fn received(&mut self) {
        tokio::select! {
            _ = self.int.recv() => {}
            _ = self.term.recv() => {}
            _ = self.hup.recv() => {}
        }
    }
}
