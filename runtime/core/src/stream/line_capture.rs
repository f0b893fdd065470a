//! [`LineCapture`]: records the end of stderr while it passes, for the last line of a run that fails.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncWrite;

use super::pipe::Sink;
use crate::usage::Usage;

/// Writes to a sink and to [`Usage::last_stderr`].
#[derive(Debug)]
pub struct LineCapture {
    sink: Sink,
    usage: Arc<Usage>,
}

impl LineCapture {
    /// Creates a capture that passes everything on to `sink`.
    pub fn new(sink: Sink, usage: Arc<Usage>) -> Self {
        Self { sink, usage }
    }
}

impl AsyncWrite for LineCapture {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.sink).poll_write(cx, buf));
        // Output that the sink rejects, because its reader has disconnected, still counts.
        self.usage.last_stderr.record(&buf[..*written.as_ref().unwrap_or(&buf.len())]);
        Poll::Ready(written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.sink).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.sink).poll_shutdown(cx)
    }
}
