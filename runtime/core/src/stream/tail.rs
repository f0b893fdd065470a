//! [`Tail`]: the last lines of a stream, in bounded memory.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};

use tokio::io::AsyncWrite;

use super::pipe::Sink;

/// Keeps the last lines of a stream. Clones share them. White space at the end of the stream does not count, and so neither do blank lines
/// there.
#[derive(Clone, Debug)]
pub struct Tail(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    lines: usize,
    max_bytes: usize,
    /// The end of the stream, up to the last byte that is not white space.
    text: VecDeque<u8>,
    /// The white space after `text`. It moves to `text` when anything follows it.
    space: VecDeque<u8>,
}

#[derive(Debug)]
struct Writer(Tail);

impl Tail {
    /// Creates a tail of at most `lines` lines and `max_bytes` bytes. If the last line is longer, keeps its end.
    pub fn new(lines: usize, max_bytes: usize) -> Self {
        Self(Arc::new(Mutex::new(State { lines, max_bytes, text: VecDeque::new(), space: VecDeque::new() })))
    }

    /// Returns a sink whose last lines are kept. There may be several, for example one for stdout and one for stderr.
    pub fn sink(&self) -> Sink {
        Sink::new(Writer(self.clone()))
    }

    /// Returns the last lines written so far, without the newline at the end. May be fewer lines than requested, or none. Replaces invalid
    /// UTF-8.
    pub fn text(&self) -> String {
        let mut state = self.lock();
        let lines = state.lines;
        let text = state.text.make_contiguous();
        let mut last: Vec<_> = text.rsplitn(lines.saturating_add(1), |byte| *byte == b'\n').take(lines).collect();
        last.reverse();
        String::from_utf8_lossy(&last.join(&b'\n')).into_owned()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no panic while the lock is held")
    }
}

impl State {
    fn write(&mut self, bytes: &[u8]) {
        let (text, space) = bytes.split_at(bytes.trim_ascii_end().len());
        if !text.is_empty() {
            self.text.append(&mut self.space);
            append(&mut self.text, text, self.max_bytes);
        }
        // More white space than `max_bytes` pushes all earlier text out, but only once other text follows it.
        append(&mut self.space, space, self.max_bytes);
    }
}

/// Appends `bytes` and keeps the last `max_bytes`.
fn append(kept: &mut VecDeque<u8>, bytes: &[u8], max_bytes: usize) {
    let bytes = &bytes[bytes.len().saturating_sub(max_bytes)..];
    kept.drain(..(kept.len() + bytes.len()).saturating_sub(max_bytes).min(kept.len()));
    kept.extend(bytes);
}

impl AsyncWrite for Writer {
    fn poll_write(self: Pin<&mut Self>, _cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.0.lock().write(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt as _;

    async fn tail(lines: usize, max_bytes: usize, text: &[u8], size: usize) -> String {
        let tail = Tail::new(lines, max_bytes);
        let mut sink = tail.sink();
        for piece in text.chunks(size) {
            sink.write_all(piece).await.unwrap();
        }
        tail.text()
    }

    #[tokio::test]
    async fn text_returns_last_lines_for_any_chunk_size() {
        for (lines, text, expected) in [
            (0, "a\nb\n", ""),
            (1, "", ""),
            (1, "a", "a"),
            (1, "a\n", "a"),
            (1, "a\n\n", "a"),
            (1, "a\n \r\n\t\n", "a"),
            (1, "a\r\n", "a"),
            (2, "a\n\nb\n\n\n", "\nb"),
            (3, "a\n\nb\n", "a\n\nb"),
            (3, "a\nb", "a\nb"),
            (9, "\n\n", ""),
            (usize::MAX, "a\nb\n", "a\nb"),
            (1, "Two\nlast words\n", "last words"),
        ] {
            for size in 1..=text.len().max(1) {
                assert_eq!(tail(lines, 1000, text.as_bytes(), size).await, expected, "{lines} of {text:?} by {size}");
            }
        }
    }

    #[tokio::test]
    async fn text_longer_than_bound_returns_its_end() {
        assert_eq!(tail(1, 4, b"a long line\n", 3).await, "line");
        assert_eq!(tail(5, 4, b"12\n34\n56\n", 1).await, "4\n56");
        let blank = [b"word".as_slice(), &[b'\n'; 10_000]].concat();
        assert_eq!(tail(1, 16, &blank, 100).await, "word", "blank lines push nothing out");
        let more = [&blank, b"end".as_slice()].concat();
        assert_eq!(tail(1, 16, &more, 100).await, "end");
        assert_eq!(tail(3, 16, &more, 100).await, "\n\nend");
    }

    #[tokio::test]
    async fn memory_of_a_tail_is_bounded() {
        let tail = Tail::new(10, 1000);
        let mut sink = tail.sink();
        for _ in 0..100 {
            sink.write_all(&[b'x'; 100_000]).await.unwrap();
            sink.write_all(&[b'\n'; 100_000]).await.unwrap();
        }
        let state = tail.lock();
        assert_eq!((state.text.len(), state.space.len()), (1000, 1000));
        assert!(state.text.capacity() + state.space.capacity() < 1 << 20);
    }

    #[tokio::test]
    async fn text_replaces_invalid_utf8() {
        assert_eq!(tail(1, 100, b"a\xffb\n", 100).await, "a\u{fffd}b");
    }
}
