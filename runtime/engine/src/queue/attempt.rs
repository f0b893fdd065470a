//! An attempt of a durable job: a job of the engine whose output and end are recorded in the store.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use capstan_core::env::Env;
use capstan_core::outcome::{CancelledBy, Outcome, OutputStream};
use capstan_core::secret::Redaction;
use capstan_core::stream::{Sink, Source};
use capstan_core::usage::UsageReport;
use jiff::Timestamp;

use super::Queue;
use super::output::{AttemptOutput, PAUSE_WHEN_FULL};
use super::stdin_in_memory::HeldStdin;
use crate::engine::ReservedSlot;
use crate::job::{Attempt, AttemptRecorder, Job, JobEnd, JobOptions};
use crate::job_store::{AttemptError, Claimed, End, Finish, JobRecord, JobStoreError, Lease, Now, Then};
use capstan_core::retry::{Decision, RunCount};

/// Records one attempt.
#[derive(Debug)]
struct Recorder {
    queue: Queue,
    lease: Lease,
    record: JobRecord,
    output: AttemptOutput,
    /// Dropped at the end. `None` once the end is being recorded.
    stdin: Mutex<Option<HeldStdin>>,
}

impl Queue {
    /// Starts the run of a claimed job. If it cannot start, records why.
    pub(super) fn start_attempt(&self, claimed: Claimed, slot: ReservedSlot) {
        let Claimed { lease, job: record, stdin } = claimed;
        let output = AttemptOutput::new(self.clone(), lease);
        let held = Mutex::new(Some(self.0.stdin_in_memory.hold(stdin.len())));
        let recorder = Arc::new(Recorder { queue: self.clone(), lease, record, output, stdin: held });
        let plan = &recorder.record.plan;
        if plan.stdin_from.is_none() && plan.env_from.is_empty() {
            let env = plan.env.clone();
            return recorder.start(stdin, &env, slot);
        }
        self.0.engine.spawn_change(async move {
            match recorder.queue.inputs(&recorder.record.plan, stdin).await {
                Ok((stdin, env)) => recorder.start(stdin, &env, slot),
                Err(error) => recorder.refuse(error.to_string()),
            }
        });
    }
}

impl Recorder {
    fn start(self: Arc<Self>, stdin: Bytes, env: &Env, slot: ReservedSlot) {
        let job = match self.build_job(Source::from_bytes(stdin), env) {
            Ok(job) => job,
            Err(why) => return self.refuse(why),
        };
        let engine = self.queue.0.engine.clone();
        self.queue.0.running.insert(self.lease, &job);
        if engine.start_reserved(&job, slot).is_err() {
            // The engine shuts down. The attempt counts as one that shutdown has ended, and the job is queued again.
            engine.spawn_change(async move { self.record_end(&shut_down(job.usage())).await });
        }
    }

    fn build_job(self: &Arc<Self>, stdin: Source, env: &Env) -> Result<Job, String> {
        let JobRecord { handler, plan, concurrency_key, .. } = &self.record;
        let options = JobOptions {
            policy: plan.policy.clone(),
            caller: plan.caller.clone(),
            concurrency_key: concurrency_key.clone(),
            ..JobOptions::default()
        };
        let attempt = Attempt { job: self.lease.job, submitted: self.record.submitted, recorder: self.clone() };
        let builder = self.queue.0.engine.job(handler.as_str()).map_err(|error| error.to_string())?;
        let builder = builder.args(plan.args.iter().cloned()).env(env).options(options).stdin(stdin);
        builder.attempt(attempt).build().map_err(|error| error.to_string())
    }

    /// Records that the job cannot run.
    fn refuse(self: Arc<Self>, why: String) {
        let outcome = Outcome::Refused { why };
        let error = Some(outcome.to_string().into());
        let end = JobEnd { outcome, error, at: Timestamp::now(), usage: UsageReport::default() };
        let engine = self.queue.0.engine.clone();
        engine.spawn_change(async move { self.record_end(&end).await });
    }

    /// Returns what follows `outcome`.
    fn decide(&self, outcome: &Outcome, now: Timestamp) -> Then {
        if matches!(outcome, Outcome::Cancelled { by: CancelledBy::Shutdown }) {
            return Then::Retry(now);
        }
        let count = RunCount { ended: self.record.runs.ended + 1, ..self.record.runs };
        match self.record.plan.retry.decide(outcome, count, rand::random()) {
            Decision::Done => Then::Done,
            Decision::Retry(delay) => Then::Retry(now.checked_add(delay).unwrap_or(Timestamp::MAX)),
            Decision::Dead => Then::Dead,
        }
    }

    /// Records the end. Waits for space on a full disk, unless the engine shuts down: then the attempt is lost, and its job runs again.
    async fn finish(&self, end: &JobEnd) {
        loop {
            let now = Now::read();
            let error = end.error.as_deref().map(str::to_owned);
            let finish = Finish {
                lease: self.lease,
                end: End { outcome: end.outcome.clone(), error, at: now.wall },
                usage: end.usage.clone(),
                then: self.decide(&end.outcome, now.wall),
            };
            match self.queue.0.store.finish(now, finish).await {
                Ok(_) => return,
                Err(AttemptError::Store(JobStoreError::Full)) if !self.queue.0.engine.is_shutting_down() => {
                    tracing::error!(job = %self.lease.job, "cannot record the end of a job: the disk is full");
                    tokio::time::sleep(PAUSE_WHEN_FULL).await;
                }
                Err(AttemptError::Store(error)) => {
                    tracing::error!(job = %self.lease.job, "cannot record the end of a job: {error}");
                    let _ = self.queue.note::<()>(Err(error));
                    return;
                }
                Err(stale @ AttemptError::Stale { .. }) => return tracing::warn!("{stale}"),
            }
        }
    }
}

#[async_trait]
impl AttemptRecorder for Recorder {
    fn sink(&self, stream: OutputStream, redaction: &Redaction) -> Sink {
        self.output.sink(stream, redaction)
    }

    async fn record_end(&self, end: &JobEnd) {
        // An end is recorded once.
        let Some(stdin) = self.stdin.lock().expect("no panic while the lock is held").take() else { return };
        drop(stdin);
        self.output.close().await;
        self.finish(end).await;
        self.queue.0.running.remove(self.lease);
    }
}

fn shut_down(usage: UsageReport) -> JobEnd {
    let outcome = Outcome::Cancelled { by: CancelledBy::Shutdown };
    JobEnd { error: Some(outcome.to_string().into()), outcome, at: Timestamp::now(), usage }
}
