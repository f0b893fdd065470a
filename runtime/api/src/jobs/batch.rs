//! `POST /jobs/batch`: submits many jobs, one on each line of the body, and answers line by line.
//!
//! The lines that have arrived together share a commit. A line is answered once its jobs are on the disk, so a client that loses its
//! connection knows what was accepted; with a key on each line it can send all of them again.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use capstan_core::caller::Caller;
use capstan_engine::job_store::{NewJob, Submitted};
use futures_util::StreamExt as _;
use futures_util::stream;
use hyper::body::Frame;
use hyper::{Response, StatusCode};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::super::body::{self, Body};
use super::super::disconnect::Client;
use super::super::error::Error;
use super::super::query::Parameters;
use super::super::request::Request;
use super::super::request_body;
use super::super::state::ApiState;
use super::new_job::new_jobs;
use super::request;

/// The type of the response.
const MEDIA_TYPE: &str = "application/x-ndjson";
/// Lines of one request.
const MAX_LINES: u64 = 100_000;
/// Bytes of one line.
const MAX_LINE: usize = 4 << 20;
/// Bytes of one request.
const MAX_BODY: u64 = 1 << 30;
/// Jobs that are submitted together.
const MAX_TOGETHER: usize = 512;

/// Responds with one line for each line of the body: the submitted job, or why it was not.
pub(in super::super) async fn submit_batch(state: Arc<ApiState>, request: Request) -> Result<Response<Body>, Error> {
    Parameters::parse(&request, &[], &[])?;
    request.reject_encoded_body()?;
    if state.engine.is_shutting_down() {
        return Err(Error::draining());
    }
    state.queue()?;
    let permit = state.slots.upload().await?;
    let client = Client::new(&request);
    // Without a limit, because a client may send everything before it reads: the number of lines bounds it.
    let (answers, mut lines) = mpsc::unbounded_channel();
    let batch = Batch { state: state.clone(), caller: request.peer.caller().clone(), answers, line: 0 };
    let pieces = request_body::data_stream(request.body, MAX_BODY, &state.settings.http_limits);
    state.tasks.spawn("api", "batch of jobs", async move {
        let _permit = permit;
        batch.submit_all(pieces).await;
    });
    let frames = stream::poll_fn(move |cx| lines.poll_recv(cx)).map(|line| Ok(Frame::data(line)));
    Ok(body::response(StatusCode::OK, MEDIA_TYPE, client.stream_response((), frames)))
}

struct Batch {
    state: Arc<ApiState>,
    caller: Caller,
    answers: mpsc::UnboundedSender<Bytes>,
    /// The number of the last line, counted from 1.
    line: u64,
}

/// Lines that are submitted together.
#[derive(Default)]
struct Group {
    /// The number of each line, and how many of `jobs` it submits or why it submits none.
    lines: Vec<(u64, Result<usize, Error>)>,
    jobs: Vec<NewJob>,
}

/// The client is gone, or nothing more can be read.
struct Stopped;

impl Batch {
    async fn submit_all<E: Into<Error>>(mut self, pieces: impl futures_util::Stream<Item = Result<Bytes, E>>) {
        let mut pieces = std::pin::pin!(pieces);
        let mut rest = BytesMut::new();
        while let Some(piece) = pieces.next().await {
            match piece {
                Ok(piece) => rest.extend_from_slice(&piece),
                Err(error) => return self.fail(error.into()),
            }
            if self.submit_lines(&mut rest).await.is_err() {
                return;
            }
            if rest.len() > MAX_LINE {
                return self.fail(Error::too_large(MAX_LINE as u64));
            }
        }
        // The last line may have no line break.
        rest.extend_from_slice(b"\n");
        let _ = self.submit_lines(&mut rest).await;
    }

    /// Submits the complete lines in `text`, and leaves the rest there.
    async fn submit_lines(&mut self, text: &mut BytesMut) -> Result<(), Stopped> {
        let mut group = Group::default();
        while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
            let line = text.split_to(end + 1).freeze();
            if line.trim_ascii().is_empty() {
                continue;
            }
            if self.line == MAX_LINES {
                self.submit_group(group).await?;
                self.fail(Error::too_large(MAX_LINES));
                return Err(Stopped);
            }
            self.line += 1;
            let parsed = self.parse(&line).map(|jobs| {
                let count = jobs.len();
                group.jobs.extend(jobs);
                count
            });
            group.lines.push((self.line, parsed));
            if group.jobs.len() >= MAX_TOGETHER {
                self.submit_group(std::mem::take(&mut group)).await?;
            }
        }
        self.submit_group(group).await
    }

    fn parse(&self, line: &[u8]) -> Result<Vec<NewJob>, Error> {
        let requested = request::parse(line, None, None)?;
        if !requested.is_durable {
            return Err(Error::bad_request("the jobs of a batch are durable; leave out stdin_later and durable"));
        }
        new_jobs(&self.state, self.state.queue()?, requested, &self.caller)
    }

    async fn submit_group(&self, Group { lines, jobs }: Group) -> Result<(), Stopped> {
        if lines.is_empty() {
            return Ok(());
        }
        let queue = self.state.queue().map_err(|_| Stopped)?;
        let results = match queue.submit(jobs).await {
            Ok(results) => results,
            Err(error) => {
                for (line, _) in lines {
                    self.answer(line, Err(error.clone().into()))?;
                }
                return Err(Stopped);
            }
        };
        let mut results = results.into_iter();
        for (line, count) in lines {
            let submitted = count.and_then(|count| {
                // All results of the line are taken, also if the first is an error.
                let of_line: Vec<_> = results.by_ref().take(count).collect();
                Ok(of_line.into_iter().collect::<Result<Vec<_>, _>>()?)
            });
            self.answer(line, submitted.map(|submitted| submitted_line(&submitted)))?;
        }
        Ok(())
    }

    fn answer(&self, line: u64, answer: Result<Value, Error>) -> Result<(), Stopped> {
        let mut json = answer.unwrap_or_else(|error| error.json());
        json["line"] = json!(line);
        self.answers.send(body::json_line(&json)).map_err(|_| Stopped)
    }

    /// Answers that no further line was read.
    fn fail(&self, error: Error) {
        // It fails only where the client has disconnected.
        let _ = self.answer(self.line + 1, Err(error));
    }
}

/// Returns the answer to a line whose jobs were submitted.
fn submitted_line(submitted: &[Submitted]) -> Value {
    let first = submitted[0];
    let mut json = json!({"id": first.job, "state": first.state.token(), "new": first.is_new});
    if submitted.len() > 1 {
        json["count"] = json!(submitted.len());
    }
    json
}
