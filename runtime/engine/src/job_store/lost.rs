//! [`after_lost_run`]: what follows a run that was lost.

use capstan_core::outcome::Outcome;
use jiff::Timestamp;

use super::claim::Then;
use super::record::JobRecord;
use capstan_core::retry::{Decision, RunCount};

/// Returns what follows the loss of the current run of `job`, and the outcome of the job if it ends.
///
/// A job whose cancellation was requested ends as cancelled. For any other the retry policy decides, without jitter: the daemon restarts
/// once, and jobs that were lost together are claimed by the slots that are free.
pub fn after_lost_run(job: &JobRecord, now: Timestamp) -> (Then, Outcome) {
    if let Some(by) = job.cancel_requested {
        return (Then::Done, Outcome::Cancelled { by });
    }
    let count = RunCount { lost: job.runs.lost + 1, ..job.runs };
    let then = match job.plan.retry.decide(&Outcome::Lost, count, 0.0) {
        Decision::Done => Then::Done,
        Decision::Retry(delay) => Then::Retry(now.checked_add(delay).unwrap_or(Timestamp::MAX)),
        Decision::Dead => Then::Dead,
    };
    (then, Outcome::Lost)
}
