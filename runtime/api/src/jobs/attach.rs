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
use super::logs::select_streams;
use super::lookup::{find, unfinished_job};

/// The protocol of the frames, in `Upgrade` or as the subprotocol of a WebSocket.
const PROTOCOL: &str = "capstan.stream";

/// `POST`: answers 101, and connects the client to the job.
pub(in super::super) async fn attach(state: Arc<ApiState>, mut request: Request) -> Result<Response<Body>, Error> {
    let requested = AttachRequest::parse(&state, &request)?;
    let upgrade = Upgrade::from_request(&mut request, PROTOCOL).await?;
    let (attachment, stdin) = requested.attach()?;
    let (id, peer) = (attachment.record.spec.id, request.peer);
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
    let requested = AttachRequest::parse(&state, &request)?;
    let upgrade = websocket::upgrade(&mut request, PROTOCOL).await?;
    let (attachment, stdin) = requested.attach()?;
    let id = attachment.record.spec.id;
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
    attachment: Attachment,
}

impl AttachRequest {
    fn parse(state: &ApiState, request: &Request) -> Result<Self, Error> {
        let parameters = Parameters::parse(request, &["stdin", "stdout", "stderr", "logs"], &[])?;
        let (stdout, stderr) = (parameters.flag("stdout")?, parameters.flag("stderr")?);
        let (stdin, logs) = (parameters.flag("stdin")?, parameters.flag("logs")?.unwrap_or(false));
        let record = find(state, request)?;
        let log = record.log.as_ref().ok_or_else(|| Error::no_logs(record.spec.id))?;
        let streams = select_streams(stdout, stderr);
        // Without earlier output, the client starts after the last line.
        let follower = log.follow_last((!logs).then_some(0), None, &streams);
        let encoder = LogEncoder::new(streams, true, false);
        Ok(Self { stdin, attachment: Attachment { record, encoder, follower } })
    }

    /// Takes the stdin of the job for this client, unless the client does not want it.
    fn attach(self) -> Result<(Attachment, Option<StdinWriter>), Error> {
        let record = &self.attachment.record;
        // A job that has ended has no stdin, which is an error only for a client that explicitly requests it.
        let stdin = match unfinished_job(record) {
            Some(job) if self.stdin.unwrap_or(true) => Some(StdinWriter::take(job)?),
            None if self.stdin == Some(true) => return Err(Error::job_ended(record.spec.id)),
            _ => None,
        };
        Ok((self.attachment, stdin))
    }
}
