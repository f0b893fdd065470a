//! [`RecordedStream`]: the end of a job's output that records it, without secrets.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use capstan_core::outcome::OutputStream;
use capstan_core::secret::{Redaction, Redactor};
use tokio::io::AsyncWrite;

/// Takes the output of a job.
pub trait Recording: fmt::Debug {
    /// Waits until there is room for more.
    fn poll_ready(&self, _cx: &Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }

    /// Takes what was written to `stream`.
    fn write(&self, stream: OutputStream, bytes: &[u8]);

    /// Called when a stream has ended.
    fn end_stream(&self) {}
}

/// Writes one stream to a recording.
#[derive(Debug)]
pub struct RecordedStream<R: Recording> {
    recording: R,
    stream: OutputStream,
    /// Removes secrets, if there are any.
    redactor: Option<Redactor>,
}

impl<R: Recording> RecordedStream<R> {
    /// Returns a writer of `stream` that removes the secrets of `redaction`.
    pub(crate) fn new(recording: R, stream: OutputStream, redaction: Option<&Redaction>) -> Self {
        let redactor = redaction.filter(|redaction| !redaction.is_empty()).map(Redaction::redactor);
        Self { recording, stream, redactor }
    }
}

impl<R: Recording + Unpin> AsyncWrite for RecordedStream<R> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let Self { recording, stream, redactor } = &mut *self;
        ready!(recording.poll_ready(cx));
        match redactor {
            None => recording.write(*stream, bytes),
            Some(redactor) => recording.write(*stream, &redactor.redact(bytes)),
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl<R: Recording> Drop for RecordedStream<R> {
    fn drop(&mut self) {
        if let Some(redactor) = &mut self.redactor {
            let rest = redactor.finish();
            self.recording.write(self.stream, &rest);
        }
        self.recording.end_stream();
    }
}
