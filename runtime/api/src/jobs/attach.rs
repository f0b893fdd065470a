//! `/jobs/{id}/attach`: connects a client to the streams of a job, by `POST` in [`frames`], by `GET` in [`messages`] of a WebSocket.
//!
//! The connection stops speaking HTTP: the daemon sends frames, and the client sends stdin. The output is read from the stored log of
//! the job, in which each client has its own position. So clients attach without loss or repetition, and a slow reader blocks nobody.
//! A client that disconnects does not affect the job: stdin stays open for the next client, unless the client has closed it.

mod attachment;
mod frames;
mod messages;

use std::sync::Arc;

use hyper::Response;
use hyper::header::{CONTENT_TYPE, HeaderValue};

use self::attachment::{Attachment, StdinWriter};
use super::super::body::Body;
use super::super::error::Error;
use super::super::headers;
use super::super::query::Parameters;
use super::super::request::Request;
use super::super::run::framed;
use super::super::state::ApiState;
use super::super::upgrade::Upgrade;
use super::super::websocket;
use super::log_encoder::LogEncoder;
use super::log_reader::{LogReader, LogSelection};
use super::logs::select_streams;
use super::lookup::find;

/// The protocol of the frames, in `Upgrade` or as the subprotocol of a WebSocket.
const PROTOCOL: &str = "capstan.stream";

/// `POST`: answers 101, and connects the client to the job.
pub(in super::super) async fn attach(state: Arc<ApiState>, mut request: Request) -> Result<Response<Body>, Error> {
    let requested = AttachRequest::parse(&state, &request).await?;
    let upgrade = Upgrade::from_request(&mut request, PROTOCOL).await?;
    let (attachment, stdin) = requested.attach()?;
    let (id, peer) = (attachment.id, request.peer);
    let task = state.tasks.track("api", || format!("client attached to job {id}"));
    let mut response = upgrade.respond(async move |connection| {
        let _task = task;
        frames::serve(attachment, stdin, connection, peer).await;
    });
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(framed::MEDIA_TYPE));
    headers::set_job(&mut response, id);
    Ok(response)
}

/// `GET`: does the same over a WebSocket.
pub(in super::super) async fn attach_messages(
    state: Arc<ApiState>,
    mut request: Request,
) -> Result<Response<Body>, Error> {
    let requested = AttachRequest::parse(&state, &request).await?;
    let upgrade = websocket::upgrade(&mut request, PROTOCOL).await?;
    let (attachment, stdin) = requested.attach()?;
    let id = attachment.id;
    let task = state.tasks.track("api", || format!("client attached to job {id} over a WebSocket"));
    let mut response = upgrade.respond(async move |connection| {
        let _task = task;
        messages::serve(attachment, stdin, connection).await;
    });
    headers::set_job(&mut response, id);
    Ok(response)
}

/// A request to attach to a job.
struct AttachRequest {
    /// Whether the client wants to write stdin; `None` where it does not say.
    stdin: Option<bool>,
    has_ended: bool,
    attachment: Attachment,
}

impl AttachRequest {
    async fn parse(state: &ApiState, request: &Request) -> Result<Self, Error> {
        let parameters = Parameters::parse(request, &["stdin", "stdout", "stderr", "logs"], &[])?;
        let (stdout, stderr) = (parameters.flag("stdout")?, parameters.flag("stderr")?);
        let (stdin, logs) = (parameters.flag("stdin")?, parameters.flag("logs")?.unwrap_or(false));
        let found = find(state, request).await?;
        let (id, run, has_ended) = (found.id(), found.run().cloned(), found.has_ended());
        let streams = select_streams(stdout, stderr);
        // Without earlier output, the client starts after the last line.
        let tail = (!logs).then_some(0);
        let selection = LogSelection { streams: streams.clone(), tail, since: None, attempt: None };
        let reader = LogReader::new(state, found, &selection).await?;
        let encoder = LogEncoder::new(streams, true, false);
        Ok(Self { stdin, has_ended, attachment: Attachment { id, run, encoder, reader } })
    }

    /// Takes the stdin of the job for this client, unless the client does not want it.
    fn attach(self) -> Result<(Attachment, Option<StdinWriter>), Error> {
        let attachment = &self.attachment;
        // A job that has ended has no stdin, which is an error only for a client that explicitly requests it.
        let stdin = match &attachment.run {
            Some(run) if self.stdin.unwrap_or(true) => Some(StdinWriter::take(run)?),
            None if self.stdin == Some(true) && self.has_ended => return Err(Error::job_ended(attachment.id)),
            None if self.stdin == Some(true) => return Err(Error::not_running(attachment.id)),
            _ => None,
        };
        Ok((self.attachment, stdin))
    }
}
