//! The daemon's own resources: health, version, information.

use std::sync::Arc;

use capstan_core::stream::{self, PIPE_CAPACITY};
use capstan_listen::listenbuffer::GateState;
use hyper::{Response, StatusCode};
use serde_json::json;
use tokio::io::AsyncReadExt as _;

use super::body::{self, Body};
use super::error::Error;
use super::request::Request;
use super::state::ApiState;

const JSON: &str = "application/json";

/// `GET /_ping`: answers, which shows that the daemon is alive.
pub(super) async fn ping(_state: Arc<ApiState>, _request: Request) -> Result<Response<Body>, Error> {
    Ok(body::response(StatusCode::OK, "text/plain; charset=utf-8", body::full("OK\n")))
}

/// `GET /_ready`: returns 200 if the daemon accepts work, and 503 with the reason otherwise.
pub(super) async fn ready(state: Arc<ApiState>, _request: Request) -> Result<Response<Body>, Error> {
    if state.engine.is_shutting_down() {
        return Err(Error::draining());
    }
    match state.gate.state() {
        GateState::Open => Ok(body::json(StatusCode::OK, &json!({"ready": true}))),
        GateState::Shut(phase) => Err(Error::starting_in(phase)),
        GateState::Failed(reason) => Err(Error::starting(&reason)),
    }
}

/// `GET /version`: returns the output of the builtin `version`.
pub(super) async fn version(state: Arc<ApiState>, _request: Request) -> Result<Response<Body>, Error> {
    run_builtin(&state, "version", JSON).await
}

/// `GET /info`: returns the output of the builtin `info`.
pub(super) async fn info(state: Arc<ApiState>, _request: Request) -> Result<Response<Body>, Error> {
    run_builtin(&state, "info", JSON).await
}

/// Runs a builtin that prints `content_type`, and returns its output.
///
/// # Errors
/// [`Error`]: what its start fails with; 500 where it does not succeed.
pub(super) async fn run_builtin(
    state: &ApiState,
    name: &str,
    content_type: &'static str,
) -> Result<Response<Body>, Error> {
    let (sink, mut stdout) = stream::pipe(PIPE_CAPACITY);
    let job = state.engine.job(name)?.stdout(sink).build()?;
    job.start()?;
    let mut output = Vec::new();
    stdout.read_to_end(&mut output).await.map_err(|error| Error::internal(error.to_string()))?;
    let end = job.wait().await;
    if !end.outcome.is_success() {
        return Err(Error::internal(format!("the builtin {name} failed: {}", end.outcome)));
    }
    Ok(body::response(StatusCode::OK, content_type, body::full(output)))
}
