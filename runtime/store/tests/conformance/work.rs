//! [`Work`]: a store with what tests do to it.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cap_std::fs::Dir;
use capstan_core::outcome::{Outcome, OutputStream};
use capstan_core::usage::UsageReport;
use capstan_engine::handler::HandlerName;
use capstan_engine::job::JobId;
use capstan_engine::job_store::{
    ClaimRequest, Claimed, End, Exclusions, Finish, JobIds, JobRecord, JobStore, Lease, NewJob, Now, OutputChunk,
    State, StoreLimits, Submitted, Then,
};
use capstan_store::jobs::{SqliteJobStore, SqliteOptions};

/// A lease that no test outlives.
pub(crate) const LONG: Duration = Duration::from_secs(3600);

/// A store, and a clock that moves only when a test moves it.
pub(crate) struct Work<'a> {
    pub(crate) store: &'a dyn JobStore,
    pub(crate) ids: JobIds,
    now: Cell<Now>,
}

/// A data directory that is removed at the end.
pub(crate) struct TempData {
    _temp: tempfile::TempDir,
    dir: Dir,
}

impl TempData {
    pub(crate) fn new() -> Self {
        let temp = tempfile::tempdir().unwrap();
        let dir = Dir::open_ambient_dir(temp.path(), cap_std::ambient_authority()).unwrap();
        Self { _temp: temp, dir }
    }

    pub(crate) fn open(&self, now: Now) -> SqliteJobStore {
        let options =
            SqliteOptions { limits: limits(), follow_ups: Some(crate::follow_ups::rule()), ..SqliteOptions::default() };
        SqliteJobStore::open(&self.dir, options, now).unwrap().0
    }
}

/// Limits that tests reach easily.
pub(crate) fn limits() -> StoreLimits {
    StoreLimits { stdin: 1 << 20, job_output: 1 << 20, handler_output: 2 << 20, ..StoreLimits::default() }
}

impl<'a> Work<'a> {
    pub(crate) fn new(store: &'a dyn JobStore) -> Self {
        Self { store, ids: JobIds::default(), now: Cell::new(Now::read()) }
    }

    pub(crate) fn now(&self) -> Now {
        self.now.get()
    }

    pub(crate) fn pass(&self, seconds: u64) {
        self.now.set(self.now.get().after(Duration::from_secs(seconds)));
    }

    pub(crate) fn new_job(&self, handler: &str) -> NewJob {
        NewJob::new(self.ids.create(self.now().wall), HandlerName::new(handler).unwrap())
    }

    pub(crate) async fn submit(&self, job: NewJob) -> Submitted {
        self.store.submit(self.now(), vec![job]).await.unwrap().remove(0).unwrap()
    }

    /// Submits a job of `handler` as `change` makes it.
    pub(crate) async fn submit_with(&self, handler: &str, change: impl FnOnce(&mut NewJob)) -> JobId {
        let mut job = self.new_job(handler);
        change(&mut job);
        self.submit(job).await.job
    }

    pub(crate) async fn submit_one(&self, handler: &str) -> JobId {
        self.submit_with(handler, |_| {}).await
    }

    pub(crate) async fn claim_with(&self, limit: usize, exclude: Exclusions) -> Vec<Claimed> {
        let request = ClaimRequest { capacity: Arc::new(exclude), ..ClaimRequest::new("test", limit, LONG) };
        self.store.claim(self.now(), request).await.unwrap()
    }

    pub(crate) async fn claim(&self, limit: usize) -> Vec<Claimed> {
        self.claim_with(limit, Exclusions::default()).await
    }

    pub(crate) async fn claim_one(&self) -> Lease {
        let claimed = self.claim(1).await;
        assert_eq!(claimed.len(), 1, "a job is queued");
        claimed[0].lease
    }

    /// Claims until nothing is queued, one job at a time. Returns the ids.
    pub(crate) async fn claim_all(&self) -> Vec<JobId> {
        let mut ids = Vec::new();
        while let Some(claimed) = self.claim(1).await.pop() {
            ids.push(claimed.lease.job);
        }
        ids
    }

    pub(crate) fn finish(&self, lease: Lease, outcome: Outcome, then: Then) -> Finish {
        let error = (!outcome.is_success()).then(|| outcome.to_string());
        let usage = UsageReport { cpu_seconds: 0.5, ..UsageReport::default() };
        Finish { lease, end: End { outcome, error, at: self.now().wall }, usage, then }
    }

    pub(crate) async fn end(&self, lease: Lease, outcome: Outcome, then: Then) -> State {
        self.store.finish(self.now(), self.finish(lease, outcome, then)).await.unwrap()
    }

    pub(crate) async fn succeed(&self, lease: Lease) {
        assert_eq!(self.end(lease, Outcome::SUCCESS, Then::Done).await, State::Done);
    }

    /// Submits a job of `handler` and runs it to its success.
    pub(crate) async fn run_one(&self, handler: &str) -> JobId {
        let job = self.submit_one(handler).await;
        let lease = self.claim_one().await;
        assert_eq!(lease.job, job);
        self.succeed(lease).await;
        job
    }

    pub(crate) async fn job(&self, job: JobId) -> JobRecord {
        self.store.job(job).await.unwrap().expect("the job exists").job
    }

    pub(crate) async fn state(&self, job: JobId) -> State {
        self.job(job).await.state
    }

    pub(crate) async fn print(&self, lease: Lease, text: &str) -> u64 {
        self.store.append_output(lease, vec![self.chunk(text)]).await.unwrap()
    }

    pub(crate) fn chunk(&self, text: &str) -> OutputChunk {
        let bytes = Bytes::copy_from_slice(text.as_bytes());
        OutputChunk { stream: OutputStream::Stdout, at: self.now().wall, bytes }
    }
}
