//! The framed response: stdout, stderr and the outcome in one body.
//!
//! A frame has a head of eight bytes, which are the stream, three zeros and the length of the payload in big endian, and the payload.
//! The last frame is the outcome in JSON, so a body without one is known to be cut.

use bytes::Bytes;
use capstan_core::stream::Source;
use capstan_engine::job::{Job, JobEnd, JobSpec};
use capstan_engine::tasks::Tasks;
use hyper::body::Frame;
use hyper::{Response, StatusCode};
use serde_json::json;

use super::super::body::{self, Body};
use super::super::disconnect::{CancelOnDisconnect, Client, FrameSender};
use super::super::timeouts::{self, ResponseKind};

/// The type that a client accepts to get frames.
pub(in super::super) const MEDIA_TYPE: &str = "application/vnd.capstan.stream";

/// The stream of a frame of stdout.
pub const STDOUT: u8 = 1;
/// The stream of a frame of stderr.
pub const STDERR: u8 = 2;
const OUTCOME: u8 = 3;

const HEAD_LENGTH: usize = 8;
/// Bytes of the longest payload of a frame of output.
const MAX_PAYLOAD: usize = 64 << 10;
/// Up to this size, a payload is copied behind its head.
const MAX_COPIED: usize = 4 << 10;

/// Responds with frames of the output of `job`, as it is written.
pub(super) fn respond(tasks: &Tasks, job: &Job, stdout: Source, stderr: Source, client: Client) -> Response<Body> {
    let (frames, body) = client.stream_response(CancelOnDisconnect::new(job));
    tasks.spawn("api", "framed response of a run", send_frames(job.clone(), stdout, stderr, frames));
    let mut response = body::response(StatusCode::OK, MEDIA_TYPE, body);
    timeouts::set_response_kind(&mut response, ResponseKind::Run(job.clone()));
    response
}

async fn send_frames(job: Job, mut stdout_source: Source, mut stderr_source: Source, frames: FrameSender) {
    let (mut is_stdout_open, mut is_stderr_open) = (true, true);
    while is_stdout_open || is_stderr_open {
        let (stream, payload, is_open) = tokio::select! {
            payload = stdout_source.read_bytes(), if is_stdout_open => (STDOUT, payload, &mut is_stdout_open),
            payload = stderr_source.read_bytes(), if is_stderr_open => (STDERR, payload, &mut is_stderr_open),
        };
        *is_open = !payload.is_empty();
        for part in output_frame(stream, payload) {
            if frames.send(Ok(Frame::data(part))).await.is_err() {
                return;
            }
        }
    }
    let end = job.wait().await;
    // It fails only where the client has disconnected.
    let _ = frames.send(Ok(Frame::data(outcome_frame(job.spec(), &end)))).await;
}

/// Returns the parts of frames with `payload`. A payload that is worth it is not copied.
fn output_frame(stream: u8, mut payload: Bytes) -> Vec<Bytes> {
    let mut parts = Vec::new();
    while !payload.is_empty() {
        let piece = payload.split_to(payload.len().min(MAX_PAYLOAD));
        let head = frame_head(stream, piece.len());
        match piece.len() {
            ..=MAX_COPIED => parts.push([&head, &piece[..]].concat().into()),
            _ => parts.extend([Bytes::copy_from_slice(&head), piece]),
        }
    }
    parts
}

/// Returns the head of a frame of `stream` with a payload of `length` bytes.
pub fn frame_head(stream: u8, length: usize) -> [u8; HEAD_LENGTH] {
    let length = u32::try_from(length).expect("no frame comes near 4 GiB");
    let [a, b, c, d] = length.to_be_bytes();
    [stream, 0, 0, 0, a, b, c, d]
}

/// Returns the frame that reports how a job ended.
pub(in super::super) fn outcome_frame(spec: &JobSpec, end: &JobEnd) -> Bytes {
    let mut json = json!({
        "job": spec.id,
        "handler": spec.handler.as_str(),
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

    #[test]
    fn output_frame_has_complete_frames_of_limited_size() {
        for size in [0, 1, MAX_COPIED, MAX_COPIED + 1, MAX_PAYLOAD, MAX_PAYLOAD + 1, 1_000_000] {
            let frames = output_frame(STDERR, vec![7; size].into()).concat();
            let (mut rest, mut total) = (&frames[..], 0);
            while let Some((head, after)) = rest.split_first_chunk::<HEAD_LENGTH>() {
                assert_eq!(head[..4], [STDERR, 0, 0, 0]);
                let length = u32::from_be_bytes(head[4..].try_into().unwrap()) as usize;
                assert!((1..=MAX_PAYLOAD).contains(&length));
                total += length;
                rest = &after[length..];
            }
            assert_eq!((total, rest.len()), (size, 0));
        }
    }
}
