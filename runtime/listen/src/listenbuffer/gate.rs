//! `Gate`: opens once when the start of the daemon is over, or fails once.

use std::fmt;

use tokio::sync::watch;

/// A gate that is shut until it opens or fails. Clones are handles to the same gate.
///
/// It is level-triggered: a task that starts waiting after the change sees it as well. The first change is final, and repeating it is
/// harmless. In the ancestor, opening early made it hang, and opening twice made it panic.
#[derive(Clone, Debug)]
pub struct Gate(watch::Sender<GateState>);

/// The state of a gate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GateState {
    /// The daemon is in this phase of its start.
    Shut(StartupPhase),
    Open,
    /// It will never open, for this reason.
    Failed(String),
}

/// The phases of a start, in their order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StartupPhase {
    /// The listeners are being bound.
    #[default]
    Binding,
    /// The sandbox is being created.
    Loading,
    /// The stored handlers are being registered.
    Installing,
    /// Everything is ready, and the gate is about to open.
    Opening,
}

/// The reason why a gate will never open.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct GateFailed(pub String);

impl Default for Gate {
    fn default() -> Self {
        Self(watch::Sender::new(GateState::Shut(StartupPhase::default())))
    }
}

impl Gate {
    /// Creates a gate that is shut.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the phase of the start. Does nothing if the gate is no longer shut.
    pub fn set_phase(&self, phase: StartupPhase) {
        self.change_if_shut(GateState::Shut(phase));
    }

    /// Opens the gate. Returns whether it is open now; a gate that has failed stays failed.
    pub fn open(&self) -> bool {
        self.change_if_shut(GateState::Open);
        *self.0.borrow() == GateState::Open
    }

    /// Makes the gate fail. Returns whether it has failed now; a gate that is open stays open.
    pub fn fail(&self, reason: impl Into<String>) -> bool {
        self.change_if_shut(GateState::Failed(reason.into()));
        matches!(*self.0.borrow(), GateState::Failed(_))
    }

    /// Returns the current state.
    pub fn state(&self) -> GateState {
        self.0.borrow().clone()
    }

    /// Waits until the gate is open. Cancel-safe.
    ///
    /// # Errors
    /// [`GateFailed`] once the gate has failed.
    pub async fn opened(&self) -> Result<(), GateFailed> {
        let mut states = self.0.subscribe();
        let state = states.wait_for(|state| !state.is_shut()).await.expect("the gate holds the sender");
        match &*state {
            GateState::Failed(reason) => Err(GateFailed(reason.clone())),
            GateState::Open | GateState::Shut(_) => Ok(()),
        }
    }

    /// Waits until the gate has failed. Never returns if the gate opens. Cancel-safe.
    pub async fn failed(&self) -> GateFailed {
        match self.opened().await {
            Err(failed) => failed,
            Ok(()) => std::future::pending().await,
        }
    }

    fn change_if_shut(&self, next: GateState) {
        self.0.send_if_modified(|state| {
            let is_change = state.is_shut() && *state != next;
            if is_change {
                *state = next;
            }
            is_change
        });
    }
}

impl GateState {
    /// Returns whether the gate has neither opened nor failed.
    pub fn is_shut(&self) -> bool {
        matches!(self, Self::Shut(_))
    }
}

impl StartupPhase {
    /// Returns the name, which is one word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Binding => "binding",
            Self::Loading => "loading",
            Self::Installing => "installing",
            Self::Opening => "opening",
        }
    }
}

impl fmt::Display for StartupPhase {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn opened_returns_at_once_after_one_or_more_openings() {
        let gate = Gate::new();
        assert!(gate.opened().now_or_never().is_none(), "a new gate is shut");
        assert!(gate.open() && gate.open());
        for _ in 0..2 {
            assert_eq!(gate.opened().now_or_never(), Some(Ok(())));
        }
    }

    #[tokio::test]
    async fn open_wakes_all_waiting_tasks() {
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
    async fn set_phase_changes_the_state_of_a_shut_gate_only() {
        let gate = Gate::new();
        for (phase, name) in [
            (StartupPhase::Binding, "binding"),
            (StartupPhase::Loading, "loading"),
            (StartupPhase::Installing, "installing"),
            (StartupPhase::Opening, "opening"),
        ] {
            gate.set_phase(phase);
            assert_eq!(phase.to_string(), name);
            assert_eq!(gate.state(), GateState::Shut(phase));
            assert!(gate.opened().now_or_never().is_none(), "{phase} has opened the gate");
        }
        gate.open();
        gate.set_phase(StartupPhase::Loading);
        assert_eq!(gate.state(), GateState::Open);
    }

    #[tokio::test]
    async fn failed_returns_the_reason_and_never_returns_for_an_open_gate() {
        let gate = Gate::new();
        assert!(gate.failed().now_or_never().is_none());
        gate.fail("no engine");
        assert_eq!(gate.failed().await, GateFailed("no engine".into()));
        let gate = Gate::new();
        gate.open();
        assert!(gate.failed().now_or_never().is_none());
    }

    #[tokio::test]
    async fn first_change_of_a_gate_is_final() {
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
