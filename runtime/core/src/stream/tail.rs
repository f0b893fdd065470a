//! `Tail`: the last lines of a stream, in bounded memory.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};

use tokio::io::AsyncWrite;

use super::Sink;

/// Keeps the last lines of what is written to its sink; clones are the same. White space at the very end does not count, and so no
/// blank line there does.
#[derive(Clone, Debug)]
pub struct Tail(Arc<Mutex<Inside>>);

#[derive(Debug)]
struct Inside {
    lines: usize,
    bound: usize,
    /// The last that was written, up to the last that is no white space.
    text: VecDeque<u8>,
    /// White space since. It belongs to the text as soon as anything follows it.
    space: VecDeque<u8>,
}

#[derive(Debug)]
struct Writer(Tail);

impl Tail {
    /// Keeps the last `lines` lines, as far as they lie within the last `bound` bytes: of a line that is longer, its end is kept.
    pub fn new(lines: usize, bound: usize) -> Self {
        Self(Arc::new(Mutex::new(Inside { lines, bound, text: VecDeque::new(), space: VecDeque::new() })))
    }

    /// A sink for what is to be kept of. There may be several, as of stdout and stderr.
    pub fn sink(&self) -> Sink {
        Sink::new(Writer(self.clone()))
    }

    /// The last lines of what was written by now, without the newline at the end. Empty where there are none, or none are wanted; all
    /// there are where they are fewer. What is not UTF-8 in them is replaced.
    pub fn text(&self) -> String {
        let mut inside = self.lock();
        let lines = inside.lines;
        let text = inside.text.make_contiguous();
        let mut last: Vec<_> = text.rsplitn(lines.saturating_add(1), |byte| *byte == b'\n').take(lines).collect();
        last.reverse();
        String::from_utf8_lossy(&last.join(&b'\n')).into_owned()
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.0.lock().expect("no panic while the lock is held")
    }
}

impl Inside {
    fn write(&mut self, bytes: &[u8]) {
        let (text, space) = bytes.split_at(bytes.trim_ascii_end().len());
        if !text.is_empty() {
            self.text.append(&mut self.space);
            append(&mut self.text, text, self.bound);
        }
        // Where there is more of it than the bound, nothing before it is told with what follows; until anything does, it is.
        append(&mut self.space, space, self.bound);
    }
}

/// Adds `bytes`, and keeps the last `bound`.
fn append(kept: &mut VecDeque<u8>, bytes: &[u8], bound: usize) {
    let bytes = &bytes[bytes.len().saturating_sub(bound)..];
    kept.drain(..(kept.len() + bytes.len()).saturating_sub(bound).min(kept.len()));
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

    async fn tail(lines: usize, bound: usize, text: &[u8], size: usize) -> String {
        let tail = Tail::new(lines, bound);
        let mut sink = tail.sink();
        for piece in text.chunks(size) {
            sink.write_all(piece).await.unwrap();
        }
        tail.text()
    }

    #[tokio::test]
    async fn the_last_lines_are_kept_however_they_are_written() {
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
    async fn of_more_than_the_bound_the_end_is_kept() {
        assert_eq!(tail(1, 4, b"a long line\n", 3).await, "line");
        assert_eq!(tail(5, 4, b"12\n34\n56\n", 1).await, "4\n56");
        let blank = [b"word".as_slice(), &[b'\n'; 10_000]].concat();
        assert_eq!(tail(1, 16, &blank, 100).await, "word", "blank lines push nothing out");
        let more = [&blank, b"end".as_slice()].concat();
        assert_eq!(tail(1, 16, &more, 100).await, "end");
        assert_eq!(tail(3, 16, &more, 100).await, "\n\nend");
    }

    #[tokio::test]
    async fn memory_is_bounded_whatever_is_written() {
        let tail = Tail::new(10, 1000);
        let mut sink = tail.sink();
        for _ in 0..100 {
            sink.write_all(&[b'x'; 100_000]).await.unwrap();
            sink.write_all(&[b'\n'; 100_000]).await.unwrap();
        }
        let inside = tail.lock();
        assert_eq!((inside.text.len(), inside.space.len()), (1000, 1000));
        assert!(inside.text.capacity() + inside.space.capacity() < 1 << 20);
    }

    #[tokio::test]
    async fn what_is_no_text_is_replaced() {
        assert_eq!(tail(1, 100, b"a\xffb\n", 100).await, "a\u{fffd}b");
    }
}
