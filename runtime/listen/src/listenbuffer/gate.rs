//! `Gate`: what held connections wait for.

use std::fmt;

use tokio::sync::watch;

/// A gate that is shut until it opens or fails; clones are the same gate.
///
/// It is level-triggered: whoever asks after the change sees it as well as whoever waited for it, so nothing is lost when it opens
/// early. The first change decides, and the same change again is harmless: the ancestor hung for ever in the one case and panicked
/// in the other.
#[derive(Clone, Debug)]
pub struct Gate(watch::Sender<GateState>);

/// Where a gate is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GateState {
    /// With what the start is at.
    Shut(Phase),
    Open,
    /// It will never open; the reason is for those who wait.
    Failed(String),
}

/// What a start is at, in the order in which it comes to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// Listeners are bound.
    #[default]
    Binding,
    /// The sandbox is built.
    Loading,
    /// The handlers that were kept are put back.
    Installing,
    /// Everything is there but the open gate.
    Opening,
}

/// The gate will never open; says why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct GateFailed(pub String);

impl Default for Gate {
    fn default() -> Self {
        Self(watch::Sender::new(GateState::Shut(Phase::default())))
    }
}

impl Gate {
    /// A gate that is shut.
    pub fn new() -> Self {
        Self::default()
    }

    /// Notes what the start is at. Does nothing once the gate has left that behind.
    pub fn enter(&self, phase: Phase) {
        self.while_shut(GateState::Shut(phase));
    }

    /// Lets everyone through, now and later. Tells whether it is open: a gate that has failed stays as it is.
    pub fn open(&self) -> bool {
        self.while_shut(GateState::Open);
        *self.0.borrow() == GateState::Open
    }

    /// Turns everyone away, now and later. Tells whether it has failed: a gate that is open stays as it is.
    pub fn fail(&self, reason: impl Into<String>) -> bool {
        self.while_shut(GateState::Failed(reason.into()));
        matches!(*self.0.borrow(), GateState::Failed(_))
    }

    /// Where it is now.
    pub fn state(&self) -> GateState {
        self.0.borrow().clone()
    }

    /// Waits until it is open. Cancel-safe.
    ///
    /// # Errors
    /// [`GateFailed`] as soon as it is certain that it will never be.
    pub async fn opened(&self) -> Result<(), GateFailed> {
        let mut states = self.0.subscribe();
        let state = states.wait_for(|state| !state.is_shut()).await.expect("the gate holds the sender");
        match &*state {
            GateState::Failed(reason) => Err(GateFailed(reason.clone())),
            GateState::Open | GateState::Shut(_) => Ok(()),
        }
    }

    /// Waits until it has failed, for ever where it opens. Cancel-safe.
    pub async fn failed(&self) -> GateFailed {
        match self.opened().await {
            Err(failed) => failed,
            Ok(()) => std::future::pending().await,
        }
    }

    fn while_shut(&self, next: GateState) {
        self.0.send_if_modified(|state| {
            let changes = state.is_shut() && *state != next;
            if changes {
                *state = next;
            }
            changes
        });
    }
}

impl GateState {
    /// Whether it is still to be decided.
    pub fn is_shut(&self) -> bool {
        matches!(self, Self::Shut(_))
    }
}

impl Phase {
    /// Its name, one word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Binding => "binding",
            Self::Loading => "loading",
            Self::Installing => "installing",
            Self::Opening => "opening",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn opening_is_remembered_and_may_be_repeated() {
        let gate = Gate::new();
        assert!(gate.opened().now_or_never().is_none(), "a new gate is shut");
        assert!(gate.open() && gate.open());
        for _ in 0..2 {
            assert_eq!(gate.opened().now_or_never(), Some(Ok(())));
        }
    }

    #[tokio::test]
    async fn one_opening_wakes_everyone() {
        let gate = Gate::new();
        let waiters: Vec<_> = (0..100)
            .map(|_| {
                let gate = gate.clone();
                async move { gate.opened().await }
            })
            .collect();
        let waiting = futures_util::future::join_all(waiters);
        let opening = async { gate.open() };
        let (results, _) = tokio::join!(waiting, opening);
        assert!(results.iter().all(Result::is_ok));
    }

    #[tokio::test]
    async fn the_phase_of_a_start_is_told_while_the_gate_is_shut_and_opens_nothing() {
        let gate = Gate::new();
        for (phase, name) in [
            (Phase::Binding, "binding"),
            (Phase::Loading, "loading"),
            (Phase::Installing, "installing"),
            (Phase::Opening, "opening"),
        ] {
            gate.enter(phase);
            assert_eq!(phase.to_string(), name);
            assert_eq!(gate.state(), GateState::Shut(phase));
            assert!(gate.opened().now_or_never().is_none(), "{phase} is no opening");
        }
        gate.open();
        gate.enter(Phase::Loading);
        assert_eq!(gate.state(), GateState::Open);
    }

    #[tokio::test]
    async fn failing_is_waited_for_and_an_open_gate_never_does() {
        let gate = Gate::new();
        assert!(gate.failed().now_or_never().is_none());
        gate.fail("no engine");
        assert_eq!(gate.failed().await, GateFailed("no engine".into()));
        let gate = Gate::new();
        gate.open();
        assert!(gate.failed().now_or_never().is_none());
    }

    #[tokio::test]
    async fn the_first_change_decides() {
        let gate = Gate::new();
        assert!(gate.fail("no engine"));
        assert!(!gate.open());
        assert_eq!(gate.opened().await, Err(GateFailed("no engine".into())));
        assert_eq!(gate.state(), GateState::Failed("no engine".into()));

        let gate = Gate::new();
        assert!(gate.open());
        assert!(!gate.fail("too late"));
        assert_eq!(gate.state(), GateState::Open);
    }
}
