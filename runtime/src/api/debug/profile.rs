//! `GET /debug/pprof/profile`: where the daemon's processor time goes.
//!
//! A timer interrupts whatever thread computes, 99 times in each second of processor time, and what it was in is noted, guests
//! included. One profile is taken at a time. The head of the answer goes out at once, so that a client that leaves is noticed; the
//! profile is then over.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::body::Frame;
use hyper::{Response, StatusCode};
use pprof::protos::Message as _;
use pprof::{ProfilerGuard, ProfilerGuardBuilder, Report};
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::spawn_blocking;

use super::super::Api;
use super::super::body::{self, Abort, Body};
use super::super::error::Error;
use super::super::live::Client;
use super::super::query::Parameters;
use super::super::request::Request;
use super::debug;

/// Samples in each second of processor time; no round number, so that what recurs is not missed or met each time.
const FREQUENCY: i32 = 99;
/// How long is looked where nobody says.
const SECONDS: u64 = 30;
/// How long may be looked.
const MOST_SECONDS: u64 = 300;

/// Where nothing is noted: a stack is taken apart with locks that these hold.
const NOT_NOTED: [&str; 5] = ["libc.", "libgcc", "ld-linux", "pthread", "vdso"];

/// What a profile is told as.
#[derive(Clone, Copy, Debug)]
enum Format {
    /// As `pprof` reads it.
    Protobuf,
    FlameGraph,
}

/// Why there is no profile.
#[derive(Debug, thiserror::Error)]
enum ProfileError {
    #[error("cannot sample: {0}")]
    Sample(#[from] pprof::Error),
    #[error("cannot draw: {0}")]
    Draw(std::io::Error),
}

/// Answers with a profile of the next seconds.
pub(in super::super) async fn profile(api: Arc<Api>, request: Request) -> Result<Response<Body>, Error> {
    let parameters = Parameters::of(&request, &["seconds", "format"], &[])?;
    let expected = format!("a whole number from 1 to {MOST_SECONDS}");
    let seconds = parameters
        .read("seconds", &expected, |text| text.parse().ok().filter(|seconds| (1..=MOST_SECONDS).contains(seconds)))?;
    let format = parameters.read("format", "pprof or flamegraph", Format::read)?.unwrap_or(Format::Protobuf);
    let only = debug(&api)?.profiling.clone().try_acquire_owned().map_err(|_| {
        Error::new(StatusCode::CONFLICT, "conflict", "a profile is being taken, and there is one at a time")
    })?;
    let internal = |error: &dyn std::fmt::Display| Error::internal(error.to_string());
    let sampling = spawn_blocking(|| Sampling::start(only)).await.map_err(|error| internal(&error))?;
    let sampling = sampling.map_err(|error| internal(&error))?;
    let (pieces, body) = Client::of(&request).answer(());
    api.tasks.spawn(async move {
        let over = tokio::time::sleep(Duration::from_secs(seconds.unwrap_or(SECONDS)));
        tokio::select! {
            () = over => {}
            () = pieces.closed() => return,
        }
        let told = spawn_blocking(move || format.tell(&sampling)).await;
        let piece = told.map_err(|error| error.to_string()).and_then(|told| told.map_err(|error| error.to_string()));
        let piece = piece.map(Frame::data).map_err(|error| {
            tracing::warn!(%error, "a profile came to nothing");
            Abort
        });
        // A client that has left needs no profile.
        let _ = pieces.send(piece).await;
    });
    Ok(body::typed(StatusCode::OK, format.media_type(), body))
}

/// A profile that is being taken, until it is dropped.
struct Sampling {
    guard: ProfilerGuard<'static>,
    _only: OwnedSemaphorePermit,
}

impl Sampling {
    fn start(only: OwnedSemaphorePermit) -> Result<Self, ProfileError> {
        let guard = ProfilerGuardBuilder::default().frequency(FREQUENCY).blocklist(&NOT_NOTED).build()?;
        Ok(Self { guard, _only: only })
    }
}

impl Format {
    fn read(text: &str) -> Option<Self> {
        match text {
            "pprof" => Some(Self::Protobuf),
            "flamegraph" => Some(Self::FlameGraph),
            _ => None,
        }
    }

    fn media_type(self) -> &'static str {
        match self {
            Self::Protobuf => "application/octet-stream",
            Self::FlameGraph => "image/svg+xml",
        }
    }

    /// What was noted so far.
    fn tell(self, sampling: &Sampling) -> Result<Bytes, ProfileError> {
        let report = sampling.guard.report().build()?;
        match self {
            Self::Protobuf => Ok(report.pprof()?.encode_to_vec().into()),
            Self::FlameGraph => draw(&stacks(&report)).map_err(ProfileError::Draw),
        }
    }
}

/// The stacks of a report, outermost first with `;` between, and how often each was met.
fn stacks(report: &Report) -> HashMap<String, isize> {
    let mut stacks = HashMap::new();
    for (noted, count) in &report.data {
        let mut stack = noted.thread_name_or_id();
        for symbol in noted.frames.iter().rev().flat_map(|frame| frame.iter().rev()) {
            stack.push(';');
            stack.push_str(&symbol.name().replace([';', '\n'], ":"));
        }
        *stacks.entry(stack).or_default() += count;
    }
    stacks
}

fn draw(stacks: &HashMap<String, isize>) -> std::io::Result<Bytes> {
    let mut lines: Vec<_> = stacks.iter().map(|(stack, count)| format!("{stack} {count}")).collect();
    lines.sort_unstable();
    let mut options = inferno::flamegraph::Options::default();
    "capstan".clone_into(&mut options.title);
    let mut picture = Vec::new();
    match inferno::flamegraph::from_lines(&mut options, lines.iter().map(String::as_str), &mut picture) {
        // A daemon that has not computed has a picture that says so.
        Err(_) if lines.is_empty() => Ok(picture.into()),
        drawn => drawn.map(|()| picture.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_names_what_was_met() {
        let stacks = HashMap::from([("control;main;<a::B as C>::work".to_owned(), 3), ("guests;main".to_owned(), 1)]);
        let picture = draw(&stacks).unwrap();
        let picture = std::str::from_utf8(&picture).unwrap();
        assert!(
            picture.contains("<svg") && picture.contains("&lt;a::B as C&gt;::work (3 samples, 75.00%)"),
            "{picture}"
        );
    }

    #[test]
    fn a_daemon_that_did_nothing_has_a_picture_too() {
        let picture = draw(&HashMap::new()).unwrap();
        assert!(std::str::from_utf8(&picture).unwrap().contains("<svg"));
    }
}
