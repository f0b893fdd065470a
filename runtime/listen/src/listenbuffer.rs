//! `ListenBuffer`: a listener that accepts no connection until its gate opens.
//!
//! The daemon binds its sockets first and starts afterwards, so that clients always find the socket. Until the start is over, the kernel holds
//! new connections in the backlog of the listener, with the bytes that the clients have already written. Opening the gate starts accepting,
//! in the order of arrival. The wrapper is the same for TCP, unix and inherited listeners.
//!
//! This is the policy [`Hold`](StartupPolicy::Hold). With [`Answer`](StartupPolicy::Answer), connections are accepted before the gate opens
//! too, and the API holds the requests that it cannot answer yet.
//!
//! [`ListenBuffer::accept`] returns when the listener is closed, even if the gate is shut, and it can be dropped at any time. If the gate
//! fails, `accept` returns the reason, and [`ListenBuffer::drain`] returns the waiting connections, so that their clients can be informed.

mod gate;

use std::str::FromStr;

use tokio_util::sync::CancellationToken;

pub use self::gate::{Gate, GateFailed, GateState, StartupPhase};

/// A source of connections.
pub trait Listen: Send + Sync + 'static {
    /// A connection.
    type Stream: Send;

    /// Waits for the next connection. It retries after errors, so it returns none. Cancel-safe.
    fn accept(&self) -> impl Future<Output = Self::Stream> + Send;

    /// Returns the next connection, or `None` if none is waiting.
    fn try_accept(&self) -> Option<Self::Stream>;
}

/// What happens to connections while the gate is shut.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StartupPolicy {
    /// The kernel holds them, with the bytes that they have sent.
    #[default]
    Hold,
    /// They are accepted. The API reports the progress of the start, and holds all other requests.
    Answer,
}

/// A text that is not a startup policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is neither `hold` nor `answer`")]
pub struct UnknownStartupPolicy(String);

impl FromStr for StartupPolicy {
    type Err = UnknownStartupPolicy;

    fn from_str(text: &str) -> Result<Self, UnknownStartupPolicy> {
        match text {
            "hold" => Ok(Self::Hold),
            "answer" => Ok(Self::Answer),
            _ => Err(UnknownStartupPolicy(text.to_owned())),
        }
    }
}

/// A listener behind a gate. Any number of tasks may accept from it concurrently.
#[derive(Debug)]
pub struct ListenBuffer<L> {
    listener: L,
    gate: Gate,
    policy: StartupPolicy,
    closed: CancellationToken,
}

/// Why `accept` returns no more connections.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AcceptError {
    #[error("the listener is closed")]
    Closed,
    #[error(transparent)]
    Gate(#[from] GateFailed),
}

impl<L: Listen> ListenBuffer<L> {
    /// Puts `listener` behind `gate`. Cancelling `closed` closes it.
    pub fn new(listener: L, gate: Gate, policy: StartupPolicy, closed: CancellationToken) -> Self {
        Self { listener, gate, policy, closed }
    }

    /// Waits for the next connection, and with [`StartupPolicy::Hold`] first for the gate. Cancel-safe.
    ///
    /// # Errors
    /// - [`AcceptError::Closed`] once the listener is closed, whether the gate is open or not.
    /// - [`AcceptError::Gate`] once the gate has failed.
    pub async fn accept(&self) -> Result<L::Stream, AcceptError> {
        let accept_behind_gate = async {
            match self.policy {
                StartupPolicy::Hold => {
                    self.gate.opened().await?;
                    Ok(self.listener.accept().await)
                }
                StartupPolicy::Answer => tokio::select! {
                    biased;
                    failed = self.gate.failed() => Err(failed.into()),
                    stream = self.listener.accept() => Ok(stream),
                },
            }
        };
        tokio::select! {
            biased;
            () = self.closed.cancelled() => Err(AcceptError::Closed),
            accepted = accept_behind_gate => accepted,
        }
    }

    /// Returns the listener behind the gate.
    pub fn listener(&self) -> &L {
        &self.listener
    }

    /// Accepts all waiting connections without waiting for the gate. This is for informing their clients that the gate has failed.
    pub fn drain(&self) -> impl Iterator<Item = L::Stream> {
        std::iter::from_fn(|| self.listener.try_accept())
    }
}

#[cfg(test)]
mod tests;
