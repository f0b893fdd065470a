//! The framed answer: stdout, stderr and the outcome in one body.
//!
//! A frame is eight bytes of head, the stream, three zeros and the length in big endian, and then the payload. Each is sent whole. The
//! outcome is the last, in JSON, so that a body that ends without one is known to be cut.

use bytes::{BufMut as _, Bytes, BytesMut};
use capstan_core::stream::Source;
use capstan_engine::job::{Job, JobEnd, JobSpec};
use capstan_engine::tasks::Tasks;
use hyper::body::Frame;
use hyper::{Response, StatusCode};
use serde_json::json;
use tokio::io::AsyncReadExt as _;

use super::super::body::{self, Body};
use super::super::disconnect::{Client, Leave, Pieces};
use super::super::timeouts::{self, Reading};

/// What a client accepts to get frames.
pub(in super::super) const MEDIA_TYPE: &str = "application/vnd.capstan.stream";

/// The stream of a frame of stdout.
pub const STDOUT: u8 = 1;
/// The stream of a frame of stderr.
pub const STDERR: u8 = 2;
const OUTCOME: u8 = 3;

const HEAD: usize = 8;
/// Bytes of the longest payload of a frame of output.
const PAYLOAD: usize = 64 << 10;

/// Answers with frames of what `job` prints, as it prints it.
pub(super) fn answer(tasks: &Tasks, job: &Job, stdout: Source, stderr: Source, client: Client) -> Response<Body> {
    let (pieces, body) = client.answer(Leave::of(job));
    tasks.spawn("api", "answer of a run, framed", tell(job.clone(), stdout, stderr, pieces));
    let mut response = body::typed(StatusCode::OK, MEDIA_TYPE, body);
    timeouts::read_as(&mut response, Reading::Run(job.clone()));
    response
}

async fn tell(job: Job, mut stdout: Source, mut stderr: Source, pieces: Pieces) {
    let (mut printed, mut complained) = (Output::new(STDOUT), Output::new(STDERR));
    while printed.open || complained.open {
        let frame = tokio::select! {
            frame = printed.next(&mut stdout), if printed.open => frame,
            frame = complained.next(&mut stderr), if complained.open => frame,
        };
        if let Some(frame) = frame
            && pieces.send(Ok(Frame::data(frame))).await.is_err()
        {
            return;
        }
    }
    let end = job.wait().await;
    // A client that has left needs no end.
    let _ = pieces.send(Ok(Frame::data(outcome(job.spec(), &end)))).await;
}

/// One stream on its way into frames.
struct Output {
    stream: u8,
    buffer: BytesMut,
    open: bool,
}

impl Output {
    fn new(stream: u8) -> Self {
        Self { stream, buffer: BytesMut::new(), open: true }
    }

    /// The next frame; `None` at the end. Cancel-safe.
    async fn next(&mut self, source: &mut Source) -> Option<Bytes> {
        if self.buffer.is_empty() {
            self.buffer.reserve(HEAD + (PAYLOAD / 4));
            self.buffer.put_bytes(0, HEAD);
        }
        let mut room = (&mut self.buffer).limit(PAYLOAD);
        // A pipe is read without errors.
        if matches!(source.read_buf(&mut room).await, Ok(0) | Err(_)) {
            self.open = false;
            return None;
        }
        let length = self.buffer.len() - HEAD;
        self.buffer[..HEAD].copy_from_slice(&head(self.stream, length));
        Some(self.buffer.split().freeze())
    }
}

/// The head of a frame of `stream` with a payload of `length` bytes.
pub fn head(stream: u8, length: usize) -> [u8; HEAD] {
    let length = u32::try_from(length).expect("no frame comes near 4 GiB");
    let [a, b, c, d] = length.to_be_bytes();
    [stream, 0, 0, 0, a, b, c, d]
}

/// The frame that tells how a job has ended.
pub(in super::super) fn outcome(given: &JobSpec, end: &JobEnd) -> Bytes {
    let mut json = json!({
        "job": given.id,
        "handler": given.handler.as_str(),
        "outcome": end.outcome,
        "exit_code": end.outcome.exit_code(),
        "usage": end.usage,
    });
    if let Some(error) = &end.error {
        json["error"] = json!(error);
    }
    let payload = json.to_string();
    [&head(OUTCOME, payload.len()), payload.as_bytes()].concat().into()
}

#[cfg(test)]
mod tests {
    use capstan_core::stream::pipe;
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    #[tokio::test]
    async fn output_goes_into_whole_frames_of_bounded_size() {
        let (mut sink, mut source) = pipe(1 << 20);
        sink.write_all(&vec![7; 200_000]).await.unwrap();
        drop(sink);
        let (mut output, mut total) = (Output::new(STDERR), 0);
        while let Some(frame) = output.next(&mut source).await {
            let (head, payload) = frame.split_at(HEAD);
            assert_eq!(head[..4], [STDERR, 0, 0, 0]);
            assert_eq!(u32::from_be_bytes(head[4..].try_into().unwrap()) as usize, payload.len());
            assert!((1..=PAYLOAD).contains(&payload.len()));
            total += payload.len();
        }
        assert_eq!(total, 200_000);
        assert!(!output.open);
    }

    #[tokio::test]
    async fn a_read_that_was_given_up_loses_nothing() {
        use futures_util::FutureExt as _;
        let (mut sink, mut source) = pipe(16);
        let mut output = Output::new(STDOUT);
        assert!(output.next(&mut source).now_or_never().is_none());
        sink.write_all(b"hi").await.unwrap();
        assert_eq!(output.next(&mut source).await.unwrap(), &b"\x01\0\0\0\0\0\0\x02hi"[..]);
    }
}
