//! [`Filled`]: a store with jobs and output, and its files.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use cap_std::fs::Dir;
use capstan_core::outcome::{Outcome, OutputStream};
use capstan_core::usage::UsageReport;
use capstan_engine::handler::HandlerName;
use capstan_engine::job::JobId;
use capstan_engine::job_store::{
    ClaimRequest, Claimed, End, Finish, JobDetails, JobIds, JobStore, JobStoreError, Lease, NewJob, Now, OutputChunk,
    OutputPage, OutputPiece, Then,
};
use capstan_store::jobs::{OpenReport, SqliteJobStore, SqliteOptions};

/// A data directory.
pub(crate) struct Filled {
    pub(crate) temp: tempfile::TempDir,
    pub(crate) data: Dir,
    pub(crate) ids: JobIds,
}

impl Filled {
    pub(crate) fn new() -> Self {
        let temp = tempfile::tempdir().unwrap();
        let data = Dir::open_ambient_dir(temp.path(), cap_std::ambient_authority()).unwrap();
        Self { temp, data, ids: JobIds::default() }
    }

    /// Returns a directory with the same files, as a crash at this moment would leave them.
    pub(crate) fn copy(&self) -> Self {
        let copy = Self::new();
        let jobs = copy.path("");
        fs::create_dir_all(jobs.join("output")).unwrap();
        for folder in ["", "output"] {
            for entry in fs::read_dir(self.path(folder)).unwrap() {
                let entry = entry.unwrap();
                if entry.file_type().unwrap().is_file() && !entry.file_name().to_string_lossy().ends_with("-shm") {
                    fs::copy(entry.path(), jobs.join(folder).join(entry.file_name())).unwrap();
                }
            }
        }
        copy
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.temp.path().join("jobs").join(name)
    }

    pub(crate) fn try_open(&self) -> Result<(SqliteJobStore, OpenReport), JobStoreError> {
        SqliteJobStore::open(&self.data, SqliteOptions::default(), Now::read())
    }

    pub(crate) fn open(&self) -> SqliteJobStore {
        self.try_open().unwrap().0
    }

    /// Submits `count` jobs. Runs the even ones, which print `size` bytes each.
    pub(crate) async fn fill(&self, store: &SqliteJobStore, count: usize, size: usize) -> Vec<JobId> {
        let mut ids = Vec::new();
        for index in 0..count {
            let mut job = NewJob::new(self.ids.create(Now::read().wall), HandlerName::new("a").unwrap());
            job.plan.args = vec![format!("argument {index}"), "x".repeat(300)];
            job.stdin = Bytes::from(format!("input of {index}"));
            job.labels.insert("index".into(), index.to_string());
            ids.push(job.id);
            store.submit(Now::read(), vec![job]).await.unwrap().remove(0).unwrap();
            if index % 2 == 0 {
                let lease = claim(store).await.unwrap().lease;
                print(store, lease, size).await;
                finish(store, lease, Then::Done).await;
            } else {
                // The next one is claimed first.
                store.set_paused("a", true).await.unwrap();
                store.set_paused("a", false).await.unwrap();
                let id = *ids.last().unwrap();
                store.cancel(Now::read(), id, capstan_core::outcome::CancelledBy::Operator).await.unwrap();
                store.requeue(Now::read(), id, None).await.unwrap();
                let lease = claim(store).await.unwrap().lease;
                finish(store, lease, Then::Retry(Now::read().after(Duration::from_secs(1000)).wall)).await;
            }
        }
        ids
    }
}

pub(crate) async fn claim(store: &SqliteJobStore) -> Option<Claimed> {
    let request = ClaimRequest::new("test", 1, Duration::from_secs(3600));
    store.claim(Now::read(), request).await.unwrap().pop()
}

pub(crate) async fn print(store: &SqliteJobStore, lease: Lease, size: usize) {
    let bytes = Bytes::from(vec![b'o'; size]);
    let chunk = OutputChunk { stream: OutputStream::Stdout, at: Now::read().wall, bytes };
    store.append_output(lease, vec![chunk]).await.unwrap();
}

pub(crate) async fn finish(store: &SqliteJobStore, lease: Lease, then: Then) {
    let end = End { outcome: Outcome::Exited { code: 3 }, error: Some("why".into()), at: Now::read().wall };
    store.finish(Now::read(), Finish { lease, end, usage: UsageReport::default(), then }).await.unwrap();
}

/// Reads a job and the output of its first attempt.
pub(crate) async fn read(
    store: &SqliteJobStore,
    job: JobId,
) -> Result<Option<(JobDetails, OutputPage)>, JobStoreError> {
    let Some(details) = store.job(job).await? else { return Ok(None) };
    let page = store.read_output(Lease { job, attempt: 1 }, 0, u64::MAX).await?;
    Ok(page.map(|page| (details, page)))
}

/// Returns the bytes that are there, and how many are missing.
pub(crate) fn sizes(page: &OutputPage) -> (u64, u64) {
    let mut sizes = (0, 0);
    for piece in &page.pieces {
        match piece {
            OutputPiece::Chunk(chunk) => sizes.0 += chunk.bytes.len() as u64,
            OutputPiece::Gap(missing) => sizes.1 += missing,
        }
    }
    sizes
}
