//! Starts jobs and takes them to their end, in the order that [`engine`](super) describes.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};
use std::thread;

use capstan_core::manifest::HistoryMode;
use capstan_core::outcome::Outcome;
use futures_util::FutureExt as _;

use super::admission::{Permit, ReservedSlot};
use super::in_flight::InFlightGuard;
use super::{Engine, Inner, job_log};
use crate::events::EventKind;
use crate::handler::{Call, Role};
use crate::job::{Job, JobEnd, StartError, StartJob};

impl StartJob for Inner {
    fn start_job(self: Arc<Self>, job: &Job) -> Result<(), StartError> {
        Engine(self).start(job)
    }
}

impl Engine {
    fn start(&self, job: &Job) -> Result<(), StartError> {
        self.start_with(job, || self.0.admission.admit(job))
    }

    /// Starts the run of a durable job in `slot`, or lets it wait for its concurrency limits without one.
    ///
    /// # Errors
    /// [`StartError::ShuttingDown`]. The end of the job is not recorded then.
    pub(crate) fn start_reserved(&self, job: &Job, slot: ReservedSlot) -> Result<(), StartError> {
        self.start_with(job, || Ok(self.0.admission.admit_reserved(job, slot)))
    }

    fn start_with(&self, job: &Job, admit: impl FnOnce() -> Result<Permit, StartError>) -> Result<(), StartError> {
        let role = job.resolved().role();
        let admitted = job.enqueue(|| {
            let guard = self.0.in_flight.enter(job, role).ok_or(StartError::ShuttingDown)?;
            let permit = admit()?;
            if is_recorded(job) {
                self.0.history.record_start(job)?;
            }
            Ok((guard, permit))
        });
        if let Err(error @ StartError::ShuttingDown) = &admitted {
            let end = job.close(Outcome::Refused { why: error.to_string() });
            job_log::log_end(job, &end);
            job.set_done(end);
        }
        let (call, (guard, permit)) = admitted?;
        let (engine, job) = (self.clone(), job.clone());
        let mut run = Box::pin(async move { engine.take_to_end(&job, call, guard, permit).await });
        // A run that is short enough ends in this first poll and costs no task. See `capstan_sandbox`'s guest runtime.
        if run.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {
            self.0.tasks.spawn(run);
        }
        Ok(())
    }

    /// Takes an admitted job to its end.
    async fn take_to_end(&self, job: &Job, call: Call, mut guard: InFlightGuard, permit: Permit) {
        if matches!(permit, Permit::Queued(_)) && job.recorder().is_none() {
            self.0.events.publish(EventKind::JobQueue { job: job.id(), handler: job.spec().handler.to_shared() });
        }
        let permit = match permit {
            Permit::Queued(position) => tokio::select! {
                biased;
                outcome = call.stop.requested() => {
                    // `select!` has dropped the position in the queue.
                    drop(call);
                    guard.set_ended();
                    self.publish_end(job, job.close(outcome)).await;
                    return;
                }
                permit = self.0.admission.wait_for_slot(job, position) => permit,
            },
            permit => permit,
        };
        job_log::log_start(job);
        if is_work(job) {
            self.0.started.fetch_add(1, Ordering::Relaxed);
            let (handler, parent) = (job.spec().handler.to_shared(), job.parent());
            self.0.events.publish_with(EventKind::JobStart { job: job.id(), handler, parent }, || job.set_running());
        } else {
            job.set_running();
        }
        let outcome = run(job, call).await;
        if job.tree().has_children() {
            // Children end with their parent.
            job.stop().stop_children();
            if is_work(job) {
                job.tree().reclaim_slot().await;
            }
        }
        drop(permit);
        guard.set_ended();
        self.count_and_publish_end(job, outcome).await;
        drop(guard);
    }

    /// Counts a job whose run is over and which holds nothing any more, and then publishes its end.
    async fn count_and_publish_end(&self, job: &Job, outcome: Outcome) {
        let end = job.close(outcome);
        if is_work(job) {
            self.0.run_metrics.record_end(&end);
            job.resolved().totals().add(&end.outcome, &end.usage);
        }
        self.publish_end(job, end).await;
    }

    /// Publishes the end of a job, which has been counted, as an event, as a record and as the job's state, in one step. The end of a durable
    /// job is an event once it is on the disk, see [`queue`](crate::queue).
    async fn publish_end(&self, job: &Job, end: Arc<JobEnd>) {
        job_log::log_end(job, &end);
        if let Some(recorder) = job.recorder() {
            recorder.record_end(&end).await;
            return job.set_done(end);
        }
        let event = is_work(job).then(|| EventKind::JobEnd {
            job: job.id(),
            handler: job.spec().handler.to_shared(),
            outcome: end.outcome.kind().into(),
            exit_code: end.outcome.exit_code(),
        });
        let publish = || {
            if is_recorded(job) {
                self.0.history.record_end(job, &end);
            }
            if let Some(recorder) = self.0.run_recorder.get().filter(|_| is_recorded_durably(job)) {
                recorder.record(job, &end);
            }
            job.set_done(end);
        };
        match event {
            Some(event) => _ = self.0.events.publish_with(event, publish),
            None => publish(),
        }
    }
}

fn is_work(job: &Job) -> bool {
    job.resolved().role() == Role::Work
}

/// Returns whether the history records a job: all work, unless the manifest switches that off, and everything that a client will request later.
/// Durable jobs have a history of their own.
fn is_recorded(job: &Job) -> bool {
    let is_requested = job.log().is_some() || job.spec().key.is_some();
    let is_recorded_work = || is_work(job) && job.resolved().handler().history() != HistoryMode::Off;
    job.recorder().is_none() && (is_requested || is_recorded_work())
}

/// Returns whether the record of a synchronous run is to survive the daemon.
fn is_recorded_durably(job: &Job) -> bool {
    is_work(job) && job.log().is_none() && job.resolved().handler().history() == HistoryMode::Durable
}

/// Runs the handler of `job` and stops it at its deadline. The timer is on the control side, where no guest can delay it.
async fn run(job: &Job, call: Call) -> Outcome {
    let handler = job.resolved().handler().clone();
    let (stop, timeout) = (job.stop(), call.limits.timeout);
    let has_deadline = handler.role() != Role::Service;
    let mut work = std::pin::pin!(AssertUnwindSafe(async { handler.run(call).await }).catch_unwind());
    // A short run ends at once, and needs no timer.
    if let Poll::Ready(result) = futures_util::poll!(work.as_mut()) {
        return outcome_of(result);
    }
    let result = tokio::select! {
        biased;
        result = &mut work => result,
        () = tokio::time::sleep(timeout), if has_deadline => {
            stop.request(Outcome::timed_out(timeout));
            work.await
        }
    };
    outcome_of(result)
}

fn outcome_of(result: thread::Result<Outcome>) -> Outcome {
    result.unwrap_or_else(|_| Outcome::HostError { message: "the handler panicked".to_owned() })
}
