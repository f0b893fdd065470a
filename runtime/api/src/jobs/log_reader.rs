//! `LogReader`: reads the output of a job, stored or live, and waits for the job's end.

use std::collections::VecDeque;
use std::sync::Arc;

use capstan_core::outcome::OutputStream;
use capstan_engine::engine::Engine;
use capstan_engine::history::Record;
use capstan_engine::job::{JobEnd, JobId, JobState};
use capstan_engine::job_store::{End, JobDetails, JobStore, JobStoreError, JobWatch, Lease, OutputChunk, OutputPiece};
use capstan_engine::output_log::{Follower, Next, Piece};
use jiff::Timestamp;

use super::super::error::Error;
use super::super::state::ApiState;
use super::last_lines::LastLines;
use super::lookup::FoundJob;

/// Bytes that are read from the store at once.
const PAGE: u64 = 256 << 10;

/// What of the output a client wants.
#[derive(Clone, Debug)]
pub(super) struct LogSelection {
    pub(super) streams: Vec<OutputStream>,
    /// The last lines only.
    pub(super) tail: Option<u64>,
    /// Only what was written at this time or later.
    pub(super) since: Option<Timestamp>,
    /// Only this attempt of a durable job. By default the last one, and those that follow.
    pub(super) attempt: Option<u32>,
}

/// Reads the output of a job. It never delays the job.
pub(super) enum LogReader {
    InMemory(Record, Follower),
    Stored(StoredReader),
}

/// How a job or one of its attempts ended.
pub(super) struct EndedJob {
    pub(super) id: JobId,
    pub(super) handler: String,
    pub(super) end: Arc<JobEnd>,
}

/// Reads the output of a durable job. What is not in the store yet is not read: so a reader never sees what a crash takes back.
pub(super) struct StoredReader {
    store: Arc<dyn JobStore>,
    watch: JobWatch,
    job: JobId,
    /// The attempt that is read; 0 before there is one.
    attempt: u32,
    /// Whether the reader goes on with later attempts.
    reads_later_attempts: bool,
    position: u64,
    /// What was read and not returned yet.
    pieces: VecDeque<Piece>,
    /// Whether reading has failed. The client sees that the output is cut.
    has_failed: bool,
    engine: Engine,
    engine_has_drained: bool,
}

impl LogReader {
    /// Returns a reader of what `selection` names.
    ///
    /// # Errors
    /// [`Error`]: 404 `no_logs`, 404 `unknown_attempt`, and those of the store.
    pub(super) async fn new(state: &ApiState, found: FoundJob, selection: &LogSelection) -> Result<Self, Error> {
        match found {
            FoundJob::InMemory(record) => {
                if let Some(attempt) = selection.attempt.filter(|attempt| *attempt != 1) {
                    return Err(Error::unknown_attempt(record.spec.id, attempt));
                }
                let log = record.log.as_ref().ok_or_else(|| Error::no_logs(record.spec.id))?;
                let follower = log.follow_last(selection.tail, selection.since, &selection.streams);
                Ok(Self::InMemory(record, follower))
            }
            FoundJob::Durable(job) if job.details.job.is_synchronous => Err(Error::no_logs(job.details.job.id)),
            FoundJob::Durable(job) => {
                let store = state.queue()?.store().clone();
                StoredReader::new(store, state.engine.clone(), &job.details, selection).await.map(Self::Stored)
            }
        }
    }

    /// Returns the next piece that is there already.
    pub(super) async fn available(&mut self) -> Option<Piece> {
        match self {
            Self::InMemory(_, follower) => match follower.try_next() {
                Next::Piece(piece) => Some(piece),
                Next::Pending | Next::End => None,
            },
            Self::Stored(reader) => reader.available().await,
        }
    }

    /// Waits for the next piece. Returns `None` at the end. Cancel-safe.
    pub(super) async fn next(&mut self) -> Option<Piece> {
        match self {
            Self::InMemory(_, follower) => follower.next().await,
            Self::Stored(reader) => reader.next().await,
        }
    }

    /// Returns how the job has ended. `None` if it has not, or reading has failed.
    pub(super) async fn end(&self) -> Option<EndedJob> {
        match self {
            Self::InMemory(record, _) => {
                let JobState::Done(end) = record.state() else { return None };
                Some(EndedJob { id: record.spec.id, handler: record.spec.handler.as_str().to_owned(), end })
            }
            Self::Stored(reader) => reader.end().await,
        }
    }

    /// Waits until a job in memory has ended: its streams close shortly before. A durable job has ended where its output has.
    pub(super) async fn wait_for_end(&self) {
        if let Self::InMemory(record, _) = self
            && let Some(job) = record.job()
        {
            job.wait().await;
        }
    }
}

impl StoredReader {
    async fn new(
        store: Arc<dyn JobStore>,
        engine: Engine,
        details: &JobDetails,
        selection: &LogSelection,
    ) -> Result<Self, Error> {
        let (job, last) = (details.job.id, details.job.attempt);
        let attempt = selection.attempt.unwrap_or(last);
        if attempt > last || selection.attempt == Some(0) {
            return Err(Error::unknown_attempt(job, attempt));
        }
        let watch = store.watchers().job(job);
        let reads_later_attempts = selection.attempt.is_none();
        let mut reader = Self {
            store,
            watch,
            job,
            attempt,
            reads_later_attempts,
            position: 0,
            pieces: VecDeque::new(),
            has_failed: false,
            engine,
            engine_has_drained: false,
        };
        if let Some(since) = selection.since {
            reader.position = reader.store.output_position(reader.lease(), since).await?.unwrap_or(0);
        }
        if let Some(lines) = selection.tail {
            reader.skip_to_last_lines(lines, &selection.streams).await?;
        }
        Ok(reader)
    }

    fn lease(&self) -> Lease {
        Lease { job: self.job, attempt: self.attempt }
    }

    /// Reads what there is now and keeps the last `lines` lines of it.
    async fn skip_to_last_lines(&mut self, lines: u64, streams: &[OutputStream]) -> Result<(), JobStoreError> {
        let mut kept = LastLines::new(lines);
        while let Some(piece) = self.read_one().await? {
            if !matches!(&piece, Piece::Output { stream, .. } if !streams.contains(stream)) {
                kept.push(piece);
            }
        }
        self.pieces = kept.into_pieces();
        Ok(())
    }

    /// Returns the next piece that is in the store.
    async fn read_one(&mut self) -> Result<Option<Piece>, JobStoreError> {
        if self.pieces.is_empty()
            && let Some(page) = self.store.read_output(self.lease(), self.position, PAGE).await?
        {
            self.position = page.next;
            self.pieces.extend(page.pieces.into_iter().map(piece));
        }
        Ok(self.pieces.pop_front())
    }

    async fn available(&mut self) -> Option<Piece> {
        let read = self.read_one().await;
        self.note(read).flatten()
    }

    async fn next(&mut self) -> Option<Piece> {
        loop {
            if let Some(piece) = self.pieces.pop_front() {
                return Some(piece);
            }
            // The state is read before the output: what an attempt that has ended has printed is all there.
            let details = self.details().await?;
            let read = self.read_one().await;
            if let Some(piece) = self.note(read)? {
                return Some(piece);
            }
            let has_ended =
                details.attempts.iter().any(|attempt| attempt.number == self.attempt && attempt.end.is_some());
            let is_last = details.job.attempt == self.attempt;
            if (has_ended || self.attempt == 0) && self.reads_later_attempts && !is_last {
                self.attempt += 1;
                self.position = 0;
                continue;
            }
            let is_over = details.job.state.has_ended() || (has_ended && !self.reads_later_attempts);
            if is_over {
                return None;
            }
            if self.engine_has_drained {
                return None;
            }
            tokio::select! {
                () = self.watch.changed() => {}
                // The job goes on after the next start of the daemon. What its run has printed so far is read once more.
                () = self.engine.wait_until_drained() => self.engine_has_drained = true,
            }
        }
    }

    async fn details(&mut self) -> Option<JobDetails> {
        let read = self.store.job(self.job).await;
        // A job that was removed has no more output.
        self.note(read).flatten()
    }

    async fn end(&self) -> Option<EndedJob> {
        if self.has_failed {
            return None;
        }
        let details = self.store.job(self.job).await.ok().flatten()?;
        let of_attempt = details.attempts.iter().find(|attempt| attempt.number == self.attempt);
        let end = match self.reads_later_attempts {
            true => details.job.end.clone(),
            false => of_attempt.and_then(|attempt| attempt.end.clone()),
        }?;
        let usage = of_attempt.map(|attempt| attempt.usage.clone()).unwrap_or_default();
        let End { outcome, error, at } = end;
        let end = JobEnd { outcome, error: error.map(Into::into), at, usage };
        Some(EndedJob { id: self.job, handler: details.job.handler.as_str().to_owned(), end: end.into() })
    }

    fn note<T>(&mut self, result: Result<T, JobStoreError>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                tracing::error!(job = %self.job, "cannot read the output of a job: {error}");
                self.has_failed = true;
                None
            }
        }
    }
}

fn piece(piece: OutputPiece) -> Piece {
    match piece {
        OutputPiece::Chunk(OutputChunk { stream, at, bytes }) => Piece::Output { stream, at, bytes },
        OutputPiece::Gap(missed) => Piece::Gap { missed },
    }
}
