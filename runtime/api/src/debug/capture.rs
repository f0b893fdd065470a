//! What all profiles have in common: they take seconds, are told as one format or another, and end with their client.
//!
//! The head of the answer goes out at once, so that a client that leaves is noticed.

use std::time::Duration;

use bytes::Bytes;
use hyper::body::Frame;
use hyper::{Response, StatusCode};
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::spawn_blocking;

use super::super::Api;
use super::super::body::{self, Abort, Body};
use super::super::disconnect::Client;
use super::super::error::Error;
use super::super::query::Parameters;
use super::super::request::Request;
use super::debug;

/// How long is looked where nobody says.
const SECONDS: u64 = 30;
/// How long may be looked.
const MOST_SECONDS: u64 = 300;

/// What a profile of the daemon is told as.
#[derive(Clone, Copy, Debug)]
pub(super) enum Format {
    /// As `pprof` reads it.
    Protobuf,
    FlameGraph,
}

impl Format {
    /// The format that is asked for.
    pub(super) fn of(parameters: &Parameters) -> Result<Self, Error> {
        let format = parameters.read("format", "pprof or flamegraph", |text| match text {
            "pprof" => Some(Self::Protobuf),
            "flamegraph" => Some(Self::FlameGraph),
            _ => None,
        });
        Ok(format?.unwrap_or(Self::Protobuf))
    }

    pub(super) fn media_type(self) -> &'static str {
        match self {
            Self::Protobuf => "application/octet-stream",
            Self::FlameGraph => "image/svg+xml",
        }
    }
}

/// The seconds that are asked for.
pub(super) fn seconds(parameters: &Parameters) -> Result<Duration, Error> {
    let expected = format!("a whole number from 1 to {MOST_SECONDS}");
    let seconds = parameters
        .read("seconds", &expected, |text| text.parse().ok().filter(|seconds| (1..=MOST_SECONDS).contains(seconds)))?;
    Ok(Duration::from_secs(seconds.unwrap_or(SECONDS)))
}

/// The place of the one profile of the daemon that is taken at a time.
pub(super) fn only(api: &Api) -> Result<OwnedSemaphorePermit, Error> {
    debug(api)?
        .profiling
        .clone()
        .try_acquire_owned()
        .map_err(|_| Error::profiled("a profile is being taken, and there is one at a time"))
}

/// Answers with what `tell` comes to, which is called once `over` is. Where the client leaves before, it is dropped.
pub(super) fn answer(
    api: &Api,
    request: &Request,
    media_type: &'static str,
    over: impl Future<Output: Send> + Send + 'static,
    tell: impl FnOnce() -> Result<Bytes, String> + Send + 'static,
) -> Response<Body> {
    let (pieces, body) = Client::of(request).answer(());
    api.tasks.spawn("api", "profile", async move {
        tokio::select! {
            _ = over => {}
            () = pieces.closed() => return,
        }
        let told = spawn_blocking(tell).await.unwrap_or_else(|panicked| Err(panicked.to_string()));
        let piece = told.map(Frame::data).map_err(|error| {
            tracing::warn!(%error, "a profile came to nothing");
            Abort
        });
        // A client that has left needs no profile.
        let _ = pieces.send(piece).await;
    });
    body::typed(StatusCode::OK, media_type, body)
}
