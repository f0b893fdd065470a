//! Jobs over HTTP: submit, list, inspect, wait, stop, feed, attach, forget.
//!
//! A job that is submitted goes on by itself, whether or not anybody waits; what it prints is kept, see [`logs`](mod@logs).

mod attach;
mod cursor;
mod list;
mod logs;
mod request;
mod view;

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use capstan_core::outcome::CancelledBy;
use capstan_core::stream::Source;
use capstan_engine::history::Record;
use capstan_engine::job::{Control, Job, JobId, Line, StartError, State};
use hyper::body::Frame;
use hyper::header::{CONNECTION, HeaderValue, LOCATION};
use hyper::{Response, StatusCode};
use serde_json::json;
use tokio::sync::OwnedSemaphorePermit;

pub(super) use self::attach::{attach, attach_messages};
pub(super) use self::cursor::Cursors;
pub(super) use self::list::list;
pub(super) use self::logs::logs;
use self::request::{Asked, Input};
use self::view::Told;
use super::Api;
use super::body::{self, Body};
use super::disconnect::Client;
use super::error::Error;
use super::input;
use super::query::Parameters;
use super::request::Request;
use super::run::{name_job, refuse_service};

/// Bytes of the blocks in which input is counted that came with jobs, and was not let go by them.
const INPUT_BLOCK: usize = 1024;
/// How many blocks of it there may be: 256 MiB.
pub(super) const INPUT_BLOCKS: usize = 256 << 10;
/// Jobs that may be in their time of grace.
pub(super) const GRACES: usize = 1024;

/// `POST /jobs`: a job that goes on by itself.
pub(super) async fn submit(api: Arc<Api>, request: Request) -> Result<Response<Body>, Error> {
    Parameters::of(&request, &[], &[])?;
    let caller = request.presence.caller().clone();
    let asked = Asked::read(&api, request).await?;
    // Before anything else: a job that was made is told of even where another could not start.
    if let Some(key) = &asked.key
        && let Err(taken) = api.engine.records().check(key)
    {
        return submitted_before(&api, taken);
    }
    let Asked { policy, key, concurrency_key, .. } = asked;
    let control = Control { asked: policy, caller: Some(caller), key, concurrency_key, ..Control::default() };
    let Line { handler, args, env } = asked.line;
    let job = api.engine.job(&handler)?.args(args).env(&env).control(control).logged();
    let job = match asked.stdin {
        Input::Whole(bytes) => job.stdin(Source::from_bytes(held(&api, bytes)?)).build()?,
        Input::Later => job.stdin_later().build()?,
    };
    refuse_service(&job)?;
    match job.start() {
        Ok(()) => Ok(submitted(StatusCode::ACCEPTED, job.id(), &job.state())),
        Err(error) => submitted_before(&api, error),
    }
}

/// `input`, counted for as long as anybody holds it: a job may wait with it in the queue.
fn held(api: &Api, input: Bytes) -> Result<Bytes, Error> {
    let blocks = u32::try_from(input.len().div_ceil(INPUT_BLOCK)).expect("a body is bounded");
    let room = api.input.clone().try_acquire_many_owned(blocks);
    let room = room.map_err(|_| Error::busy("jobs that have not read their input yet hold too much of it"))?;
    Ok(body::held(input, room))
}

/// Tells of the job that was made of the same request under the same key.
fn submitted_before(api: &Api, error: StartError) -> Result<Response<Body>, Error> {
    if let StartError::Taken { job, same: true } = error
        && let Some(record) = api.engine.records().find(job)
    {
        return Ok(submitted(StatusCode::OK, job, &record.state()));
    }
    Err(error.into())
}

fn submitted(status: StatusCode, job: JobId, state: &State) -> Response<Body> {
    let mut response = body::json(status, &json!({"id": job, "durable": false, "state": state.token()}));
    let location = HeaderValue::from_str(&format!("/v1/jobs/{job}")).expect("an id is hexadecimal");
    response.headers_mut().insert(LOCATION, location);
    name_job(&mut response, job);
    response
}

/// `GET /jobs/{id}`: all that is known of it.
pub(super) async fn inspect(api: Arc<Api>, request: Request) -> Result<Response<Body>, Error> {
    Parameters::of(&request, &[], &[])?;
    let record = find(&api, &request)?;
    Ok(body::json(StatusCode::OK, &Told::new(&record)))
}

/// `DELETE /jobs/{id}`: forgets one that has ended.
pub(super) async fn remove(api: Arc<Api>, request: Request) -> Result<Response<Body>, Error> {
    Parameters::of(&request, &[], &[])?;
    api.engine.records().remove(request.job()?)?;
    Ok(body::empty(StatusCode::NO_CONTENT))
}

/// `POST /jobs/{id}/wait`: the job once it has ended, or as it is when the time is over.
///
/// Whoever waits is told even where the job is removed meanwhile.
pub(super) async fn wait(api: Arc<Api>, request: Request) -> Result<Response<Body>, Error> {
    let parameters = Parameters::of(&request, &["timeout"], &[])?;
    let timeout = parameters.duration("timeout")?;
    let record = find(&api, &request)?;
    let Some(job) = going(&record).cloned() else { return Ok(body::json(StatusCode::OK, &Told::new(&record))) };
    // The head goes out at once, so that a client that leaves is noticed; the job follows.
    let (pieces, body) = Client::of(&request).answer(());
    api.tasks.spawn("api", "waiter for a job's end", async move {
        let over = async {
            match timeout {
                Some(timeout) => tokio::time::sleep(timeout).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = job.wait() => {}
            () = over => {}
            () = pieces.closed() => return,
        }
        let told = body::json_line(&Told::new(&record));
        // A client that has left needs no answer.
        let _ = pieces.send(Ok(Frame::data(told))).await;
    });
    Ok(body::typed(StatusCode::OK, "application/json", body))
}

/// `POST /jobs/{id}/cancel`: ends it, after a time of grace where one is given. Answers at once.
pub(super) async fn cancel(api: Arc<Api>, request: Request) -> Result<Response<Body>, Error> {
    let grace = Parameters::of(&request, &["grace"], &[])?.duration("grace")?.unwrap_or_default();
    let (record, job) = find_going(&api, &request)?;
    if grace.is_zero() {
        job.cancel(CancelledBy::Client);
    } else {
        let place = api.graces.clone().try_acquire_owned();
        let place = place.map_err(|_| Error::busy("too many jobs are in their time of grace"))?;
        let place = GracePlace(Arc::new(Mutex::new(Some(place))));
        // The task learns of the end after others have.
        job.hold_until_end(place.clone());
        api.tasks.spawn("api", "cancellation after a time of grace", async move {
            let _place = place;
            // It may end by itself until then.
            let _ = tokio::time::timeout(grace, job.wait()).await;
            job.cancel(CancelledBy::Client);
        });
    }
    Ok(body::json(StatusCode::ACCEPTED, &Told::new(&record)))
}

/// A place among the jobs in their time of grace. It is free once one of its clones is dropped: when the grace is over, or when the job ends.
#[derive(Clone)]
struct GracePlace(Arc<Mutex<Option<OwnedSemaphorePermit>>>);

impl Drop for GracePlace {
    fn drop(&mut self) {
        self.0.lock().expect("no panic while the lock is held").take();
    }
}

/// `POST /jobs/{id}/kill`: ends it now.
pub(super) async fn kill(api: Arc<Api>, request: Request) -> Result<Response<Body>, Error> {
    Parameters::of(&request, &[], &[])?;
    let (record, job) = find_going(&api, &request)?;
    job.cancel(CancelledBy::Client);
    Ok(body::json(StatusCode::ACCEPTED, &Told::new(&record)))
}

/// `PUT /jobs/{id}/stdin`: feeds a stdin that was left open, and ends it. Done once.
pub(super) async fn stdin(api: Arc<Api>, request: Request) -> Result<Response<Body>, Error> {
    Parameters::of(&request, &[], &[])?;
    let (_, job) = find_going(&api, &request)?;
    let taken = || Error::conflict(job.id(), format!("the stdin of job {} is not open, or was fed before", job.id()));
    let sink = job.take_stdin().ok_or_else(taken)?;
    let fed = job.clone();
    // A task of its own: half an input must not look like a whole one, however this client leaves.
    let feeding = api.tasks.spawn("api", "input of a job", async move {
        tokio::select! {
            whole = input::pump(request.body, sink, &fed) => whole,
            _ = fed.wait() => false,
        }
    });
    let whole = feeding.await.map_err(|error| Error::internal(error.to_string()))?;
    let mut response = body::empty(StatusCode::NO_CONTENT);
    if !whole {
        // The rest of the request will not be read.
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response)
}

fn find(api: &Api, request: &Request) -> Result<Record, Error> {
    let id = request.job()?;
    api.engine.records().find(id).ok_or_else(|| Error::unknown_job(&id.to_string()))
}

/// The job of the path, which must not have ended.
pub(super) fn find_going(api: &Api, request: &Request) -> Result<(Record, Job), Error> {
    let record = find(api, request)?;
    match going(&record).cloned() {
        Some(job) => Ok((record, job)),
        None => Err(Error::job_ended(record.given.id)),
    }
}

fn going(record: &Record) -> Option<&Job> {
    record.job().filter(|_| !record.has_ended())
}
