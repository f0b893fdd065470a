//! The framed response: stdout, stderr and the outcome in one body.
//!
//! A frame has a head of eight bytes, which are the stream, three zeros and the length of the payload in big endian, and the payload.
//! The last frame is the outcome in JSON, so a body without one is known to be cut.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use capstan_core::stream::Source;
use capstan_engine::job::{Job, JobEnd, JobId};
use futures_util::stream::{self, Stream, StreamExt as _};
use hyper::body::Frame;
use hyper::{Response, StatusCode};
use serde_json::json;

use super::super::body::{self, Body};
use super::super::disconnect::{CancelOnDisconnect, Client};
use super::super::timeouts::{self, ResponseKind};

/// The type that a client accepts to get frames.
pub(in super::super) const MEDIA_TYPE: &str = "application/vnd.capstan.stream";

/// The stream of a frame of stdout.
pub const STDOUT: u8 = 1;
/// The stream of a frame of stderr.
pub const STDERR: u8 = 2;
const OUTCOME: u8 = 3;

const HEAD_LENGTH: usize = 8;
/// Up to this size, a payload is copied behind its head.
const MAX_COPIED: usize = 4 << 10;

/// Responds with frames of the output of `job`, as it is written.
pub(super) fn respond(job: &Job, stdout: Source, stderr: Source, client: Client) -> Response<Body> {
    let output = FramedOutput::new(stdout, stderr);
    let frames = output.chain(stream::once(outcome(job.clone()))).map(|bytes| Ok(Frame::data(bytes)));
    let body = client.stream_response(CancelOnDisconnect::new(job), frames);
    let mut response = body::response(StatusCode::OK, MEDIA_TYPE, body);
    timeouts::set_response_kind(&mut response, ResponseKind::Run(job.clone()));
    response
}

async fn outcome(job: Job) -> Bytes {
    let end = job.wait().await;
    outcome_frame(job.id(), job.name(), &end)
}

/// The frames of stdout and stderr. A frame is one part, or its head and its payload, which is not copied.
struct FramedOutput {
    /// The streams, of which the first has its turn. A source is `None` once it has ended.
    sources: [(u8, Option<Source>); 2],
    /// The payload whose head was the last part.
    payload: Option<Bytes>,
}

impl FramedOutput {
    fn new(stdout: Source, stderr: Source) -> Self {
        Self { sources: [(STDOUT, Some(stdout)), (STDERR, Some(stderr))], payload: None }
    }

    /// Returns the first part of a frame, and keeps the other.
    fn start_frame(&mut self, stream: u8, payload: Bytes) -> Bytes {
        let head = frame_head(stream, payload.len());
        if payload.len() <= MAX_COPIED {
            return [&head, &payload[..]].concat().into();
        }
        self.payload = Some(payload);
        Bytes::copy_from_slice(&head)
    }
}

impl Stream for FramedOutput {
    type Item = Bytes;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let output = self.get_mut();
        if let Some(payload) = output.payload.take() {
            return Poll::Ready(Some(payload));
        }
        for index in 0..output.sources.len() {
            let (stream, source) = &mut output.sources[index];
            match source.as_mut().map(|source| source.poll_read_bytes(cx)) {
                Some(Poll::Ready(payload)) if payload.is_empty() => *source = None,
                Some(Poll::Ready(payload)) => {
                    let stream = *stream;
                    let first = output.start_frame(stream, payload);
                    // A guest that floods one stream must not hold up the other.
                    output.sources.rotate_left(index + 1);
                    return Poll::Ready(Some(first));
                }
                Some(Poll::Pending) | None => {}
            }
        }
        let has_ended = output.sources.iter().all(|(_, source)| source.is_none());
        if has_ended { Poll::Ready(None) } else { Poll::Pending }
    }
}

/// Returns the head of a frame of `stream` with a payload of `length` bytes.
pub fn frame_head(stream: u8, length: usize) -> [u8; HEAD_LENGTH] {
    let length = u32::try_from(length).expect("no frame comes near 4 GiB");
    let [a, b, c, d] = length.to_be_bytes();
    [stream, 0, 0, 0, a, b, c, d]
}

/// Returns the frame that reports how a job ended.
pub(in super::super) fn outcome_frame(job: JobId, handler: &str, end: &JobEnd) -> Bytes {
    let mut json = json!({
        "job": job,
        "handler": handler,
        "outcome": end.outcome,
        "exit_code": end.outcome.exit_code(),
        "usage": end.usage,
    });
    if let Some(error) = &end.error {
        json["error"] = json!(error);
    }
    let payload = json.to_string();
    [&frame_head(OUTCOME, payload.len()), payload.as_bytes()].concat().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(mut bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
        let mut frames = Vec::new();
        while let Some((&[stream, 0, 0, 0, a, b, c, d], rest)) = bytes.split_first_chunk::<HEAD_LENGTH>() {
            let (payload, rest) = rest.split_at(u32::from_be_bytes([a, b, c, d]) as usize);
            frames.push((stream, payload.to_vec()));
            bytes = rest;
        }
        assert!(bytes.is_empty());
        frames
    }

    #[tokio::test]
    async fn output_of_any_size_has_complete_frames() {
        for size in [0, 1, MAX_COPIED, MAX_COPIED + 1, 1_000_000] {
            let output = FramedOutput::new(Source::from_bytes(vec![7; size]), Source::from_bytes(vec![8; size]));
            let frames = decode(&output.collect::<Vec<_>>().await.concat());
            for (stream, byte) in [(STDOUT, 7), (STDERR, 8)] {
                let payloads = frames.iter().filter(|(of, _)| *of == stream).map(|(_, payload)| payload);
                assert!(payloads.clone().all(|payload| !payload.is_empty()));
                assert!(payloads.flatten().eq(vec![byte; size].iter()), "{size}");
            }
        }
    }

    #[tokio::test]
    async fn streams_with_output_take_turns() {
        let output = FramedOutput::new(Source::from_bytes(vec![7; 1 << 20]), Source::from_bytes(vec![8; 1 << 20]));
        let frames = decode(&output.collect::<Vec<_>>().await.concat());
        let streams: Vec<_> = frames.iter().map(|(stream, _)| *stream).collect();
        assert!(streams.chunks(2).all(|turn| turn == [STDOUT, STDERR]), "{streams:?}");
    }
}
