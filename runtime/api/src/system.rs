//! What the daemon says of itself.

use std::sync::Arc;

use capstan_core::stream::{self, PIPE_CAPACITY};
use capstan_listen::listenbuffer::GateState;
use hyper::{Response, StatusCode};
use serde_json::json;
use tokio::io::AsyncReadExt as _;

use super::Api;
use super::body::{self, Body};
use super::error::Error;
use super::request::Request;

/// What the builtins below print.
const JSON: &str = "application/json";

/// `GET /_ping`: that it answers.
pub(super) async fn ping(_api: Arc<Api>, _request: Request) -> Result<Response<Body>, Error> {
    Ok(body::typed(StatusCode::OK, "text/plain; charset=utf-8", body::whole("OK\n")))
}

/// `GET /_ready`: that it takes work, or why not.
pub(super) async fn ready(api: Arc<Api>, _request: Request) -> Result<Response<Body>, Error> {
    if api.engine.is_shutting_down() {
        return Err(Error::draining());
    }
    match api.gate.state() {
        GateState::Open => Ok(body::json(StatusCode::OK, &json!({"ready": true}))),
        GateState::Shut(phase) => Err(Error::booting(phase)),
        GateState::Failed(reason) => Err(Error::starting(&reason)),
    }
}

/// `GET /version`: the job `version`.
pub(super) async fn version(api: Arc<Api>, _request: Request) -> Result<Response<Body>, Error> {
    printed(&api, "version", JSON).await
}

/// `GET /info`: the job `info`.
pub(super) async fn info(api: Arc<Api>, _request: Request) -> Result<Response<Body>, Error> {
    printed(&api, "info", JSON).await
}

/// Runs a builtin that prints this type, and answers with that.
pub(super) async fn printed(api: &Api, name: &str, content_type: &'static str) -> Result<Response<Body>, Error> {
    let (stdout, mut printed) = stream::pipe(PIPE_CAPACITY);
    let job = api.engine.job(name)?.stdout(stdout).build()?;
    job.start()?;
    let mut text = Vec::new();
    printed.read_to_end(&mut text).await.map_err(|error| Error::internal(error.to_string()))?;
    let end = job.wait().await;
    if !end.outcome.is_success() {
        return Err(Error::internal(format!("{name}: {}", end.outcome)));
    }
    Ok(body::typed(StatusCode::OK, content_type, body::whole(text)))
}
