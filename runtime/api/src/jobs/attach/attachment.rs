//! `Attachment` and `StdinWriter`: the output and the stdin of a job for one attached client.

use bytes::Bytes;
use capstan_core::stream::Sink;
use capstan_engine::history::Record;
use capstan_engine::job::Job;
use capstan_engine::output_log::Follower;
use tokio::io::AsyncWriteExt as _;

use super::super::super::error::Error;
use super::super::log_encoder::LogEncoder;

/// The output of a job for one attached client.
pub(super) struct Attachment {
    pub(super) record: Record,
    pub(super) encoder: LogEncoder,
    pub(super) follower: Follower,
}

impl Attachment {
    /// Waits until the job has ended, and returns the frame of its outcome.
    pub(super) async fn outcome_frame(&self) -> Bytes {
        // The streams of a job close shortly before it ends.
        if let Some(job) = self.record.job() {
            job.wait().await;
        }
        self.encoder.encode_outcome(&self.record)
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
