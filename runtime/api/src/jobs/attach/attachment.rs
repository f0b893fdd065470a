//! `Attachment` and `StdinWriter`: the output and the stdin of a job for one attached client.

use capstan_core::stream::Sink;
use capstan_engine::job::{Job, JobId};
use tokio::io::AsyncWriteExt as _;

use super::super::super::error::Error;
use super::super::log_encoder::LogEncoder;
use super::super::log_reader::{EndedJob, LogReader};

/// The output of a job for one attached client.
pub(super) struct Attachment {
    pub(super) id: JobId,
    /// The run, if it is in progress.
    pub(super) run: Option<Job>,
    pub(super) encoder: LogEncoder,
    pub(super) reader: LogReader,
}

impl Attachment {
    /// Waits until the job has ended, and returns how. `None` if that cannot be read.
    pub(super) async fn end(&self) -> Option<EndedJob> {
        self.reader.wait_for_end().await;
        self.reader.end().await
    }
}

/// Writes the stdin of a job for one client. On drop, stdin stays open for the next client unless it was closed.
pub(super) struct StdinWriter {
    job: Job,
    sink: Option<Sink>,
}

impl StdinWriter {
    /// Takes the stdin of a job.
    ///
    /// # Errors
    /// [`Error`], 409 `conflict`, where stdin is not open or has a writer already.
    pub(super) fn take(job: &Job) -> Result<Self, Error> {
        let id = job.id();
        let sink = job.take_stdin().ok_or_else(|| {
            let message = format!(
                "the stdin of job {id} is not open, or another client writes it: attach with stdin=0 (--no-stdin)"
            );
            Error::conflict(id, message)
        })?;
        Ok(Self { sink: Some(sink), job: job.clone() })
    }

    /// Writes `bytes` at the speed of the guest. Discards them where the guest does not read stdin any more.
    pub(super) async fn write(&mut self, bytes: &[u8]) {
        if let Some(sink) = &mut self.sink
            && sink.write_all(bytes).await.is_err()
        {
            self.close();
        }
    }

    /// Closes stdin, which is the end of input for the guest.
    pub(super) fn close(&mut self) {
        self.sink = None;
    }
}

impl Drop for StdinWriter {
    fn drop(&mut self) {
        if let Some(sink) = self.sink.take() {
            self.job.return_stdin(sink);
        }
    }
}
