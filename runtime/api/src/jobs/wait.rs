//! `POST /jobs/{id}/wait`: returns a job once it has ended.

use std::sync::Arc;
use std::time::Duration;

use hyper::body::Frame;
use hyper::{Response, StatusCode};

use super::super::body::{self, Body};
use super::super::disconnect::Client;
use super::super::error::Error;
use super::super::query::Parameters;
use super::super::request::Request;
use super::super::state::ApiState;
use super::lookup::{DurableJob, FoundJob, find, unfinished_job};

/// Returns the job once it has ended, or as it is after the timeout.
///
/// Returns the job even if it is removed from the history in the meantime.
pub(in super::super) async fn wait(state: Arc<ApiState>, request: Request) -> Result<Response<Body>, Error> {
    let parameters = Parameters::parse(&request, &["timeout"], &[])?;
    let timeout = parameters.duration("timeout")?;
    let mut found = find(&state, &request).await?;
    if found.has_ended() {
        return Ok(body::json(StatusCode::OK, &found.view()));
    }
    // The head of the response is sent at once, so that a client that disconnects is noticed. The job follows.
    let (frames, body) = Client::new(&request).channel_response();
    let owner = state.clone();
    state.tasks.spawn("api", "waiter for a job's end", async move {
        tokio::select! {
            () = wait_for_end(&owner, &mut found, timeout) => {}
            () = frames.closed() => return,
        }
        // It fails only where the client has disconnected.
        let _ = frames.send(Ok(Frame::data(body::json_line(&found.view())))).await;
    });
    Ok(body::response(StatusCode::OK, "application/json", body))
}

/// Waits until the job has ended or the time is over, and reads it again.
async fn wait_for_end(state: &ApiState, found: &mut FoundJob, timeout: Option<Duration>) {
    let timed_out = async {
        match timeout {
            Some(timeout) => tokio::time::sleep(timeout).await,
            None => std::future::pending().await,
        }
    };
    match found {
        FoundJob::InMemory(record) => {
            let Some(job) = unfinished_job(record) else { return };
            tokio::select! {
                _ = job.wait() => {}
                () = timed_out => {}
            }
        }
        FoundJob::Durable(durable) => {
            tokio::select! {
                () = wait_for_durable(state, durable) => return,
                () = timed_out => {}
                // The job goes on after the next start of the daemon.
                () = state.engine.wait_until_drained() => {}
            }
            read_again(state, durable).await;
        }
    }
}

/// Keeps `durable` up to date until the job has ended, was removed, or cannot be read.
async fn wait_for_durable(state: &ApiState, durable: &mut DurableJob) {
    let Ok(queue) = state.queue() else { return };
    let mut watch = queue.store().watchers().job(durable.details.job.id);
    while read_again(state, durable).await && !durable.details.job.state.has_ended() {
        watch.changed().await;
    }
}

/// Reads the job again. Returns whether that was possible.
async fn read_again(state: &ApiState, durable: &mut DurableJob) -> bool {
    let Ok(queue) = state.queue() else { return false };
    let Ok(Some(details)) = queue.store().job(durable.details.job.id).await else { return false };
    match DurableJob::new(state, details) {
        Ok(read) => *durable = read,
        Err(_) => return false,
    }
    true
}
