//! `GET /jobs/{id}/logs`: returns the output of a job, and follows it on request.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use capstan_core::outcome::OutputStream;
use capstan_engine::history::Record;
use capstan_engine::output_log::{Follower, Next};
use hyper::body::Frame;
use hyper::header::ACCEPT;
use hyper::{Response, StatusCode};

use super::super::body::{self, Body};
use super::super::disconnect::{Client, FrameSender};
use super::super::error::Error;
use super::super::query::Parameters;
use super::super::request::Request;
use super::super::run::framed;
use super::super::state::ApiState;
use super::super::timeouts::{self, ResponseKind};
use super::log_encoder::LogEncoder;
use super::lookup::find;

/// Responds with the output.
pub(in super::super) async fn logs(state: Arc<ApiState>, request: Request) -> Result<Response<Body>, Error> {
    let known = ["stdout", "stderr", "follow", "tail", "since", "timestamps"];
    let parameters = Parameters::parse(&request, &known, &[])?;
    let streams = select_streams(parameters.flag("stdout")?, parameters.flag("stderr")?);
    if streams.is_empty() {
        return Err(Error::bad_request("the request excludes both stdout and stderr; select at least one of them"));
    }
    let tail = parameters.parse_value("tail", "a number of lines, or all", parse_tail)?.flatten();
    let since = parameters.time("since")?;
    let is_followed = parameters.flag("follow")?.unwrap_or(false);
    let has_timestamps = parameters.flag("timestamps")?.unwrap_or(false);
    let record = find(&state, &request)?;
    let log = record.log.as_ref().ok_or_else(|| Error::no_logs(record.spec.id))?;
    let is_framed = request.header_lists(&ACCEPT, framed::MEDIA_TYPE);
    let follower = log.follow_last(tail, since, &streams);
    let encoder = LogEncoder::new(streams, is_framed, has_timestamps);
    let content_type = if is_framed { framed::MEDIA_TYPE } else { "text/plain; charset=utf-8" };
    if !is_followed {
        let output = encode_available(encoder, follower, &record);
        return Ok(body::response(StatusCode::OK, content_type, body::full(output)));
    }
    let (frames, body) = Client::new(&request).channel_response();
    state.tasks.spawn("api", "follower of a job's log", follow(encoder, follower, record, frames));
    let mut response = body::response(StatusCode::OK, content_type, body);
    timeouts::set_response_kind(&mut response, ResponseKind::Stream);
    Ok(response)
}

/// Returns the selected streams. Selecting only one excludes the other, and excluding only one selects the other.
pub(super) fn select_streams(stdout: Option<bool>, stderr: Option<bool>) -> Vec<OutputStream> {
    let mut streams = Vec::new();
    if stdout.unwrap_or(stderr != Some(true)) {
        streams.push(OutputStream::Stdout);
    }
    if stderr.unwrap_or(stdout != Some(true)) {
        streams.push(OutputStream::Stderr);
    }
    streams
}

#[expect(clippy::option_option, reason = "invalid, or all lines, or a number of lines")]
fn parse_tail(text: &str) -> Option<Option<u64>> {
    if text == "all" { Some(None) } else { text.parse().ok().map(Some) }
}

/// Encodes the output that is available now, and the outcome of a job that has ended.
fn encode_available(mut encoder: LogEncoder, mut follower: Follower, record: &Record) -> Bytes {
    let mut output = BytesMut::new();
    loop {
        match follower.try_next() {
            Next::Piece(piece) => output.extend_from_slice(&encoder.encode(&piece)),
            Next::Pending => break,
            Next::End => {
                output.extend_from_slice(&encoder.encode_outcome(record));
                break;
            }
        }
    }
    output.freeze()
}

/// Sends the output that is available and all further output, until the job has ended.
async fn follow(mut encoder: LogEncoder, mut follower: Follower, record: Record, frames: FrameSender) {
    loop {
        let piece = tokio::select! {
            piece = follower.next() => piece,
            () = frames.closed() => return,
        };
        let Some(piece) = piece else { break };
        let bytes = encoder.encode(&piece);
        if !bytes.is_empty() && frames.send(Ok(Frame::data(bytes))).await.is_err() {
            return;
        }
    }
    // The streams of a job close shortly before it ends.
    if let Some(job) = record.job() {
        tokio::select! {
            _ = job.wait() => {}
            () = frames.closed() => return,
        }
    }
    let outcome = encoder.encode_outcome(&record);
    if !outcome.is_empty() {
        // It fails only where the client has disconnected.
        let _ = frames.send(Ok(Frame::data(outcome))).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn select_streams_honours_requested_and_excluded_streams() {
        use OutputStream::{Stderr, Stdout};
        for (stdout, stderr, selected) in [
            (None, None, &[Stdout, Stderr][..]),
            (Some(true), None, &[Stdout]),
            (Some(false), None, &[Stderr]),
            (None, Some(true), &[Stderr]),
            (None, Some(false), &[Stdout]),
            (Some(true), Some(true), &[Stdout, Stderr]),
            (Some(false), Some(false), &[]),
        ] {
            assert_eq!(select_streams(stdout, stderr), selected, "{stdout:?} {stderr:?}");
        }
    }

    #[test]
    fn parse_tail_accepts_number_or_all() {
        assert_eq!((parse_tail("all"), parse_tail("0"), parse_tail("7")), (Some(None), Some(Some(0)), Some(Some(7))));
        for text in ["", "-1", "1.5", "ALL"] {
            assert_eq!(parse_tail(text), None, "{text}");
        }
    }
}
