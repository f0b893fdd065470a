//! The framed response: stdout, stderr and the outcome in one body.
//!
//! A frame has a head of eight bytes, which are the stream, three zeros and the length of the payload in big endian, and the payload.
//! The last frame is the outcome in JSON, so a body without one is known to be cut.

use bytes::{BufMut as _, Bytes, BytesMut};
use capstan_core::stream::Source;
use capstan_engine::job::{Job, JobEnd, JobSpec};
use capstan_engine::tasks::Tasks;
use hyper::body::Frame;
use hyper::{Response, StatusCode};
use serde_json::json;
use tokio::io::AsyncReadExt as _;

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

/// Responds with frames of the output of `job`, as it is written.
pub(super) fn respond(tasks: &Tasks, job: &Job, stdout: Source, stderr: Source, client: Client) -> Response<Body> {
    let (frames, body) = client.stream_response(CancelOnDisconnect::new(job));
    tasks.spawn("api", "framed response of a run", send_frames(job.clone(), stdout, stderr, frames));
    let mut response = body::response(StatusCode::OK, MEDIA_TYPE, body);
    timeouts::set_response_kind(&mut response, ResponseKind::Run(job.clone()));
    response
}

async fn send_frames(job: Job, mut stdout_source: Source, mut stderr_source: Source, frames: FrameSender) {
    let (mut stdout, mut stderr) = (OutputFrames::new(STDOUT), OutputFrames::new(STDERR));
    while stdout.is_open || stderr.is_open {
        let frame = tokio::select! {
            frame = stdout.next_frame(&mut stdout_source), if stdout.is_open => frame,
            frame = stderr.next_frame(&mut stderr_source), if stderr.is_open => frame,
        };
        if let Some(frame) = frame
            && frames.send(Ok(Frame::data(frame))).await.is_err()
        {
            return;
        }
    }
    let end = job.wait().await;
    // It fails only where the client has disconnected.
    let _ = frames.send(Ok(Frame::data(outcome_frame(job.spec(), &end)))).await;
}

/// Cuts one stream of output into frames.
struct OutputFrames {
    stream: u8,
    buffer: BytesMut,
    is_open: bool,
}

impl OutputFrames {
    fn new(stream: u8) -> Self {
        Self { stream, buffer: BytesMut::new(), is_open: true }
    }

    /// Waits for output, and returns the next frame; `None` at the end. Cancel-safe.
    async fn next_frame(&mut self, source: &mut Source) -> Option<Bytes> {
        if self.buffer.is_empty() {
            self.buffer.reserve(HEAD_LENGTH + (MAX_PAYLOAD / 4));
            self.buffer.put_bytes(0, HEAD_LENGTH);
        }
        let mut payload = (&mut self.buffer).limit(MAX_PAYLOAD);
        // Reading a pipe does not fail.
        if matches!(source.read_buf(&mut payload).await, Ok(0) | Err(_)) {
            self.is_open = false;
            return None;
        }
        let length = self.buffer.len() - HEAD_LENGTH;
        self.buffer[..HEAD_LENGTH].copy_from_slice(&frame_head(self.stream, length));
        Some(self.buffer.split().freeze())
    }
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
    use capstan_core::stream::pipe;
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    #[tokio::test]
    async fn next_frame_returns_complete_frames_of_limited_size() {
        let (mut sink, mut source) = pipe(1 << 20);
        sink.write_all(&vec![7; 200_000]).await.unwrap();
        drop(sink);
        let (mut output, mut total) = (OutputFrames::new(STDERR), 0);
        while let Some(frame) = output.next_frame(&mut source).await {
            let (head, payload) = frame.split_at(HEAD_LENGTH);
            assert_eq!(head[..4], [STDERR, 0, 0, 0]);
            assert_eq!(u32::from_be_bytes(head[4..].try_into().unwrap()) as usize, payload.len());
            assert!((1..=MAX_PAYLOAD).contains(&payload.len()));
            total += payload.len();
        }
        assert_eq!(total, 200_000);
        assert!(!output.is_open);
    }

    #[tokio::test]
    async fn next_frame_loses_nothing_when_cancelled() {
        use futures_util::FutureExt as _;
        let (mut sink, mut source) = pipe(16);
        let mut output = OutputFrames::new(STDOUT);
        assert!(output.next_frame(&mut source).now_or_never().is_none());
        sink.write_all(b"hi").await.unwrap();
        assert_eq!(output.next_frame(&mut source).await.unwrap(), &b"\x01\0\0\0\0\0\0\x02hi"[..]);
    }
}
