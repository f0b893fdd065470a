//! `GET /jobs/{id}/logs`: returns the output of a job, and follows it on request.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use capstan_core::outcome::OutputStream;
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
use super::log_reader::{LogReader, LogSelection};
use super::lookup::find;

/// Responds with the output.
pub(in super::super) async fn logs(state: Arc<ApiState>, request: Request) -> Result<Response<Body>, Error> {
    let known = ["stdout", "stderr", "follow", "tail", "since", "timestamps", "attempt"];
    let parameters = Parameters::parse(&request, &known, &[])?;
    let streams = select_streams(parameters.flag("stdout")?, parameters.flag("stderr")?);
    if streams.is_empty() {
        return Err(Error::bad_request("the request excludes both stdout and stderr; select at least one of them"));
    }
    let tail = parameters.parse_value("tail", "a number of lines, or all", parse_tail)?.flatten();
    let since = parameters.time("since")?;
    let is_followed = parameters.flag("follow")?.unwrap_or(false);
    let has_timestamps = parameters.flag("timestamps")?.unwrap_or(false);
    let attempt = parameters.parse_value("attempt", "the number of an attempt", |text| text.parse().ok())?;
    let selection = LogSelection { streams: streams.clone(), tail, since, attempt };
    let reader = LogReader::new(&state, find(&state, &request).await?, &selection).await?;
    let is_framed = request.header_lists(&ACCEPT, framed::MEDIA_TYPE);
    let encoder = LogEncoder::new(streams, is_framed, has_timestamps);
    let content_type = if is_framed { framed::MEDIA_TYPE } else { "text/plain; charset=utf-8" };
    if !is_followed {
        let output = encode_available(encoder, reader).await;
        return Ok(body::response(StatusCode::OK, content_type, body::full(output)));
    }
    let (frames, body) = Client::new(&request).channel_response();
    state.tasks.spawn("api", "follower of a job's log", follow(encoder, reader, frames));
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
async fn encode_available(mut encoder: LogEncoder, mut reader: LogReader) -> Bytes {
    // What a job that has ended has printed is all there.
    let end = reader.end().await;
    let mut output = BytesMut::new();
    while let Some(piece) = reader.available().await {
        output.extend_from_slice(&encoder.encode(&piece));
    }
    output.extend_from_slice(&encoder.encode_outcome(end.as_ref()));
    output.freeze()
}

/// Sends the output that is available and all further output, until the job has ended.
async fn follow(mut encoder: LogEncoder, mut reader: LogReader, frames: FrameSender) {
    loop {
        let piece = tokio::select! {
            piece = reader.next() => piece,
            () = frames.closed() => return,
        };
        let Some(piece) = piece else { break };
        let bytes = encoder.encode(&piece);
        if !bytes.is_empty() && frames.send(Ok(Frame::data(bytes))).await.is_err() {
            return;
        }
    }
    tokio::select! {
        () = reader.wait_for_end() => {}
        () = frames.closed() => return,
    }
    let outcome = encoder.encode_outcome(reader.end().await.as_ref());
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
