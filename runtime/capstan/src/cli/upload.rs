//! `Upload`: a body that is sent in chunks while a bar on the terminal shows how far it is.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::{Frame, SizeHint};
use indicatif::{ProgressBar, ProgressStyle};

use super::client::Body;

/// Bytes handed to the connection at a time.
const CHUNK: usize = 64 * 1024;
/// Bytes from which on a bar is worth while: less is sent at once.
const LARGE: u64 = 1 << 20;

/// A body of known parts.
#[derive(Debug)]
struct Upload {
    parts: VecDeque<Bytes>,
    left: u64,
    progress: Progress,
}

/// What a person sees of an upload and of what follows; nothing where stderr is not a terminal. Clones are the same; it is taken
/// away by [`Progress::finish`].
#[derive(Clone, Debug)]
pub(super) struct Progress(ProgressBar);

/// A body of `parts`, one after the other, and what shows how far it is.
pub(super) fn body(parts: impl IntoIterator<Item = Bytes>, name: &str) -> (Body, Progress) {
    let parts: VecDeque<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    let left = parts.iter().map(|part| part.len() as u64).sum();
    let progress = if left < LARGE { Progress::compiling(name) } else { Progress::sending(name, left) };
    (Upload { parts, left, progress: progress.clone() }.boxed_unsync(), progress)
}

impl Progress {
    /// Something turns while `name` is being compiled.
    pub(super) fn compiling(name: &str) -> Self {
        let bar = ProgressBar::no_length().with_prefix(name.to_owned());
        let progress = Self(bar);
        progress.turn();
        progress
    }

    fn sending(name: &str, total: u64) -> Self {
        let style = ProgressStyle::with_template("{prefix}: sending [{bar:32}] {binary_bytes}/{binary_total_bytes}");
        let style = style.expect("the template is a constant").progress_chars("=> ");
        Self(ProgressBar::new(total).with_style(style).with_prefix(name.to_owned()))
    }

    fn sent(&self, bytes: u64, left: u64) {
        self.0.inc(bytes);
        if left == 0 {
            self.turn();
        }
    }

    fn turn(&self) {
        if self.0.is_hidden() {
            return;
        }
        let style = ProgressStyle::with_template("{spinner} {prefix}: compiling, {elapsed}");
        self.0.set_style(style.expect("the template is a constant"));
        self.0.enable_steady_tick(Duration::from_millis(100));
    }

    /// Takes it off the terminal.
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
        let chunk = part.split_to(part.len().min(CHUNK));
        if part.is_empty() {
            this.parts.pop_front();
        }
        this.left -= chunk.len() as u64;
        this.progress.sent(chunk.len() as u64, this.left);
        Poll::Ready(Some(Ok(Frame::data(chunk))))
    }

    fn is_end_stream(&self) -> bool {
        self.parts.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::body::Body as _;

    #[tokio::test]
    async fn a_body_is_its_parts_in_chunks_and_of_known_size() {
        let (mut body, _progress) =
            body([Bytes::from("head"), Bytes::new(), Bytes::from(vec![7; CHUNK + 1]), Bytes::from("tail")], "wc");
        assert_eq!(body.size_hint().exact(), Some(CHUNK as u64 + 9));
        let mut sizes = Vec::new();
        while let Some(frame) = body.frame().await {
            sizes.push(frame.unwrap().into_data().unwrap().len());
        }
        assert_eq!(sizes, [4, CHUNK, 1, 4]);
        assert!(body.is_end_stream());
    }
}
