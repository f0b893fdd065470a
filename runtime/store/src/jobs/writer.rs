//! [`Writer`]: the thread that makes all changes. It puts the changes that wait into one transaction, so that they share one sync.
//!
//! A change is answered after the commit. If one of a group fails, only that one is undone. If the commit fails, nothing of the group has
//! happened and all get the error. After a failure of the disk it is unknown what the disk has, so the writer refuses further changes until
//! the store is opened again. A full disk is no such failure.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

use capstan_engine::job_store::rules::{Effects, Leases, Turns, submit_follow_ups};
use capstan_engine::job_store::{FollowUps, JobStoreError, StoreLimits, Watchers};
use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::failure::{failed, is_fatal};
use super::memory_state::MemoryState;
use super::tables::SqliteTables;

/// Changes that may wait. Further callers wait until there is room.
const QUEUE: usize = 1024;
/// Changes in one transaction.
const MAX_GROUP: usize = 512;

/// A change inside a transaction.
#[derive(Debug)]
pub(super) struct Write<'a> {
    pub(super) tables: SqliteTables<'a>,
    pub(super) effects: &'a mut Effects,
    pub(super) leases: &'a mut Leases,
    pub(super) turns: &'a mut Turns,
    pub(super) limits: &'a StoreLimits,
}

/// Tells the caller of a change how its commit ended.
type Answer = Box<dyn FnOnce(Result<(), JobStoreError>) + Send>;
/// Makes a change, or only answers why it cannot be made. Returns the error of the change itself too, so that it can be undone.
type Work = Box<dyn FnOnce(Result<&mut Write<'_>, JobStoreError>) -> (Result<(), JobStoreError>, Answer) + Send>;

/// The thread that writes. Dropping it waits for the changes that were accepted.
#[derive(Debug)]
pub(super) struct Writer {
    commits: Arc<AtomicU64>,
    /// `None` while it is dropped.
    sender: Option<mpsc::Sender<Work>>,
    thread: Option<JoinHandle<()>>,
}

struct WriterThread {
    db: Connection,
    memory: MemoryState,
    leases: Leases,
    turns: Turns,
    limits: StoreLimits,
    watchers: Watchers,
    follow_ups: Option<Arc<dyn FollowUps>>,
    commits: Arc<AtomicU64>,
    /// Why no change is possible any more.
    stopped: Option<Arc<str>>,
}

impl Writer {
    /// Starts the thread.
    pub(super) fn start(
        db: Connection,
        memory: MemoryState,
        limits: StoreLimits,
        watchers: Watchers,
        follow_ups: Option<Arc<dyn FollowUps>>,
    ) -> Result<Self, JobStoreError> {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let (leases, turns, stopped, commits) =
            (Leases::default(), Turns::default(), None, Arc::<AtomicU64>::default());
        let state =
            WriterThread { db, memory, leases, turns, limits, watchers, follow_ups, commits: commits.clone(), stopped };
        let thread = std::thread::Builder::new().name("job store".into()).spawn(move || state.run(receiver));
        let thread = thread.map_err(|error| JobStoreError::io("start the thread that writes", error))?;
        Ok(Self { commits, sender: Some(sender), thread: Some(thread) })
    }

    /// Returns how many transactions were committed.
    pub(super) fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }

    /// Makes a change, with the jobs that follow the ends in it, and returns its result once it is committed.
    pub(super) async fn change<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Write<'_>) -> Result<T, JobStoreError> + Send + 'static,
    ) -> Result<T, JobStoreError> {
        let (sender, receiver) = oneshot::channel();
        let work: Work = Box::new(move |write| {
            let result = write.and_then(|write| {
                let result = work(write)?;
                submit_follow_ups(&mut write.tables, write.effects)?;
                Ok(result)
            });
            let own = result.as_ref().map(|_| ()).map_err(Clone::clone);
            // A caller that is gone needs no answer.
            (own, Box::new(move |commit| drop(sender.send(commit.and(result)))))
        });
        let queue = self.sender.as_ref().ok_or(JobStoreError::Closed)?;
        queue.send(work).await.map_err(|_| JobStoreError::Closed)?;
        receiver.await.unwrap_or(Err(JobStoreError::Closed))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.sender = None;
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was reported when it happened.
            let _ = thread.join();
        }
    }
}

impl WriterThread {
    fn run(mut self, mut receiver: mpsc::Receiver<Work>) {
        while let Some(first) = receiver.blocking_recv() {
            match &self.stopped {
                Some(reason) => refuse(first, JobStoreError::Stopped(reason.clone())),
                None => self.run_group(first, &mut receiver),
            }
        }
        // Moves the log into the database, so that the next start has less to do.
        let _ = self.db.pragma_update(None, "wal_checkpoint", "TRUNCATE");
    }

    /// Makes `first` and the changes that wait, in one transaction.
    fn run_group(&mut self, first: Work, receiver: &mut mpsc::Receiver<Work>) {
        let beginning = self.db.execute_batch("BEGIN IMMEDIATE").map_err(failed("begin"));
        if let Err(error) = beginning {
            self.stop_after(&error);
            return refuse(first, error);
        }
        let mut group = Effects::default();
        let mut answers = Vec::new();
        let mut next = Some(first);
        while let Some(work) = next {
            let (result, answer) = self.run_one(work, &mut group);
            answers.push(answer);
            // Either SQLite has undone the whole transaction, or nobody knows what the disk has.
            if let Err(error) = result
                && (self.db.is_autocommit() || is_fatal(&error))
            {
                return self.fail(&error, answers);
            }
            next = if answers.len() < MAX_GROUP { receiver.try_recv().ok() } else { None };
        }
        match self.memory.segments.sync().and_then(|()| self.db.execute_batch("COMMIT").map_err(failed("commit"))) {
            Ok(()) => {
                self.commits.fetch_add(1, Ordering::Relaxed);
                self.leases.apply(&mut group);
                self.memory.segments.remove_unneeded();
                self.watchers.notify(&group.changes);
                answers.into_iter().for_each(|answer| answer(Ok(())));
            }
            Err(error) => self.fail(&error, answers),
        }
    }

    /// Makes one change. If it fails, undoes it alone.
    fn run_one(&mut self, work: Work, group: &mut Effects) -> (Result<(), JobStoreError>, Answer) {
        let mut effects = Effects::followed_by(self.follow_ups.clone());
        let begun = self.savepoint("SAVEPOINT change");
        let Self { db, memory, leases, turns, limits, .. } = self;
        let tables = SqliteTables { db, memory };
        let (result, answer) = work(Ok(&mut Write { tables, effects: &mut effects, leases, turns, limits }));
        let result = begun.and(result);
        match &result {
            Ok(()) => group.append(effects),
            Err(error) => self.stop_after(error),
        }
        if self.db.is_autocommit() {
            return (result, answer);
        }
        let ended = match result {
            Ok(()) => self.savepoint("RELEASE change"),
            Err(_) => self
                .savepoint("ROLLBACK TO change")
                .and_then(|()| self.savepoint("RELEASE change"))
                .and_then(|()| self.memory.reload(&self.db)),
        };
        (result.and(ended), answer)
    }

    fn savepoint(&self, sql: &str) -> Result<(), JobStoreError> {
        let mut statement = self.db.prepare_cached(sql).map_err(failed("begin"))?;
        statement.execute([]).map(drop).map_err(failed("begin"))
    }

    /// Undoes the transaction, and answers `error` to all of its changes.
    fn fail(&mut self, error: &JobStoreError, answers: Vec<Answer>) {
        self.stop_after(error);
        let undone = match self.db.is_autocommit() {
            true => Ok(()),
            false => self.db.execute_batch("ROLLBACK").map_err(failed("undo a change")),
        };
        if let Err(error) = undone.and_then(|()| self.memory.reload(&self.db)) {
            self.stopped.get_or_insert_with(|| error.to_string().into());
        }
        answers.into_iter().for_each(|answer| answer(Err(error.clone())));
    }

    fn stop_after(&mut self, error: &JobStoreError) {
        if is_fatal(error) && self.stopped.is_none() {
            tracing::error!("the job store refuses changes until the daemon restarts: {error}");
            self.stopped = Some(error.to_string().into());
        }
    }
}

/// Answers `error` to a change without making it.
fn refuse(work: Work, error: JobStoreError) {
    let (_, answer) = work(Err(error));
    answer(Ok(()));
}
