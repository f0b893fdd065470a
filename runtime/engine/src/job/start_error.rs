//! [`StartError`]: why a job did not start.

use super::idempotency_key::DuplicateKey;

/// Why a job did not start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    #[error("the job has already been started")]
    AlreadyStarted,
    #[error("the engine is shutting down and accepts no new jobs")]
    ShuttingDown,
    #[error(
        "all {runs} slots are in use and {queue} jobs wait, which is the limit; try again later, or raise limits.runs or limits.queue"
    )]
    Busy {
        /// The number of slots.
        runs: usize,
        /// The number of jobs at most that wait for a slot.
        queue: usize,
    },
    #[error(transparent)]
    DuplicateKey(#[from] DuplicateKey),
}
