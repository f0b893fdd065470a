//! Finds the job that a request names.

use std::sync::Arc;

use capstan_core::policy::Policy;
use capstan_engine::history::Record;
use capstan_engine::job::{Job, JobId};
use capstan_engine::job_store::{JobDetails, State};
use capstan_engine::queue::WaitReason;

use super::super::error::Error;
use super::super::request::Request;
use super::super::state::ApiState;

/// The least digits of a prefix that names a job.
const MIN_PREFIX: usize = 4;

/// A job that a request names.
pub(super) enum FoundJob {
    /// A job that ends with the daemon: a synchronous run, or one whose stdin comes later.
    InMemory(Record),
    Durable(Box<DurableJob>),
}

/// A durable job, as the store and the engine know it.
pub(super) struct DurableJob {
    pub(super) details: JobDetails,
    /// Its run, if it is in progress.
    pub(super) run: Option<Job>,
    /// What its runs may use and touch: of the run in progress, or else of one that would start now. `None` if none could.
    pub(super) policy: Option<Arc<Policy>>,
    /// Why it has not started, where that was asked for.
    pub(super) waits_for: Option<WaitReason>,
}

impl DurableJob {
    pub(super) fn new(state: &ApiState, details: JobDetails) -> Result<Self, Error> {
        // A run is still known for a moment after its end is on the disk.
        let is_running = details.job.state == State::Running;
        let run = state.queue()?.running_job(details.job.id).filter(|_| is_running);
        let policy = match &run {
            Some(run) => Some(run.spec().policy.clone()),
            None => state.engine.policy_of(details.job.handler.as_str(), &details.job.plan.policy),
        };
        Ok(Self { details, run, policy, waits_for: None })
    }
}

impl FoundJob {
    /// Finds out why a durable job has not started.
    ///
    /// # Errors
    /// [`Error`] of the store.
    pub(super) async fn explain_wait(&mut self, state: &ApiState) -> Result<(), Error> {
        if let Self::Durable(durable) = self {
            let (queue, job) = (state.queue()?, &durable.details.job);
            let queues = if job.state == State::Queued { queue.store().queues().await? } else { Vec::new() };
            let is_paused = queues.iter().any(|status| status.handler == job.handler && status.is_paused);
            durable.waits_for = queue.why_waits(job, is_paused);
        }
        Ok(())
    }

    pub(super) fn id(&self) -> JobId {
        match self {
            Self::InMemory(record) => record.spec.id,
            Self::Durable(job) => job.details.job.id,
        }
    }

    pub(super) fn has_ended(&self) -> bool {
        match self {
            Self::InMemory(record) => record.has_ended(),
            Self::Durable(job) => job.details.job.state.has_ended(),
        }
    }

    /// Returns the run of the job, if it is in progress or waits for a slot.
    pub(super) fn run(&self) -> Option<&Job> {
        match self {
            Self::InMemory(record) => unfinished_job(record),
            Self::Durable(job) => job.run.as_ref(),
        }
    }
}

/// Returns the id in the path, or the id of the one job that starts with what is in the path.
///
/// # Errors
/// [`Error`]: 404 `unknown_job`, 409 `ambiguous_job`.
pub(in super::super) async fn job_id(state: &ApiState, request: &Request) -> Result<JobId, Error> {
    let text = request.path_parameter.as_str();
    if text.len() < MIN_PREFIX || !text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
        return request.job_id();
    }
    if let Ok(id) = text.parse() {
        return Ok(id);
    }
    let mut ids = state.engine.history().find_by_prefix(text);
    ids.extend(state.queue()?.store().find_by_prefix(text).await?);
    match *ids.as_slice() {
        [] => Err(Error::unknown_job(text)),
        [id] => Ok(id),
        [first, second, ..] => Err(Error::ambiguous_job(text, first, second)),
    }
}

/// Returns the job in the path.
///
/// # Errors
/// [`Error`]: 404 `unknown_job`, 409 `ambiguous_job`.
pub(super) async fn find(state: &ApiState, request: &Request) -> Result<FoundJob, Error> {
    find_by_id(state, job_id(state, request).await?).await
}

/// Returns the job with this id.
///
/// # Errors
/// [`Error`], 404 `unknown_job`.
pub(super) async fn find_by_id(state: &ApiState, id: JobId) -> Result<FoundJob, Error> {
    if let Some(record) = state.engine.history().find(id) {
        return Ok(FoundJob::InMemory(record));
    }
    match state.queue()?.store().job(id).await? {
        Some(details) => Ok(FoundJob::Durable(DurableJob::new(state, details)?.into())),
        None => Err(Error::unknown_job(&id.to_string())),
    }
}

/// Returns the run of the job in the path, which must be in progress.
///
/// # Errors
/// [`Error`]: 404 `unknown_job`, 409 `job_ended`, 409 `not_running`.
pub(in super::super) async fn find_run(state: &ApiState, request: &Request) -> Result<Job, Error> {
    let found = find(state, request).await?;
    match found.run() {
        Some(run) => Ok(run.clone()),
        None if found.has_ended() => Err(Error::job_ended(found.id())),
        None => Err(Error::not_running(found.id())),
    }
}

/// Returns the job of a record; `None` once it has ended.
pub(super) fn unfinished_job(record: &Record) -> Option<&Job> {
    record.job().filter(|_| !record.has_ended())
}
