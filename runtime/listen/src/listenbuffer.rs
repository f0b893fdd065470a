//! `ListenBuffer`: a bound listener that lets nobody in until its gate opens.
//!
//! The daemon binds and listens first and boots after, so that a client never finds the socket missing. Connections made in between
//! are held by the kernel, in the listener's backlog, with what they have written already; opening the gate starts accepting, first
//! come first served. The wrapper is the same for every kind of listener: TCP, unix, and those that were inherited.
//!
//! That is the policy [`Hold`](Policy::Hold). Under [`Answer`](Policy::Answer) connections are accepted before the gate opens as well, and whoever
//! speaks on them holds what it does not answer.
//!
//! A shut gate holds nobody who wants to leave: [`ListenBuffer::accept`] ends when the listener is closed, and may be dropped. Where
//! the gate fails, `accept` says so, and [`ListenBuffer::held`] gives the connections that were waiting, to be told why.

mod gate;

use std::str::FromStr;

use tokio_util::sync::CancellationToken;

pub use self::gate::{Gate, GateFailed, GateState, Phase};

/// Something bound that connections come from.
pub trait Listen: Send + Sync + 'static {
    /// A connection.
    type Stream: Send;

    /// Waits for the next connection; retries what can be retried, so it has no error. Cancel-safe.
    fn accept(&self) -> impl Future<Output = Self::Stream> + Send;

    /// The next connection if one is waiting.
    fn try_accept(&self) -> Option<Self::Stream>;
}

/// What becomes of connections while the gate is shut.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// The kernel holds them, with what they have sent.
    #[default]
    Hold,
    /// They are accepted, to be told how the start goes.
    Answer,
}

/// The text is no policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is neither hold nor answer")]
pub struct UnknownPolicy(String);

impl FromStr for Policy {
    type Err = UnknownPolicy;

    fn from_str(text: &str) -> Result<Self, UnknownPolicy> {
        match text {
            "hold" => Ok(Self::Hold),
            "answer" => Ok(Self::Answer),
            _ => Err(UnknownPolicy(text.to_owned())),
        }
    }
}

/// A listener behind a gate. Any number of tasks may accept from it at once.
#[derive(Debug)]
pub struct ListenBuffer<L> {
    listener: L,
    gate: Gate,
    policy: Policy,
    closed: CancellationToken,
}

/// Why there will be no more connections.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AcceptError {
    #[error("the listener is closed")]
    Closed,
    #[error(transparent)]
    Gate(#[from] GateFailed),
}

impl<L: Listen> ListenBuffer<L> {
    /// Puts `listener` behind `gate`, until `closed` is cancelled.
    pub fn new(listener: L, gate: Gate, policy: Policy, closed: CancellationToken) -> Self {
        Self { listener, gate, policy, closed }
    }

    /// Waits for the gate, unless connections are answered before it opens, and then for the next connection. Cancel-safe.
    ///
    /// # Errors
    /// [`AcceptError::Closed`] once the listener is closed, be the gate shut or open; [`AcceptError::Gate`] once the gate has failed.
    pub async fn accept(&self) -> Result<L::Stream, AcceptError> {
        let through_the_gate = async {
            match self.policy {
                Policy::Hold => {
                    self.gate.opened().await?;
                    Ok(self.listener.accept().await)
                }
                Policy::Answer => tokio::select! {
                    biased;
                    failed = self.gate.failed() => Err(failed.into()),
                    stream = self.listener.accept() => Ok(stream),
                },
            }
        };
        tokio::select! {
            biased;
            () = self.closed.cancelled() => Err(AcceptError::Closed),
            accepted = through_the_gate => accepted,
        }
    }

    /// What is behind the gate.
    pub fn listener(&self) -> &L {
        &self.listener
    }

    /// The connections that wait now, past the gate: for telling them that it will not open.
    pub fn held(&self) -> impl Iterator<Item = L::Stream> {
        std::iter::from_fn(|| self.listener.try_accept())
    }
}

#[cfg(test)]
mod tests;
