//! [`Sink`] and [`Source`]: the two ends of a stream.

mod shared;

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use self::shared::Shared;
use super::early_end::EarlyEnd;

/// Default capacity of a pipe in bytes. A writer waits while the pipe is full, and from then on until half of it was read.
pub const PIPE_CAPACITY: usize = 256 * 1024;

/// Bytes of a piece that is taken from a source in memory: what was taken counts as read.
const MAX_PIECE: usize = 64 * 1024;

/// The end of a stream that is written to.
#[derive(Debug)]
pub struct Sink(SinkKind);

/// The end of a stream that is read from.
#[derive(Debug)]
pub struct Source {
    kind: SourceKind,
    /// What ends the stream for the reader.
    early_end: Option<EarlyEnd>,
}

enum SinkKind {
    Pipe(PipeSink),
    Writer(Box<dyn AsyncWrite + Send + Sync + Unpin>),
    Discard,
}

#[derive(Debug)]
enum SourceKind {
    Pipe(PipeSource),
    Memory(Bytes),
}

/// The end of a pipe that is written to. Dropping it ends the stream.
#[derive(Debug)]
struct PipeSink(Shared);

/// The end of a pipe that is read from. Dropping it breaks the pipe.
#[derive(Debug)]
struct PipeSource(Shared);

/// Creates a pipe that holds at most `capacity` bytes, or one byte if that is 0.
pub fn pipe(capacity: usize) -> (Sink, Source) {
    let shared = Shared::new(capacity);
    (Sink(SinkKind::Pipe(PipeSink(shared.clone()))), Source::new(SourceKind::Pipe(PipeSource(shared))))
}

impl Sink {
    /// Creates a sink that discards everything.
    pub fn discard() -> Self {
        Self(SinkKind::Discard)
    }

    /// Creates a sink that writes to `writer`. Dropping the sink drops `writer`.
    pub fn new(writer: impl AsyncWrite + Send + Sync + Unpin + 'static) -> Self {
        Self(SinkKind::Writer(Box::new(writer)))
    }

    /// Returns this sink as one of a writer that writes many small pieces, and calls [`flush_batch`](Self::flush_batch) before it pauses.
    ///
    /// Until then, a pipe wakes its reader only for 128 KiB, or half of its capacity if that is less. Other sinks pass each piece on at once.
    #[must_use]
    pub fn batched(self) -> Self {
        if let SinkKind::Pipe(PipeSink(pipe)) = &self.0 {
            pipe.set_batched();
        }
        self
    }

    /// Wakes the reader of a pipe for what was written since it last read.
    pub fn flush_batch(&self) {
        if let SinkKind::Pipe(PipeSink(pipe)) = &self.0 {
            pipe.wake_reader();
        }
    }

    /// Writes some of `bytes`, and removes them from there. A pipe takes them without a copy. Returns their number, which is 0 only if
    /// there are none.
    pub fn poll_write_bytes(&mut self, cx: &mut Context<'_>, bytes: &mut Bytes) -> Poll<io::Result<usize>> {
        if let SinkKind::Pipe(PipeSink(pipe)) = &self.0 {
            return pipe.poll_move_from(cx, bytes);
        }
        let size = ready!(Pin::new(self).poll_write(cx, bytes))?;
        bytes.advance(size);
        Poll::Ready(Ok(size))
    }

    /// Writes all of `bytes`. A pipe takes them without a copy.
    ///
    /// Not cancel-safe: some of the bytes may have been written.
    ///
    /// # Errors
    /// The error of the sink; for a pipe [`io::ErrorKind::BrokenPipe`] if its source was dropped.
    pub async fn write_bytes(&mut self, mut bytes: Bytes) -> io::Result<()> {
        while !bytes.is_empty() {
            if std::future::poll_fn(|cx| self.poll_write_bytes(cx, &mut bytes)).await? == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
        }
        Ok(())
    }
}

impl Source {
    /// Creates a source without content, for a job without stdin.
    pub fn empty() -> Self {
        Self::from_bytes(Bytes::new())
    }

    /// Creates a source with these bytes.
    pub fn from_bytes(bytes: impl Into<Bytes>) -> Self {
        Self::new(SourceKind::Memory(bytes.into()))
    }

    fn new(kind: SourceKind) -> Self {
        Self { kind, early_end: None }
    }

    /// Returns what ends the stream before its content does, or `None` if it has no content. What is not read by then is gone, and the writer of a
    /// pipe finds it broken. Only the last call has an effect.
    pub fn early_end(&mut self) -> Option<EarlyEnd> {
        let is_empty = matches!(&self.kind, SourceKind::Memory(bytes) if bytes.is_empty());
        self.early_end = (!is_empty).then(EarlyEnd::default);
        self.early_end.clone()
    }

    /// Returns whether the stream was ended early.
    pub fn has_ended_early(&self) -> bool {
        self.early_end.as_ref().is_some_and(EarlyEnd::has_ended)
    }

    /// Returns `at_end` if the stream was ended early, and otherwise what `poll` does.
    fn poll_until_early_end<T>(
        &mut self,
        cx: &mut Context<'_>,
        at_end: T,
        poll: impl FnOnce(&mut SourceKind, &mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        if !self.has_ended_early() {
            let polled = poll(&mut self.kind, cx);
            let ends_now = || self.early_end.as_ref().is_some_and(|end| end.check_or_wake(cx));
            if polled.is_ready() || !ends_now() {
                return polled;
            }
        }
        // Frees what was not read, and breaks the pipe.
        self.kind = SourceKind::Memory(Bytes::new());
        Poll::Ready(at_end)
    }

    /// Takes the next bytes as they are, without a copy, in whatever number. There are none at the end of the stream.
    pub fn poll_read_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Bytes> {
        self.poll_until_early_end(cx, Bytes::new(), |kind, cx| match kind {
            SourceKind::Pipe(PipeSource(pipe)) => pipe.poll_take(cx),
            SourceKind::Memory(bytes) => Poll::Ready(bytes.split_to(bytes.len().min(MAX_PIECE))),
        })
    }

    /// Waits for the next bytes and takes them, without a copy, in whatever number. There are none at the end of the stream. Cancel-safe.
    pub async fn read_bytes(&mut self) -> Bytes {
        std::future::poll_fn(|cx| self.poll_read_bytes(cx)).await
    }

    /// Becomes ready when the writer of a pipe waits until more of it is read. Only the last task that polls it is woken.
    pub fn poll_writer_waiting(&self, cx: &Context<'_>) -> Poll<()> {
        match &self.kind {
            SourceKind::Pipe(PipeSource(pipe)) => pipe.poll_writer_waiting(cx),
            SourceKind::Memory(_) => Poll::Pending,
        }
    }

    /// Copies the next bytes into `target`, as many as there are. Returns their number, which is 0 at the end of the stream, or if `target`
    /// is empty.
    pub fn poll_copy_to(&mut self, cx: &mut Context<'_>, target: &mut [u8]) -> Poll<usize> {
        let mut done = 0;
        self.poll_copy_pieces(cx, target.len(), |piece| {
            target[done..][..piece.len()].copy_from_slice(piece);
            done += piece.len();
        })
    }

    fn poll_copy_pieces(&mut self, cx: &mut Context<'_>, max: usize, mut put: impl FnMut(&[u8])) -> Poll<usize> {
        self.poll_until_early_end(cx, 0, |kind, cx| match kind {
            _ if max == 0 => Poll::Ready(0),
            SourceKind::Pipe(PipeSource(pipe)) => pipe.poll_copy_to(cx, max, put),
            SourceKind::Memory(bytes) => {
                let piece = bytes.split_to(bytes.len().min(max));
                put(&piece);
                Poll::Ready(piece.len())
            }
        })
    }
}

impl Drop for PipeSink {
    fn drop(&mut self) {
        self.0.close_sink();
    }
}

impl Drop for PipeSource {
    fn drop(&mut self) {
        self.0.close_source();
    }
}

impl fmt::Debug for SinkKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Pipe(_) => "Pipe",
            Self::Writer(_) => "Writer",
            Self::Discard => "Discard",
        })
    }
}

impl AsyncWrite for Sink {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().0 {
            SinkKind::Pipe(PipeSink(pipe)) => pipe.poll_copy_from(cx, buf),
            SinkKind::Writer(writer) => Pin::new(writer).poll_write(cx, buf),
            SinkKind::Discard => Poll::Ready(Ok(buf.len())),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().0 {
            SinkKind::Writer(writer) => Pin::new(writer).poll_flush(cx),
            SinkKind::Pipe(PipeSink(pipe)) => {
                pipe.wake_reader();
                Poll::Ready(Ok(()))
            }
            SinkKind::Discard => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().0 {
            SinkKind::Writer(writer) => Pin::new(writer).poll_shutdown(cx),
            SinkKind::Pipe(PipeSink(pipe)) => {
                pipe.close_sink();
                Poll::Ready(Ok(()))
            }
            SinkKind::Discard => Poll::Ready(Ok(())),
        }
    }
}

impl AsyncRead for Source {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let max = buf.remaining();
        self.get_mut().poll_copy_pieces(cx, max, |piece| buf.put_slice(piece)).map(|_| Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn write_to_full_pipe_waits_for_its_reader() {
        let (mut sink, mut source) = pipe(4);
        sink.write_all(b"full").await.unwrap();
        let mut write = std::pin::pin!(sink.write_all(b"!"));
        assert!(poll_once(write.as_mut()).await.is_pending());
        let mut buf = [0; 4];
        source.read_exact(&mut buf).await.unwrap();
        write.await.unwrap();
    }

    #[tokio::test]
    async fn drop_of_an_end_closes_the_other() {
        let (sink, mut source) = pipe(4);
        drop(sink);
        assert_eq!(source.read(&mut [0; 4]).await.unwrap(), 0);
        let (mut sink, source) = pipe(4);
        drop(source);
        assert_eq!(sink.write(b"x").await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }

    #[tokio::test]
    async fn early_end_wakes_the_reader_and_breaks_the_pipe() {
        let (mut sink, mut source) = pipe(4);
        let end = source.early_end().unwrap();
        let (read, ()) = tokio::join!(source.read_bytes(), async { end.end() });
        assert!(read.is_empty() && source.has_ended_early());
        assert_eq!(sink.write(b"x").await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        let mut source = Source::from_bytes("hello");
        let end = source.early_end().unwrap();
        source.read_exact(&mut [0; 2]).await.unwrap();
        end.end();
        assert_eq!(source.read(&mut [0; 4]).await.unwrap(), 0);
        assert!(Source::empty().early_end().is_none());
    }

    #[tokio::test]
    async fn empty_source_is_at_its_end_and_discard_takes_all() {
        assert_eq!(Source::empty().read(&mut [0; 4]).await.unwrap(), 0);
        Sink::discard().write_all(&[0; 1 << 20]).await.unwrap();
    }

    #[tokio::test]
    async fn source_from_bytes_is_read_in_portions_of_any_size() {
        let mut source = Source::from_bytes("hello");
        let mut two = [0; 2];
        source.read_exact(&mut two).await.unwrap();
        let mut rest = String::new();
        source.read_to_string(&mut rest).await.unwrap();
        assert_eq!((&two, rest.as_str()), (b"he", "llo"));
    }

    async fn poll_once<F: Future>(mut future: Pin<&mut F>) -> Poll<F::Output> {
        std::future::poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await
    }

    #[tokio::test]
    async fn bytes_pass_through_a_pipe_in_order_whatever_their_size() {
        let (mut sink, mut source) = pipe(5000);
        let written: Bytes = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
        let writes = async {
            let mut rest = written.clone();
            for size in [1, 1023, 1024, 1025, 4999, 5000, 5001, 70_000].into_iter().cycle() {
                let piece = rest.split_to(size.min(rest.len()));
                match size % 2 {
                    0 => sink.write_all(&piece).await.unwrap(),
                    _ => sink.write_bytes(piece).await.unwrap(),
                }
                if rest.is_empty() {
                    break;
                }
            }
            drop(sink);
        };
        let reads = async {
            let mut read = Vec::new();
            loop {
                let bytes = source.read_bytes().await;
                assert!(bytes.len() <= 5000);
                let mut some = [0; 700];
                let copied = source.read(&mut some).await.unwrap();
                read.extend_from_slice(&bytes);
                read.extend_from_slice(&some[..copied]);
                if copied == 0 {
                    return read;
                }
            }
        };
        let ((), read) = tokio::join!(writes, reads);
        assert!(read == written);
    }

    #[tokio::test]
    async fn read_that_is_cancelled_loses_nothing() {
        let (mut sink, mut source) = pipe(16);
        assert!(poll_once(std::pin::pin!(source.read_bytes())).await.is_pending());
        sink.write_all(b"hi").await.unwrap();
        assert_eq!(source.read_bytes().await, "hi");
    }

    #[tokio::test]
    async fn source_in_memory_is_taken_in_pieces() {
        let mut source = Source::from_bytes(vec![7; MAX_PIECE + 1]);
        assert_eq!((source.read_bytes().await.len(), source.read_bytes().await.len()), (MAX_PIECE, 1));
        assert!(source.read_bytes().await.is_empty());
    }

    #[tokio::test]
    async fn large_piece_passes_through_a_pipe_without_a_copy() {
        let (mut sink, mut source) = pipe(1 << 20);
        let written = Bytes::from(vec![7; 1 << 20]);
        sink.write_bytes(written.clone()).await.unwrap();
        assert_eq!(source.read_bytes().await.as_ptr(), written.as_ptr());
    }

    #[tokio::test]
    async fn drop_of_source_frees_what_was_not_read() {
        let (mut sink, source) = pipe(1 << 20);
        let written = Bytes::from(vec![7; 4096]);
        sink.write_bytes(written.clone()).await.unwrap();
        drop(source);
        assert!(written.is_unique());
        assert_eq!(sink.write_bytes(written).await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }

    #[tokio::test]
    async fn reader_of_a_batched_writer_is_woken_for_a_batch_or_its_flush() {
        let (sink, mut source) = pipe(8);
        let mut sink = sink.batched();
        let mut reading = tokio::task::JoinSet::new();
        reading.spawn(async move { [source.read_bytes().await, source.read_bytes().await] });
        for text in ["abc", "d", "ef"] {
            tokio::task::yield_now().await;
            sink.write_all(text.as_bytes()).await.unwrap();
        }
        tokio::task::yield_now().await;
        assert!(reading.try_join_next().is_none());
        sink.flush_batch();
        assert_eq!(reading.join_next().await.unwrap().unwrap(), ["abcd", "ef"]);
    }

    #[tokio::test]
    async fn full_pipe_shows_that_its_writer_waits_until_half_of_it_is_read() {
        let (mut sink, mut source) = pipe(4);
        let is_waiting = async |source: &Source| {
            std::future::poll_fn(|cx| Poll::Ready(source.poll_writer_waiting(cx).is_ready())).await
        };
        sink.write_all(b"full").await.unwrap();
        assert!(!is_waiting(&source).await);
        assert!(poll_once(std::pin::pin!(sink.write_all(b"!"))).await.is_pending());
        assert!(is_waiting(&source).await);
        source.read_exact(&mut [0; 1]).await.unwrap();
        assert!(is_waiting(&source).await);
        source.read_exact(&mut [0; 1]).await.unwrap();
        assert!(!is_waiting(&source).await);
    }
}
