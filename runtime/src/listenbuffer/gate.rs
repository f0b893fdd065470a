//! `Gate`: what held connections wait for.

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
    Shut,
    Open,
    /// It will never open; the reason is for those who wait.
    Failed(String),
}

/// The gate will never open; says why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct GateFailed(pub String);

impl Default for Gate {
    fn default() -> Self {
        Self(watch::Sender::new(GateState::Shut))
    }
}

impl Gate {
    /// A gate that is shut.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets everyone through, now and later. Tells whether it is open: a gate that has failed stays as it is.
    pub fn open(&self) -> bool {
        self.leave_shut(GateState::Open);
        *self.0.borrow() == GateState::Open
    }

    /// Turns everyone away, now and later. Tells whether it has failed: a gate that is open stays as it is.
    pub fn fail(&self, reason: impl Into<String>) -> bool {
        self.leave_shut(GateState::Failed(reason.into()));
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
        let state = states.wait_for(|state| *state != GateState::Shut).await.expect("the gate holds the sender");
        match &*state {
            GateState::Failed(reason) => Err(GateFailed(reason.clone())),
            GateState::Open | GateState::Shut => Ok(()),
        }
    }

    fn leave_shut(&self, next: GateState) {
        self.0.send_if_modified(|state| {
            let shut = *state == GateState::Shut;
            if shut {
                *state = next;
            }
            shut
        });
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
