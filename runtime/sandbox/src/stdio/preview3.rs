//! The standard streams of WASI 0.3: each is a stream of bytes that the guest reads or writes, and a future with the result.
//!
//! A guest may open any number of them, and all end at the same pipe. Several may wait for the pipe at the same time.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker, ready};

use bytes::BytesMut;
use tokio::sync::oneshot;
use tokio::task::coop::consume_budget;
use wasmtime::component::{
    Access, Destination, FutureReader, HasData, Source, StreamConsumer, StreamProducer, StreamReader, StreamResult,
};
use wasmtime::{AsContextMut as _, Result, StoreContextMut};
use wasmtime_wasi::p2::StreamError;
use wasmtime_wasi::p3::bindings::cli::types::ErrorCode;
use wasmtime_wasi::p3::bindings::cli::{stderr, stdin, stdout};

use super::{CHUNK_SIZE, Stdin, Stdout};

/// Names [`StandardStreams`] to a linker.
pub(crate) struct HasStandardStreams;

/// The standard streams of a guest. Clones are the same streams.
#[derive(Clone)]
pub(crate) struct StandardStreams {
    /// `None` is a stream that has ended.
    stdin: Option<Input>,
    stdout: Output,
    stderr: Output,
}

#[derive(Clone)]
struct Input {
    stdin: Stdin,
    waiting: Waiting,
}

#[derive(Clone)]
struct Output {
    stdout: Stdout,
    waiting: Waiting,
}

/// Those that wait for one end of a pipe, which wakes only the last of them.
#[derive(Clone, Debug, Default)]
struct Waiting(Arc<Wakers>);

#[derive(Debug, Default)]
struct Wakers(Mutex<Vec<Waker>>);

impl StandardStreams {
    /// Creates the streams. `stdin` is `None` if there is nothing to read.
    pub(crate) fn new(stdin: Option<Stdin>, stdout: Stdout, stderr: Stdout) -> Self {
        let stdin = stdin.map(|stdin| Input { stdin, waiting: Waiting::default() });
        let output = |stdout| Output { stdout, waiting: Waiting::default() };
        Self { stdin, stdout: output(stdout), stderr: output(stderr) }
    }
}

impl HasData for HasStandardStreams {
    type Data<'a> = StandardStreams;
}

impl stdin::Host for StandardStreams {}
impl stdout::Host for StandardStreams {}
impl stderr::Host for StandardStreams {}

/// The future with the result of a stream.
type Done = FutureReader<std::result::Result<(), ErrorCode>>;

impl<U> stdin::HostWithStore<U> for HasStandardStreams {
    fn read_via_stream(mut store: Access<'_, U, Self>) -> Result<(StreamReader<u8>, Done)> {
        let input = store.get().stdin;
        let stream = match input {
            Some(input) => StreamReader::new(&mut store, input)?,
            None => StreamReader::new(&mut store, std::iter::empty())?,
        };
        // Reading never fails.
        Ok((stream, FutureReader::new(&mut store, async { Ok::<_, wasmtime::Error>(Ok(())) })?))
    }
}

impl<U> stdout::HostWithStore<U> for HasStandardStreams {
    fn write_via_stream(mut store: Access<'_, U, Self>, data: StreamReader<u8>) -> Result<Done> {
        let output = store.get().stdout;
        write_to(output, store, data)
    }
}

impl<U> stderr::HostWithStore<U> for HasStandardStreams {
    fn write_via_stream(mut store: Access<'_, U, Self>, data: StreamReader<u8>) -> Result<Done> {
        let output = store.get().stderr;
        write_to(output, store, data)
    }
}

/// Connects what the guest writes with `output`. The future becomes ready when the stream has ended.
fn write_to<U>(output: Output, mut store: Access<'_, U, HasStandardStreams>, data: StreamReader<u8>) -> Result<Done> {
    let (failed, failure) = oneshot::channel();
    data.pipe(&mut store, Writer { output, failed: Some(failed) })?;
    FutureReader::new(&mut store, async {
        Ok::<_, wasmtime::Error>(match failure.await {
            Ok(error) => Err(error),
            // The writer was dropped, because all is written.
            Err(_) => Ok(()),
        })
    })
}

/// Writes what arrives on a stream.
struct Writer {
    output: Output,
    failed: Option<oneshot::Sender<ErrorCode>>,
}

impl<D> StreamProducer<D> for Input {
    type Item = u8;
    type Buffer = BytesMut;

    fn poll_produce<'a>(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut store: StoreContextMut<'a, D>,
        target: Destination<'a, u8, BytesMut>,
        finish: bool,
    ) -> Poll<Result<StreamResult>> {
        ready!(poll_budget(cx));
        // A read of no bytes waits until there are some.
        let is_probe = target.remaining(store.as_context_mut()) == Some(0);
        let read = if is_probe {
            self.waiting.poll(cx, |cx| self.stdin.poll_ready(cx).map(|()| None))
        } else {
            let mut target = target.as_direct(store, CHUNK_SIZE);
            self.waiting.poll(cx, |cx| {
                let size = ready!(self.stdin.poll_read_into(cx, target.remaining()));
                target.mark_written(size);
                Poll::Ready(Some(size))
            })
        };
        match read {
            Poll::Ready(Some(0)) => Poll::Ready(Ok(StreamResult::Dropped)),
            Poll::Ready(_) => Poll::Ready(Ok(StreamResult::Completed)),
            Poll::Pending if finish => Poll::Ready(Ok(StreamResult::Cancelled)),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<D> StreamConsumer<D> for Writer {
    type Item = u8;

    fn poll_consume(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        store: StoreContextMut<'_, D>,
        source: Source<'_, u8>,
        finish: bool,
    ) -> Poll<Result<StreamResult>> {
        ready!(poll_budget(cx));
        let Output { stdout, waiting } = &self.output;
        let mut source = source.as_direct(store);
        let bytes = source.remaining();
        let written = waiting.poll(cx, |cx| stdout.poll_write_some(cx, bytes));
        match written {
            // A write of no bytes waits until some can be written.
            Poll::Ready(Ok(0)) if !bytes.is_empty() => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Poll::Ready(Ok(size)) => {
                source.mark_read(size);
                Poll::Ready(Ok(StreamResult::Completed))
            }
            // The cap ends the run.
            Poll::Ready(Err(StreamError::Trap(error))) => Poll::Ready(Err(error)),
            Poll::Ready(Err(StreamError::Closed | StreamError::LastOperationFailed(_))) => {
                if let Some(failed) = self.failed.take() {
                    let _ = failed.send(ErrorCode::Pipe);
                }
                Poll::Ready(Ok(StreamResult::Dropped))
            }
            Poll::Pending if finish => Poll::Ready(Ok(StreamResult::Cancelled)),
            Poll::Pending => Poll::Pending,
        }
    }
}

/// Yields from time to time: a stream of stdin that is connected with stdout may be ready without end, and runs no code of the guest that would
/// yield.
fn poll_budget(cx: &mut Context<'_>) -> Poll<()> {
    std::pin::pin!(consume_budget()).poll(cx)
}

impl Waiting {
    /// Polls one end of a pipe. If it is not ready, everybody who waits for it is woken with the next wake-up.
    fn poll<T>(&self, cx: &Context<'_>, poll: impl FnOnce(&mut Context<'_>) -> Poll<T>) -> Poll<T> {
        self.0.add(cx.waker());
        poll(&mut Context::from_waker(&Waker::from(self.0.clone())))
    }
}

impl Wakers {
    fn add(&self, waker: &Waker) {
        let mut wakers = self.0.lock().expect("no panic while the lock is held");
        if !wakers.iter().any(|known| known.will_wake(waker)) {
            wakers.push(waker.clone());
        }
    }
}

impl Wake for Wakers {
    fn wake(self: Arc<Self>) {
        let wakers = std::mem::take(&mut *self.0.lock().expect("no panic while the lock is held"));
        wakers.into_iter().for_each(Waker::wake);
    }
}
