//! [`ObjectBody`]: an object that a guest writes, and the stream into it.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use capstan_engine::data::{CHUNK, DataError, HandlerData, Place, Upload};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamError, StreamResult};

use super::error::StoreError;

type Append = Pin<Box<dyn Future<Output = Result<Box<dyn Upload>, DataError>> + Send>>;

/// An object that a guest writes. Clones write the same one. If all are dropped before [`ObjectBody::finish`], the object is discarded.
#[derive(Clone, Debug)]
pub(super) struct ObjectBody(Arc<Mutex<Body>>);

struct Body {
    data: HandlerData,
    /// What is not in the store yet; at most a piece.
    buffer: BytesMut,
    upload: State,
}

enum State {
    /// Nothing is in the store.
    Empty,
    Idle(Box<dyn Upload>),
    /// A piece is on its way.
    Busy(Append),
    Failed(DataError),
    Finished,
}

impl ObjectBody {
    /// Creates an empty object of the handler with `data`.
    pub(super) fn new(data: HandlerData) -> Self {
        Self(Arc::new(Mutex::new(Body { data, buffer: BytesMut::new(), upload: State::Empty })))
    }

    /// Gives the object its names.
    ///
    /// # Errors
    /// [`DataError`]. The object is then discarded.
    pub(super) async fn finish(self, names: Vec<(Place, String)>) -> Result<(), DataError> {
        poll_fn(|cx| self.lock().poll_idle(cx)).await?;
        let (mut upload, rest, data) = {
            let mut body = self.lock();
            let upload = match std::mem::replace(&mut body.upload, State::Finished) {
                State::Idle(upload) => Some(upload),
                _ => None,
            };
            (upload, body.buffer.split().freeze(), body.data.clone())
        };
        if upload.is_none() {
            upload = Some(data.begin().await?);
        }
        let Some(mut upload) = upload else { return Err(DataError::Discarded) };
        if !rest.is_empty() {
            upload.append(rest).await?;
        }
        upload.finish(names).await
    }

    fn lock(&self) -> MutexGuard<'_, Body> {
        self.0.lock().expect("no panic while the lock is held")
    }
}

impl Body {
    /// Becomes ready when no piece is on its way.
    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), DataError>> {
        if let State::Busy(append) = &mut self.upload {
            self.upload = match ready!(append.as_mut().poll(cx)) {
                Ok(upload) => State::Idle(upload),
                Err(error) => State::Failed(error),
            };
        }
        Poll::Ready(match &self.upload {
            State::Failed(error) => Err(error.clone()),
            State::Finished => Err(DataError::Discarded),
            State::Empty | State::Idle(_) | State::Busy(_) => Ok(()),
        })
    }

    /// Becomes ready when there is room in the buffer.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), DataError>> {
        loop {
            ready!(self.poll_idle(cx))?;
            if self.buffer.len() < CHUNK {
                return Poll::Ready(Ok(()));
            }
            let (piece, data) = (self.buffer.split().freeze(), self.data.clone());
            let upload = match std::mem::replace(&mut self.upload, State::Finished) {
                State::Idle(upload) => Some(upload),
                _ => None,
            };
            self.upload = State::Busy(Box::pin(append(data, upload, piece)));
        }
    }
}

async fn append(
    data: HandlerData,
    upload: Option<Box<dyn Upload>>,
    piece: Bytes,
) -> Result<Box<dyn Upload>, DataError> {
    let mut upload = match upload {
        Some(upload) => upload,
        None => data.begin().await?,
    };
    upload.append(piece).await?;
    Ok(upload)
}

impl fmt::Debug for Body {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Body").field("buffer", &self.buffer.len()).finish_non_exhaustive()
    }
}

/// The stream into an object.
#[derive(Debug)]
pub(super) struct BodyStream(pub(super) ObjectBody);

#[async_trait::async_trait]
impl Pollable for BodyStream {
    async fn ready(&mut self) {
        // `check_write` reports the error.
        let _ = poll_fn(|cx| self.0.lock().poll_room(cx)).await;
    }
}

#[async_trait::async_trait]
impl OutputStream for BodyStream {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        let mut body = self.0.lock();
        if bytes.len() > CHUNK - body.buffer.len() {
            return Err(StreamError::Trap(wasmtime::format_err!("the guest wrote more than `check-write` permitted")));
        }
        body.buffer.extend_from_slice(&bytes);
        Ok(())
    }

    /// Does nothing: only a finished object can be read.
    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        let mut body = self.0.lock();
        match body.poll_room(&mut Context::from_waker(std::task::Waker::noop())) {
            Poll::Pending => Ok(0),
            Poll::Ready(Ok(())) => Ok(CHUNK - body.buffer.len()),
            Poll::Ready(Err(error)) => {
                let message = StoreError::Data(error).into_message().map_err(StreamError::Trap)?;
                Err(StreamError::LastOperationFailed(wasmtime::Error::msg(message)))
            }
        }
    }
}
