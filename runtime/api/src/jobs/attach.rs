//! `/jobs/{id}/attach`: the streams of a job on a connection of their own, by `POST` as frames, by `GET` as [`messages`] of a WebSocket.
//!
//! The connection stops being HTTP: the daemon sends frames, the client the bytes of stdin. What was printed and what comes is read
//! from the job's log, in which each client has a place of its own. So they join without loss or repeat, and who reads slowly holds
//! nobody back. A client that leaves changes nothing for the job: a stdin that it did not end is open for the next.

mod messages;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use capstan_core::stream::Sink;
use capstan_engine::history::Record;
use capstan_engine::job::Job;
use capstan_engine::output_log::Follower;
use hyper::Response;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio_util::sync::CancellationToken;

use super::super::Api;
use super::super::body::Body;
use super::super::error::Error;
use super::super::peer::{Client, Presence};
use super::super::query::Parameters;
use super::super::request::Request;
use super::super::run::{framed, name_job};
use super::super::upgrade::Upgrade;
use super::super::websocket;
use super::logs::{Telling, streams};
use super::{find, going};

/// The protocol that is asked for.
const PROTOCOL: &str = "capstan.stream";
/// Bytes of stdin that are read at a time.
const PIECE: usize = 16 << 10;
/// How often it is looked whether a client that sends nothing more is still there.
const LOOK: Duration = Duration::from_millis(250);

/// `POST`: answers 101, and joins the connection to the job.
pub(in super::super) async fn attach(api: Arc<Api>, mut request: Request) -> Result<Response<Body>, Error> {
    let asked = Asked::of(&api, &request)?;
    let upgrade = Upgrade::of(&mut request, PROTOCOL)?;
    let (attached, stdin) = asked.join()?;
    let (id, presence) = (attached.record.spec.id, request.presence);
    let note = api.tasks.track("api", || format!("client attached to job {id}"));
    let mut response = upgrade.answer(async move |connection| {
        let _note = note;
        attached.serve(connection, stdin, presence).await;
    });
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(framed::MEDIA_TYPE));
    name_job(&mut response, id);
    Ok(response)
}

/// `GET`: the same over a WebSocket.
pub(in super::super) async fn attach_messages(api: Arc<Api>, mut request: Request) -> Result<Response<Body>, Error> {
    let asked = Asked::of(&api, &request)?;
    let upgrade = websocket::upgrade(&mut request, PROTOCOL)?;
    let (attached, stdin) = asked.join()?;
    let id = attached.record.spec.id;
    let note = api.tasks.track("api", || format!("client attached to job {id} over a WebSocket"));
    let mut response = upgrade.answer(async move |connection| {
        let _note = note;
        messages::serve(attached, stdin, connection).await;
    });
    name_job(&mut response, id);
    Ok(response)
}

/// A client that wants to be attached.
struct Asked {
    stdin: Option<bool>,
    attached: Attached,
}

impl Asked {
    fn of(api: &Api, request: &Request) -> Result<Self, Error> {
        let parameters = Parameters::of(request, &["stdin", "stdout", "stderr", "logs"], &[])?;
        let (stdout, stderr) = (parameters.flag("stdout")?, parameters.flag("stderr")?);
        let (stdin, logs) = (parameters.flag("stdin")?, parameters.flag("logs")?.unwrap_or(false));
        let record = find(api, request)?;
        let log = record.log.as_ref().ok_or_else(|| Error::no_logs(record.spec.id))?;
        let streams = streams(stdout, stderr);
        // Without what was printed, it begins where no line is left.
        let follower = log.follow_last((!logs).then_some(0), None, &streams);
        Ok(Self { stdin, attached: Attached { record, telling: Telling::framed(streams), follower } })
    }

    /// Takes the stdin of the job for this client, unless it wants none.
    fn join(self) -> Result<(Attached, Option<Feed>), Error> {
        let record = &self.attached.record;
        // One that has ended has no stdin, and is fed only by who insists.
        let stdin = match going(record) {
            Some(job) if self.stdin.unwrap_or(true) => Some(Feed::of(job)?),
            None if self.stdin == Some(true) => return Err(Error::job_ended(record.spec.id)),
            _ => None,
        };
        Ok((self.attached, stdin))
    }
}

/// What an attached client is told.
struct Attached {
    record: Record,
    telling: Telling,
    follower: Follower,
}

impl Attached {
    /// Tells and listens until the job has ended and the client knows, or the client has left.
    pub(crate) async fn serve(
        mut self,
        connection: impl AsyncRead + AsyncWrite + Send,
        stdin: Option<Feed>,
        presence: Arc<Presence>,
    ) {
        let (from, to) = tokio::io::split(connection);
        let said_all = CancellationToken::new();
        let job = self.record.job().cloned();
        let mut listening = Box::pin(listen(from, stdin, &presence, &said_all));
        tokio::select! {
            told = self.tell(to, &said_all) => if told.is_ok() { return },
            () = &mut listening => return,
        }
        // It reads no more, but what it had sent by then arrives.
        if let Some(job) = job {
            tokio::select! {
                () = listening => {}
                _ = job.wait() => {}
            }
        }
    }

    /// Sends what the job prints, and how it ended; each frame whole.
    async fn tell(&mut self, mut to: impl AsyncWrite + Unpin, said_all: &CancellationToken) -> io::Result<()> {
        let mut is_probed = false;
        loop {
            let piece = tokio::select! {
                piece = self.follower.next() => piece,
                () = said_all.cancelled(), if !is_probed => {
                    is_probed = true;
                    // One that has closed its end for good answers an empty frame with a reset.
                    to.write_all(&framed::head(framed::STDOUT, 0)).await?;
                    continue;
                }
            };
            let Some(piece) = piece else { break };
            to.write_all(&self.telling.text(&piece)).await?;
        }
        // Its streams are closed a moment before it has ended.
        if let Some(job) = self.record.job() {
            job.wait().await;
        }
        to.write_all(&self.telling.end(&self.record)).await?;
        to.shutdown().await
    }
}

/// Hands on what the client sends, and waits until it has left.
async fn listen(
    mut from: impl AsyncRead + Unpin,
    mut stdin: Option<Feed>,
    presence: &Presence,
    said_all: &CancellationToken,
) {
    let mut buffer = vec![0; PIECE];
    loop {
        match from.read(&mut buffer).await {
            Ok(0) => break,
            Ok(count) => {
                if let Some(stdin) = &mut stdin {
                    stdin.write(&buffer[..count]).await;
                }
            }
            Err(_) => return,
        }
    }
    if presence.is_gone_at_end() {
        return;
    }
    if let Some(stdin) = &mut stdin {
        stdin.end();
    }
    said_all.cancel();
    while presence.client() != Client::Gone {
        tokio::time::sleep(LOOK).await;
    }
}

/// The stdin of a job in the hands of one client. Left open for the next where the client leaves without ending it.
struct Feed {
    job: Job,
    sink: Option<Sink>,
}

impl Feed {
    fn of(job: &Job) -> Result<Self, Error> {
        let id = job.id();
        let taken = || {
            let why =
                format!("the stdin of job {id} is not open, or somebody feeds it: attach with stdin=0 (--no-stdin)");
            Error::conflict(id, why)
        };
        Ok(Self { sink: Some(job.take_stdin().ok_or_else(taken)?), job: job.clone() })
    }

    /// Waits until the job has room for `bytes`; one that reads no more is not given any.
    async fn write(&mut self, bytes: &[u8]) {
        if let Some(sink) = &mut self.sink
            && sink.write_all(bytes).await.is_err()
        {
            self.end();
        }
    }

    fn end(&mut self) {
        self.sink = None;
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        if let Some(sink) = self.sink.take() {
            self.job.return_stdin(sink);
        }
    }
}
