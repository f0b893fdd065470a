//! [`SharedSink`]: a sink whose owner lends it to other writers. Only the owner closes it.
//!
//! A job lends its streams to the jobs that it starts. A lent sink stays open as long as the owner keeps the sink, and is a broken pipe
//! afterwards; dropping a lent sink closes nothing. The bytes of several writers appear in the order in which they were written. The bytes of
//! a single `poll_write` stay together.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Wake, Waker};

use tokio::io::AsyncWrite;

use super::pipe::Sink;

/// The sink of the owner. Dropping it closes the sink.
#[derive(Debug)]
pub struct SharedSink(Shared);

/// A lent sink. Dropping it does nothing.
#[derive(Debug)]
struct LentSink(Shared);

#[derive(Clone, Debug)]
struct Shared {
    /// `None` once the owner has closed it.
    sink: Arc<Mutex<Option<Sink>>>,
    writers: Arc<WaitingWriters>,
}

/// The writers that wait for space. The inner sink wakes only the last task that polled it, so this wakes all of them.
#[derive(Debug, Default)]
struct WaitingWriters(Mutex<Vec<Waker>>);

impl SharedSink {
    /// Creates a shared sink from `sink`.
    pub fn new(sink: Sink) -> Self {
        Self(Shared { sink: Arc::new(Mutex::new(Some(sink))), writers: Arc::default() })
    }

    /// Returns another sink that writes to the same stream and does not close it.
    pub fn lend(&self) -> Sink {
        Sink::new(LentSink(self.0.clone()))
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Option<Sink>> {
        self.sink.lock().expect("no panic while the lock is held")
    }

    fn poll<T>(
        &self,
        cx: &mut Context<'_>,
        poll: impl FnOnce(Pin<&mut Sink>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let mut sink = self.lock();
        let Some(sink) = sink.as_mut() else { return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())) };
        self.writers.add(cx.waker());
        let polled = poll(Pin::new(sink), &mut Context::from_waker(&Waker::from(self.writers.clone())));
        if polled.is_ready() {
            self.writers.remove(cx.waker());
        }
        polled
    }
}

impl WaitingWriters {
    fn lock(&self) -> MutexGuard<'_, Vec<Waker>> {
        self.0.lock().expect("no panic while the lock is held")
    }

    fn add(&self, waker: &Waker) {
        let mut waiting = self.lock();
        if !waiting.iter().any(|known| known.will_wake(waker)) {
            waiting.push(waker.clone());
        }
    }

    fn remove(&self, waker: &Waker) {
        self.lock().retain(|known| !known.will_wake(waker));
    }
}

impl Wake for WaitingWriters {
    fn wake(self: Arc<Self>) {
        let waiting = std::mem::take(&mut *self.lock());
        waiting.into_iter().for_each(Waker::wake);
    }
}

impl Drop for SharedSink {
    fn drop(&mut self) {
        let closed = self.0.lock().take();
        drop(closed);
        self.0.writers.clone().wake();
    }
}

impl AsyncWrite for SharedSink {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.0.poll(cx, |sink, cx| sink.poll_write(cx, buf))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll(cx, AsyncWrite::poll_flush)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll(cx, AsyncWrite::poll_shutdown)
    }
}

impl AsyncWrite for LentSink {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.0.poll(cx, |sink, cx| sink.poll_write(cx, buf))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll(cx, AsyncWrite::poll_flush)
    }

    /// Only flushes: the borrower has finished, but the owner has not.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;
    use crate::stream::pipe::pipe;

    #[tokio::test]
    async fn lent_sink_writes_and_closes_nothing() {
        let (sink, mut source) = pipe(64);
        let mut owner = SharedSink::new(sink);
        owner.write_all(b"a ").await.unwrap();
        for _ in 0..2 {
            let mut lent = owner.lend();
            lent.write_all(b"b ").await.unwrap();
            lent.shutdown().await.unwrap();
        }
        owner.write_all(b"c").await.unwrap();
        drop(owner);
        let mut text = String::new();
        source.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "a b b c");
    }

    #[tokio::test]
    async fn drop_of_owner_breaks_the_pipe_of_waiting_borrowers() {
        let (sink, mut source) = pipe(1);
        let owner = SharedSink::new(sink);
        let mut lent = owner.lend();
        let waits = async { lent.write_all(b"more than fits").await };
        let closes = async {
            tokio::task::yield_now().await;
            drop(owner);
        };
        let (written, ()) = tokio::join!(waits, closes);
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        assert_eq!(lent.write(b"x").await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        let mut rest = Vec::new();
        assert_eq!(source.read_to_end(&mut rest).await.unwrap(), 1, "the pipe is closed, though it is still lent");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn all_waiting_writers_are_woken() {
        let (sink, mut source) = pipe(3);
        let owner = SharedSink::new(sink);
        let mut writing = tokio::task::JoinSet::new();
        for letter in b'a'..=b'h' {
            let mut lent = owner.lend();
            writing.spawn(async move { lent.write_all(&[letter; 10_000]).await });
        }
        let reads = async {
            let mut read = Vec::new();
            source.read_to_end(&mut read).await.unwrap();
            read
        };
        let writes = async {
            while let Some(written) = writing.join_next().await {
                written.unwrap().unwrap();
            }
            drop(owner);
        };
        let (read, ()) = tokio::join!(reads, writes);
        for letter in b'a'..=b'h' {
            assert_eq!(read.iter().filter(|byte| **byte == letter).count(), 10_000);
        }
    }
}
