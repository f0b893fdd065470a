//! [`RunRecorder`]: takes synchronous runs that have ended, for a history that survives the daemon.

use std::sync::Arc;

use tokio::sync::mpsc;

use crate::job::{Job, JobEnd};

/// Runs that may wait to be recorded. Those that end while there are so many stay in memory only.
const QUEUE: usize = 10_000;

/// A run that has ended.
pub(crate) type EndedRun = (Job, Arc<JobEnd>);

/// Takes runs that have ended. It never waits: a run is not slower because it is recorded.
#[derive(Clone, Debug)]
pub(crate) struct RunRecorder(mpsc::Sender<EndedRun>);

impl RunRecorder {
    /// Returns a recorder, and what is to be recorded.
    pub(crate) fn new() -> (Self, mpsc::Receiver<EndedRun>) {
        let (sender, receiver) = mpsc::channel(QUEUE);
        (Self(sender), receiver)
    }

    /// Takes a run. Its end is about to be published.
    pub(crate) fn record(&self, job: &Job, end: &Arc<JobEnd>) {
        if self.0.try_send((job.clone(), end.clone())).is_err() {
            tracing::warn!(job = %job.id(), "the disk is too slow for the history: this run is recorded in memory only");
        }
    }
}
