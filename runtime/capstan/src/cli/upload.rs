//! `Upload`: a request body with a progress bar on the terminal.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::{Frame, SizeHint};
use indicatif::{HumanCount, ProgressBar, ProgressFinish, ProgressStyle};

use super::client::Body;

/// The maximum size of a frame of the body, in bytes.
const CHUNK_SIZE: usize = 64 * 1024;
/// The minimum size of an upload for which a bar is shown, in bytes. A smaller one is sent too quickly.
const MIN_BAR_SIZE: u64 = 1 << 20;

/// A request body made of parts that are in memory.
#[derive(Debug)]
struct Upload {
    parts: VecDeque<Bytes>,
    /// Bytes that are still to be sent.
    remaining: u64,
    progress: Progress,
}

/// The progress of an upload, and of the compilation that follows it, on the terminal. Shows nothing if stderr is not a terminal.
///
/// Clones share one display. [`Progress::finish`] removes it, and so does dropping the last clone.
#[derive(Clone, Debug)]
pub(super) struct Progress(ProgressBar);

/// Returns a request body of `parts`, in order, and its progress display. `name` is the label of the display.
pub(super) fn body(parts: impl IntoIterator<Item = Bytes>, name: &str) -> (Body, Progress) {
    let parts: VecDeque<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    let remaining = parts.iter().map(|part| part.len() as u64).sum();
    let progress =
        if remaining < MIN_BAR_SIZE { Progress::compiling(name) } else { Progress::sending(name, remaining) };
    (Upload { parts, remaining, progress: progress.clone() }.boxed_unsync(), progress)
}

impl Progress {
    /// Shows a spinner while `name` is compiled.
    pub(super) fn compiling(name: &str) -> Self {
        let bar = ProgressBar::no_length().with_prefix(name.to_owned()).with_finish(ProgressFinish::AndClear);
        let progress = Self(bar);
        progress.show_spinner();
        progress
    }

    fn sending(name: &str, total: u64) -> Self {
        let style = ProgressStyle::with_template("{prefix}: sending [{bar:32}] {binary_bytes}/{binary_total_bytes}");
        let style = style.expect("the template is a constant").progress_chars("=> ");
        Self(
            ProgressBar::new(total)
                .with_style(style)
                .with_prefix(name.to_owned())
                .with_finish(ProgressFinish::AndClear),
        )
    }

    fn advance(&self, bytes: u64, remaining: u64) {
        self.0.inc(bytes);
        if remaining == 0 {
            self.show_spinner();
        }
    }

    fn show_spinner(&self) {
        if self.0.is_hidden() {
            return;
        }
        let style = ProgressStyle::with_template("{spinner} {prefix}: compiling{msg}, {elapsed}");
        self.0.set_style(style.expect("the template is a constant"));
        self.0.enable_steady_tick(Duration::from_millis(100));
    }

    /// Shows how many functions are compiled.
    pub(super) fn set_functions(&self, count: impl FnOnce() -> u64) {
        if !self.0.is_hidden() {
            self.0.set_message(format!(" {} functions", HumanCount(count())));
        }
    }

    /// Removes the display from the terminal.
    pub(super) fn finish(&self) {
        self.0.finish_and_clear();
    }
}

impl hyper::body::Body for Upload {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let this = self.get_mut();
        let Some(part) = this.parts.front_mut() else { return Poll::Ready(None) };
        let chunk = part.split_to(part.len().min(CHUNK_SIZE));
        if part.is_empty() {
            this.parts.pop_front();
        }
        this.remaining -= chunk.len() as u64;
        this.progress.advance(chunk.len() as u64, this.remaining);
        Poll::Ready(Some(Ok(Frame::data(chunk))))
    }

    fn is_end_stream(&self) -> bool {
        self.parts.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.remaining)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::body::Body as _;

    #[tokio::test]
    async fn body_sends_parts_in_chunks_and_knows_its_size() {
        let (mut body, _progress) =
            body([Bytes::from("head"), Bytes::new(), Bytes::from(vec![7; CHUNK_SIZE + 1]), Bytes::from("tail")], "wc");
        assert_eq!(body.size_hint().exact(), Some(CHUNK_SIZE as u64 + 9));
        let mut sizes = Vec::new();
        while let Some(frame) = body.frame().await {
            sizes.push(frame.unwrap().into_data().unwrap().len());
        }
        assert_eq!(sizes, [4, CHUNK_SIZE, 1, 4]);
        assert!(body.is_end_stream());
    }
}
