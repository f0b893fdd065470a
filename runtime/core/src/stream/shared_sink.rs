//! `SharedSink`: a sink whose owner lets others write to it, and alone closes it.
//!
//! A job hands what it lends to the jobs that it starts. Their ends close nothing: what is lent is open for as long as its owner has it, and
//! a broken pipe from then on. Pieces of several writers come out in the order in which they were taken, each whole as far as it was
//! taken at once.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Wake, Waker};

use tokio::io::AsyncWrite;

use super::Sink;

/// The owner's end; dropping it closes the sink.
#[derive(Debug)]
pub struct SharedSink(Shared);

/// What was lent; dropping it does nothing.
#[derive(Debug)]
struct LentSlot(Shared);

#[derive(Clone, Debug)]
struct Shared {
    /// `None` once the owner has closed it.
    sink: Arc<Mutex<Option<Sink>>>,
    waiting: Arc<Waiting>,
}

/// Those who wait for room. A sink wakes the one who asked it last: here that is all of them.
#[derive(Debug, Default)]
struct Waiting(Mutex<Vec<Waker>>);

impl SharedSink {
    /// Takes `sink` over, to write to it and to lend it.
    pub fn new(sink: Sink) -> Self {
        Self(Shared { sink: Arc::new(Mutex::new(Some(sink))), waiting: Arc::default() })
    }

    /// Another end of the sink, which does not close it.
    pub fn lend(&self) -> Sink {
        Sink::new(LentSlot(self.0.clone()))
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
        self.waiting.add(cx.waker());
        let polled = poll(Pin::new(sink), &mut Context::from_waker(&Waker::from(self.waiting.clone())));
        if polled.is_ready() {
            self.waiting.remove(cx.waker());
        }
        polled
    }
}

impl Waiting {
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

impl Wake for Waiting {
    fn wake(self: Arc<Self>) {
        let waiting = std::mem::take(&mut *self.lock());
        waiting.into_iter().for_each(Waker::wake);
    }
}

impl Drop for SharedSink {
    fn drop(&mut self) {
        let closed = self.0.lock().take();
        drop(closed);
        self.0.waiting.clone().wake();
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

impl AsyncWrite for LentSlot {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.0.poll(cx, |sink, cx| sink.poll_write(cx, buf))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll(cx, AsyncWrite::poll_flush)
    }

    /// Whoever has it on loan is done with it; its owner is not.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;
    use crate::stream::pipe;

    #[tokio::test]
    async fn who_has_it_on_loan_writes_and_closes_nothing() {
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
    async fn what_its_owner_has_closed_is_a_broken_pipe_for_those_who_wait_too() {
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
    async fn all_who_wait_for_room_get_it() {
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
