//! Takes the response of a guest: its head goes to the caller, its body to the stdout of the job.

use std::pin::Pin;
use std::task::Poll;

use bytes::Bytes;
use capstan_core::http::{Fields, Responder, ResponseHead};
use capstan_core::outcome::Outcome;
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body::Body;
use http_body_util::BodyExt as _;
use tokio::sync::oneshot;
use wasmtime_wasi::p2::StreamError;
use wasmtime_wasi_http::Error;
use wasmtime_wasi_http::p2::bindings::http::types::ErrorCode;
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;

use crate::stdio::Stdout;

/// Bytes of a body that may wait for its end before the head is sent.
const MAX_WHOLE: usize = 64 << 10;

/// What a guest sets as its response.
type GuestResponse = Result<http::Response<HyperOutgoingBody>, ErrorCode>;

/// Why there is no response, or only a part of it.
#[derive(Debug, thiserror::Error)]
pub(super) enum ResponseError {
    #[error("the handler returned without a response")]
    Missing,
    #[error("the handler responded with the error {0}")]
    Guest(String),
    /// For example a body that is shorter than its `content-length`.
    #[error("the body of the response is incomplete: {0}")]
    Body(Error),
    #[error("the body of the response is longer than its content-length")]
    TooLong,
    #[error("cannot write the body of the response: {0}")]
    Output(StreamError),
}

impl ResponseError {
    /// Returns how the run ends.
    ///
    /// # Errors
    /// The cause, if a limit ended the run.
    pub(super) fn into_outcome(self) -> wasmtime::Result<Outcome> {
        match self {
            Self::Output(StreamError::Trap(error)) => Err(error),
            // Nobody reads the response any more.
            Self::Output(StreamError::Closed) => Ok(Outcome::SUCCESS),
            Self::Missing | Self::Guest(_) | Self::Body(_) | Self::TooLong | Self::Output(_) => {
                Ok(Outcome::Exited { code: 1 })
            }
        }
    }
}

/// Waits for the response, and sends it until its body ends.
pub(super) async fn send(
    response: oneshot::Receiver<GuestResponse>,
    responder: Responder,
    output: &Stdout,
) -> Result<(), ResponseError> {
    let response = response.await.map_err(|_| ResponseError::Missing)?;
    let response = response.map_err(|code| ResponseError::Guest(format!("{code:?}")))?;
    send_response(response, responder, output).await
}

/// Sends a response until its body ends.
pub(super) async fn send_response(
    response: http::Response<impl Body<Data = Bytes, Error = Error>>,
    responder: Responder,
    output: &Stdout,
) -> Result<(), ResponseError> {
    let (head, body) = response.into_parts();
    let mut body = std::pin::pin!(body);
    let mut left = content_length(&head.headers);
    let head = ResponseHead { status: head.status.as_u16(), fields: to_fields(&head.headers) };
    let written = Written::take(body.as_mut()).await?;
    if written.has_ended {
        write(output, written.pieces, &mut left).await?;
        responder.send_whole(head, written.trailers);
        return Ok(());
    }
    let trailers = responder.send(head);
    write(output, written.pieces, &mut left).await?;
    if let Some(fields) = written.trailers {
        trailers.set(fields);
    }
    output.flush_batch();
    while let Some(frame) = body.frame().await {
        match frame.map_err(ResponseError::Body)?.into_data() {
            Ok(data) => write(output, [data], &mut left).await?,
            Err(frame) => trailers.set(to_fields(&frame.into_trailers().unwrap_or_default())),
        }
    }
    Ok(())
}

/// Returns the announced length of the body in bytes, if there is one. The host has checked that it is a number.
fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(http::header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// What a guest has written of a body by now.
#[derive(Default)]
struct Written {
    pieces: Vec<Bytes>,
    trailers: Option<Fields>,
    /// Whether it is the whole body, which is smaller than [`MAX_WHOLE`].
    has_ended: bool,
}

impl Written {
    /// Takes what is there of `body`, without waiting for more.
    async fn take(mut body: Pin<&mut impl Body<Data = Bytes, Error = Error>>) -> Result<Self, ResponseError> {
        let (mut written, mut size) = (Self::default(), 0);
        while size <= MAX_WHOLE {
            let next = std::future::poll_fn(|cx| Poll::Ready(body.as_mut().poll_frame(cx))).await;
            let Poll::Ready(frame) = next else { break };
            let Some(frame) = frame else {
                written.has_ended = true;
                break;
            };
            match frame.map_err(ResponseError::Body)?.into_data() {
                Ok(data) => {
                    size += data.len();
                    written.pieces.push(data);
                }
                Err(frame) => written.trailers = Some(to_fields(&frame.into_trailers().unwrap_or_default())),
            }
        }
        Ok(written)
    }
}

/// Writes pieces of a body, of which `left` bytes are to come if its length was announced.
async fn write(
    output: &Stdout,
    pieces: impl IntoIterator<Item = Bytes>,
    left: &mut Option<u64>,
) -> Result<(), ResponseError> {
    for piece in pieces {
        // A body beyond its announced length is cut where it leaves it, since a client takes what it gets up to there for the whole.
        if let Some(left) = left {
            *left = left.checked_sub(piece.len() as u64).ok_or(ResponseError::TooLong)?;
        }
        output.write_bytes(piece).await.map_err(ResponseError::Output)?;
    }
    Ok(())
}

/// Returns how a run ends whose response was `sent`, or not. Writes to `errors` why not.
///
/// # Errors
/// The cause, if a limit ended the run.
pub(super) async fn report(sent: Result<(), ResponseError>, errors: &Stdout) -> wasmtime::Result<Outcome> {
    let Err(error) = sent else { return Ok(Outcome::SUCCESS) };
    // If nobody reads stderr, the exit code alone reports the failure.
    let _ = errors.write_bytes(format!("{error}\n").into()).await;
    error.into_outcome()
}

/// Converts fields to plain data.
fn to_fields(headers: &HeaderMap) -> Fields {
    headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes().to_vec())).collect()
}

/// Converts fields to the types of wasmtime-wasi-http.
///
/// # Errors
/// If a name or a value is none that HTTP allows.
pub(super) fn to_header_map(fields: &Fields) -> Result<HeaderMap, http::Error> {
    let mut headers = HeaderMap::with_capacity(fields.len());
    for (name, value) in fields.iter() {
        headers.append(HeaderName::from_bytes(name.as_bytes())?, HeaderValue::from_maybe_shared(value.clone())?);
    }
    Ok(headers)
}
