//! [`StartError`]: why a job did not start.

use super::idempotency_key::DuplicateKey;

/// Why a job did not start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    #[error("job has already been started")]
    AlreadyStarted,
    #[error("the engine is shutting down")]
    ShuttingDown,
    #[error("{runs} runs are going on and {queue} jobs wait, as many as may be")]
    Busy {
        /// The number of slots.
        runs: usize,
        /// The number of jobs at most that wait for a slot.
        queue: usize,
    },
    #[error(transparent)]
    DuplicateKey(#[from] DuplicateKey),
}
