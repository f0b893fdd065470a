//! `GET /jobs/{id}/logs`: what a job has printed, and what it prints.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use capstan_core::outcome::OutputStream;
use capstan_engine::history::Record;
use capstan_engine::job::JobState;
use capstan_engine::output_log::{Follower, Next, Piece};
use hyper::body::Frame;
use hyper::header::ACCEPT;
use hyper::{Response, StatusCode};
use serde_json::json;

use super::super::Api;
use super::super::body::{self, Body};
use super::super::disconnect::{Client, Pieces};
use super::super::error::Error;
use super::super::query::Parameters;
use super::super::request::Request;
use super::super::run::framed;
use super::super::timeouts::{self, Reading};
use super::find;

/// The stream of a frame that tells what is missing.
const GAP: u8 = 4;

/// How output is told.
pub(super) struct Telling {
    streams: Vec<OutputStream>,
    is_framed: bool,
    timestamps: bool,
    /// Where timestamps stand: whether the last byte told of stdout, and of stderr, ended a line.
    at_line: [bool; 2],
}

/// Answers with output.
pub(in super::super) async fn logs(api: Arc<Api>, request: Request) -> Result<Response<Body>, Error> {
    let known = ["stdout", "stderr", "follow", "tail", "since", "timestamps"];
    let parameters = Parameters::of(&request, &known, &[])?;
    let streams = streams(parameters.flag("stdout")?, parameters.flag("stderr")?);
    if streams.is_empty() {
        return Err(Error::bad_request("neither stdout nor stderr is asked for"));
    }
    let tail = parameters.read("tail", "a number of lines, or all", tail)?.flatten();
    let since = parameters.time("since")?;
    let follow = parameters.flag("follow")?.unwrap_or(false);
    let timestamps = parameters.flag("timestamps")?.unwrap_or(false);
    let record = find(&api, &request)?;
    let log = record.log.as_ref().ok_or_else(|| Error::no_logs(record.spec.id))?;
    let is_framed = request.lists(&ACCEPT, framed::MEDIA_TYPE);
    let follower = log.follow_last(tail, since, &streams);
    let telling = Telling { streams, is_framed, timestamps, at_line: [true; 2] };
    let content_type = if is_framed { framed::MEDIA_TYPE } else { "text/plain; charset=utf-8" };
    if !follow {
        return Ok(body::typed(StatusCode::OK, content_type, body::whole(telling.present(follower, &record))));
    }
    let (pieces, body) = Client::of(&request).answer(());
    api.tasks.spawn("api", "follower of a job's log", telling.follow(follower, record, pieces));
    let mut response = body::typed(StatusCode::OK, content_type, body);
    timeouts::read_as(&mut response, Reading::Follows);
    Ok(response)
}

/// The streams that are asked for. One that is asked for alone excludes the other, and so does one that is not wanted the other way.
pub(super) fn streams(stdout: Option<bool>, stderr: Option<bool>) -> Vec<OutputStream> {
    let mut streams = Vec::new();
    if stdout.unwrap_or(stderr != Some(true)) {
        streams.push(OutputStream::Stdout);
    }
    if stderr.unwrap_or(stdout != Some(true)) {
        streams.push(OutputStream::Stderr);
    }
    streams
}

#[expect(clippy::option_option, reason = "not understood, or all lines, or so many")]
fn tail(text: &str) -> Option<Option<u64>> {
    if text == "all" { Some(None) } else { text.parse().ok().map(Some) }
}

impl Telling {
    /// In frames, and without times.
    pub(super) fn framed(streams: Vec<OutputStream>) -> Self {
        Self { streams, is_framed: true, timestamps: false, at_line: [true; 2] }
    }

    /// All that is there now, and the end where it has come.
    fn present(mut self, mut follower: Follower, record: &Record) -> Bytes {
        let mut told = BytesMut::new();
        loop {
            match follower.try_next() {
                Next::Piece(piece) => told.extend_from_slice(&self.text(&piece)),
                Next::Pending => break,
                Next::End => {
                    told.extend_from_slice(&self.end(record));
                    break;
                }
            }
        }
        told.freeze()
    }

    /// All that is there and comes, until the job has ended.
    async fn follow(mut self, mut follower: Follower, record: Record, pieces: Pieces) {
        loop {
            let piece = tokio::select! {
                piece = follower.next() => piece,
                () = pieces.closed() => return,
            };
            let Some(piece) = piece else { break };
            let text = self.text(&piece);
            if !text.is_empty() && pieces.send(Ok(Frame::data(text))).await.is_err() {
                return;
            }
        }
        // Its streams are closed a moment before it has ended.
        if let Some(job) = record.job() {
            tokio::select! {
                _ = job.wait() => {}
                () = pieces.closed() => return,
            }
        }
        let end = self.end(&record);
        if !end.is_empty() {
            // A client that has left needs no end.
            let _ = pieces.send(Ok(Frame::data(end))).await;
        }
    }

    /// What is told of `piece`; nothing of a stream that is not asked for.
    pub(super) fn text(&mut self, piece: &Piece) -> Bytes {
        match piece {
            Piece::Output { stream, .. } if !self.streams.contains(stream) => Bytes::new(),
            Piece::Output { stream, at, bytes } => {
                let text =
                    if self.timestamps { self.stamped(*stream, &format!("{at:.9} "), bytes) } else { bytes.clone() };
                let stream = if *stream == OutputStream::Stdout { framed::STDOUT } else { framed::STDERR };
                self.frame(stream, text)
            }
            Piece::Gap { missed } if self.is_framed => self.frame(GAP, json!({"gap": missed}).to_string().into()),
            Piece::Gap { missed } => {
                self.at_line = [true; 2];
                format!("[capstan: {missed} bytes of output are missing here]\n").into()
            }
        }
    }

    /// `bytes` with `stamp` before each line that begins in them.
    fn stamped(&mut self, stream: OutputStream, stamp: &str, bytes: &[u8]) -> Bytes {
        let at_line = &mut self.at_line[usize::from(stream == OutputStream::Stderr)];
        let mut text = BytesMut::with_capacity(bytes.len() + stamp.len());
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            if *at_line {
                text.extend_from_slice(stamp.as_bytes());
            }
            text.extend_from_slice(line);
            *at_line = line.ends_with(b"\n");
        }
        text.freeze()
    }

    fn frame(&self, stream: u8, text: Bytes) -> Bytes {
        if self.is_framed { [&framed::head(stream, text.len()), &*text].concat().into() } else { text }
    }

    /// How the job has ended, as a frame; nothing without frames, or before.
    pub(super) fn end(&self, record: &Record) -> Bytes {
        match record.state() {
            JobState::Done(end) if self.is_framed => framed::outcome(&record.spec, &end),
            _ => Bytes::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_chosen_by_what_is_wanted_or_by_what_is_not() {
        use OutputStream::{Stderr, Stdout};
        for (stdout, stderr, chosen) in [
            (None, None, &[Stdout, Stderr][..]),
            (Some(true), None, &[Stdout]),
            (Some(false), None, &[Stderr]),
            (None, Some(true), &[Stderr]),
            (None, Some(false), &[Stdout]),
            (Some(true), Some(true), &[Stdout, Stderr]),
            (Some(false), Some(false), &[]),
        ] {
            assert_eq!(streams(stdout, stderr), chosen, "{stdout:?} {stderr:?}");
        }
    }

    #[test]
    fn a_timestamp_stands_where_a_line_of_its_stream_begins() {
        let mut telling = Telling { streams: Vec::new(), is_framed: false, timestamps: true, at_line: [true; 2] };
        assert_eq!(telling.stamped(OutputStream::Stdout, "T ", b"a\nb"), "T a\nT b");
        assert_eq!(telling.stamped(OutputStream::Stderr, "T ", b"x\n"), "T x\n");
        assert_eq!(telling.stamped(OutputStream::Stdout, "T ", b"c\n\nd\n"), "c\nT \nT d\n");
    }

    #[test]
    fn a_tail_is_a_number_or_all() {
        assert_eq!((tail("all"), tail("0"), tail("7")), (Some(None), Some(Some(0)), Some(Some(7))));
        for text in ["", "-1", "1.5", "ALL"] {
            assert_eq!(tail(text), None, "{text}");
        }
    }
}
