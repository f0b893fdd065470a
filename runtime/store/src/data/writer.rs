//! [`Writer`]: the thread that makes all changes. It puts the changes that wait into one transaction, so that they share one sync.
//!
//! A change is answered after the commit. If one of a group fails, only that one is undone. If the commit fails, nothing of the group has
//! happened and all get the error. After a failure of the disk it is unknown what the disk has, so the writer refuses further changes until
//! the store is opened again. A full disk is no such failure.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

use capstan_engine::data::DataError;
use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::failure::{failed, is_fatal};
use super::objects;
use super::pins::Waker;
use super::sql::{Result, execute};
use super::tables::Tables;

/// Changes that may wait. Further callers wait until there is room.
const QUEUE: usize = 1024;
/// Changes in one transaction.
const MAX_GROUP: usize = 512;

/// Tells the caller of a change how its commit ended.
type Answer = Box<dyn FnOnce(Result<()>) + Send>;
/// Makes a change, or only answers why it cannot be made. Returns the error of the change itself too, so that it can be undone.
type Work = Box<dyn FnOnce(Result<&mut Tables>) -> (Result<()>, Answer) + Send>;

/// Returns what wakes the writer. If its queue is full, or it has ended, it needs no waking.
fn waker(sender: mpsc::WeakSender<Work>) -> Waker {
    Arc::new(move || {
        if let Some(sender) = sender.upgrade() {
            let _ = sender.try_send(Box::new(|_| (Ok(()), Box::new(|_| {}))));
        }
    })
}

/// The thread that writes. Dropping it waits for the changes that were accepted.
#[derive(Debug)]
pub(super) struct Writer {
    commits: Arc<AtomicU64>,
    /// `None` while it is dropped.
    sender: Option<mpsc::Sender<Work>>,
    thread: Option<JoinHandle<()>>,
}

struct WriterThread {
    tables: Tables,
    commits: Arc<AtomicU64>,
    /// Blobs that may be unused.
    released: Vec<i64>,
    /// Why no change is possible any more.
    stopped: Option<Arc<str>>,
}

impl Writer {
    /// Starts the thread. `revision` is higher than that of any write so far.
    pub(super) fn start(db: Connection, revision: i64) -> Result<Self> {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let commits = Arc::<AtomicU64>::default();
        let tables = Tables::new(db, waker(sender.downgrade()), revision);
        let state = WriterThread { tables, commits: commits.clone(), released: Vec::new(), stopped: None };
        let thread = std::thread::Builder::new().name("data store".into()).spawn(move || state.run(receiver));
        let thread = thread.map_err(|error| DataError::io("start the thread that writes", error))?;
        Ok(Self { commits, sender: Some(sender), thread: Some(thread) })
    }

    /// Returns how many transactions were committed.
    pub(super) fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }

    /// Makes a change, and returns its result once it is committed.
    pub(super) async fn change<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Tables) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (sender, receiver) = oneshot::channel();
        let work: Work = Box::new(move |tables| {
            let result = tables.and_then(work);
            let own = result.as_ref().map(|_| ()).map_err(Clone::clone);
            // A caller that is gone needs no answer.
            (own, Box::new(move |commit| drop(sender.send(commit.and(result)))))
        });
        let queue = self.sender.as_ref().ok_or(DataError::Closed)?;
        queue.send(work).await.map_err(|_| DataError::Closed)?;
        receiver.await.unwrap_or(Err(DataError::Closed))
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
                Some(reason) => refuse(first, DataError::Stopped(reason.clone())),
                None => self.run_group(first, &mut receiver),
            }
        }
        // Moves the log into the database, so that the next start has less to do.
        let _ = self.tables.db.pragma_update(None, "wal_checkpoint", "TRUNCATE");
    }

    /// Makes `first` and the changes that wait, in one transaction.
    fn run_group(&mut self, first: Work, receiver: &mut mpsc::Receiver<Work>) {
        let beginning = self.tables.db.execute_batch("BEGIN IMMEDIATE").map_err(failed("begin"));
        if let Err(error) = beginning {
            self.stop_after(&error);
            return refuse(first, error);
        }
        let mut answers = Vec::new();
        let mut next = Some(first);
        while let Some(work) = next {
            let (result, answer) = self.run_one(work);
            answers.push(answer);
            // Either SQLite has undone the whole transaction, or nobody knows what the disk has.
            if let Err(error) = result
                && (self.tables.db.is_autocommit() || is_fatal(&error))
            {
                return self.fail(&error, answers);
            }
            next = if answers.len() < MAX_GROUP { receiver.try_recv().ok() } else { None };
        }
        let collected = self.remove_unused_blobs();
        match collected.and_then(|()| self.tables.db.execute_batch("COMMIT").map_err(failed("commit"))) {
            Ok(()) => {
                self.commits.fetch_add(1, Ordering::Relaxed);
                self.released.clear();
                answers.into_iter().for_each(|answer| answer(Ok(())));
            }
            Err(error) => self.fail(&error, answers),
        }
    }

    /// Makes one change. If it fails, undoes it alone.
    fn run_one(&mut self, work: Work) -> (Result<()>, Answer) {
        let begun = self.savepoint("SAVEPOINT change");
        let (result, answer) = work(Ok(&mut self.tables));
        let result = begun.and(result);
        if let Err(error) = &result {
            self.stop_after(error);
        }
        if self.tables.db.is_autocommit() {
            return (result, answer);
        }
        let ended = match result {
            Ok(()) => self.savepoint("RELEASE change"),
            Err(_) => self.savepoint("ROLLBACK TO change").and_then(|()| self.savepoint("RELEASE change")),
        };
        (result.and(ended), answer)
    }

    /// Removes the blobs that have lost their last pin and belong to no object.
    fn remove_unused_blobs(&mut self) -> Result<()> {
        self.tables.pins.take_released(&mut self.released);
        self.released.iter().try_for_each(|blob| objects::remove_if_unused(&self.tables, *blob))
    }

    fn savepoint(&self, sql: &str) -> Result<()> {
        execute(&self.tables.db, sql, []).map(drop)
    }

    /// Undoes the transaction, and answers `error` to all of its changes.
    fn fail(&mut self, error: &DataError, answers: Vec<Answer>) {
        self.stop_after(error);
        if !self.tables.db.is_autocommit()
            && let Err(error) = self.tables.db.execute_batch("ROLLBACK").map_err(failed("undo a change"))
        {
            self.stopped.get_or_insert_with(|| error.to_string().into());
        }
        answers.into_iter().for_each(|answer| answer(Err(error.clone())));
    }

    fn stop_after(&mut self, error: &DataError) {
        if is_fatal(error) && self.stopped.is_none() {
            tracing::error!("the store of data refuses changes until the daemon restarts: {error}");
            self.stopped = Some(error.to_string().into());
        }
    }
}

/// Answers `error` to a change without making it.
fn refuse(work: Work, error: DataError) {
    let (_, answer) = work(Err(error));
    answer(Ok(()));
}
