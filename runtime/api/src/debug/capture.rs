//! What all profiles have in common: a duration, and a response that is cancelled when its client disconnects.
//!
//! The head of the response is sent at once, so that a client that disconnects is noticed.

use std::time::Duration;

use bytes::Bytes;
use hyper::body::Frame;
use hyper::{Response, StatusCode};
use tokio::task::spawn_blocking;

use super::super::body::{self, Aborted, Body};
use super::super::disconnect::Client;
use super::super::error::Error;
use super::super::query::Parameters;
use super::super::request::Request;
use super::super::state::ApiState;

/// The duration of a profile in seconds: the default, and the longest.
const DEFAULT_SECONDS: u64 = 30;
const MAX_SECONDS: u64 = 300;

/// Reads the parameter `seconds`.
pub(super) fn parse_duration(parameters: &Parameters) -> Result<Duration, Error> {
    let expected = format!("a whole number from 1 to {MAX_SECONDS}");
    let parse = |text: &str| text.parse().ok().filter(|seconds| (1..=MAX_SECONDS).contains(seconds));
    let seconds = parameters.parse_value("seconds", &expected, parse)?;
    Ok(Duration::from_secs(seconds.unwrap_or(DEFAULT_SECONDS)))
}

/// Responds with the profile that `finish` returns, which is called once `captured` completes.
///
/// Where the client disconnects before, `finish` is dropped.
pub(super) fn respond(
    state: &ApiState,
    request: &Request,
    media_type: &'static str,
    captured: impl Future<Output: Send> + Send + 'static,
    finish: impl FnOnce() -> Result<Bytes, String> + Send + 'static,
) -> Response<Body> {
    let (frames, body) = Client::new(request).channel_response();
    state.tasks.spawn("api", "profile", async move {
        tokio::select! {
            _ = captured => {}
            () = frames.closed() => return,
        }
        let profile = spawn_blocking(finish).await.unwrap_or_else(|panicked| Err(panicked.to_string()));
        let frame = profile.map(Frame::data).map_err(|error| {
            tracing::warn!(%error, "cannot finish a profile, so its response is cut");
            Aborted
        });
        // It fails only where the client has disconnected.
        let _ = frames.send(frame).await;
    });
    body::response(StatusCode::OK, media_type, body)
}
