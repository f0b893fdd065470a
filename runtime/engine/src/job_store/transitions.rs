//! The transitions of a [`JobRecord`] from one state to another. Each method changes the record only; a store saves it.

use capstan_core::outcome::{CancelledBy, Outcome};
use jiff::Timestamp;

use super::claim::Then;
use super::record::{End, JobRecord, State};
use capstan_core::retry::RunCount;

impl JobRecord {
    /// Starts the next attempt of a queued job.
    pub fn start(&mut self) {
        self.attempt += 1;
        self.state = State::Running;
        self.due = None;
    }

    /// Ends the current attempt. The job ends too, or will run again as `then` says. A job whose cancellation was requested does not.
    pub fn finish(&mut self, end: End, then: Then) {
        match end.outcome {
            Outcome::Lost => self.runs.lost += 1,
            // The daemon stopped in order, and the job is not to blame.
            Outcome::Cancelled { by: CancelledBy::Shutdown } => {}
            _ => self.runs.ended += 1,
        }
        self.state = match then {
            Then::Retry(at) if self.cancel_requested.is_none() => {
                self.due = Some(at);
                State::Retrying
            }
            Then::Dead => State::Dead,
            Then::Done | Then::Retry(_) => State::Done,
        };
        self.end = self.state.has_ended().then_some(end);
    }

    /// Ends a job that is not running.
    pub fn end_without_run(&mut self, outcome: Outcome, now: Timestamp) {
        let error = Some(outcome.to_string());
        self.state = State::Done;
        self.due = None;
        self.end = Some(End { outcome, error, at: now });
    }

    /// Moves a job whose time has come, or whose dependencies have ended, to the queue; or to its `not_before`.
    pub fn release(&mut self, now: Timestamp) {
        let later = self.not_before.filter(|time| self.state == State::Waiting && *time > now);
        self.state = if later.is_some() { State::Scheduled } else { State::Queued };
        self.due = later;
    }

    /// Cancels the job: ends it, or records the request while it runs.
    pub fn cancel(&mut self, by: CancelledBy, now: Timestamp) {
        match self.state {
            State::Running => self.cancel_requested = Some(by),
            _ => self.end_without_run(Outcome::Cancelled { by }, now),
        }
    }

    /// Queues a job that has ended, as if no run counted.
    pub fn requeue(&mut self) {
        self.state = State::Queued;
        self.runs = RunCount::default();
        self.cancel_requested = None;
        self.start_deadline = None;
        self.end = None;
    }

    /// Returns whether the job is refused at `now` because its first run has not started in time.
    pub fn missed_start_deadline(&self, now: Timestamp) -> bool {
        self.waits_for_first_run() && self.start_deadline.is_some_and(|deadline| deadline <= now)
    }

    /// Returns whether the job has not run yet and may still.
    pub fn waits_for_first_run(&self) -> bool {
        self.attempt == 0 && matches!(self.state, State::Scheduled | State::Waiting | State::Queued)
    }

    /// Returns whether the attempt with this number is running.
    pub fn runs_attempt(&self, number: u32) -> bool {
        self.state == State::Running && self.attempt == number
    }

    /// Returns the concurrency key, or an empty text without one.
    pub fn lane(&self) -> &str {
        self.concurrency_key.as_deref().unwrap_or_default()
    }
}
