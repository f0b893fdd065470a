//! `GET /debug/pprof/profile`: where the daemon's processor time goes.
//!
//! A timer interrupts whatever thread computes, 99 times in each second of processor time, and what it was in is noted, guests
//! included. One profile is taken at a time.

use std::sync::Arc;

use bytes::Bytes;
use hyper::Response;
use pprof::protos::Message as _;
use pprof::{ProfilerGuard, ProfilerGuardBuilder, Report};
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::spawn_blocking;

use super::super::Api;
use super::super::body::Body;
use super::super::error::Error;
use super::super::query::Parameters;
use super::super::request::Request;
use super::capture::{self, Format};
use super::flamegraph::Stacks;

/// Samples in each second of processor time; no round number, so that what recurs is not missed or met each time.
const FREQUENCY: i32 = 99;

/// Where nothing is noted: a stack is taken apart with locks that these hold.
const NOT_NOTED: [&str; 5] = ["libc.", "libgcc", "ld-linux", "pthread", "vdso"];

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
    let (seconds, format) = (capture::seconds(&parameters)?, Format::of(&parameters)?);
    let only = capture::only(&api)?;
    let internal = |error: &dyn std::fmt::Display| Error::internal(error.to_string());
    let sampling = spawn_blocking(|| Sampling::start(only)).await.map_err(|error| internal(&error))?;
    let sampling = sampling.map_err(|error| internal(&error))?;
    let over = tokio::time::sleep(seconds);
    let tell = move || sampling.tell(format).map_err(|error| error.to_string());
    Ok(capture::answer(&api, &request, format.media_type(), over, tell))
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

    /// What was noted so far.
    fn tell(&self, format: Format) -> Result<Bytes, ProfileError> {
        let report = self.guard.report().build()?;
        match format {
            Format::Protobuf => Ok(report.pprof()?.encode_to_vec().into()),
            Format::FlameGraph => stacks(&report).draw("samples").map_err(ProfileError::Draw),
        }
    }
}

fn stacks(report: &Report) -> Stacks {
    let mut stacks = Stacks::default();
    for (noted, count) in &report.data {
        let symbols = noted.frames.iter().rev().flat_map(|frame| frame.iter().rev());
        let names = std::iter::once(noted.thread_name_or_id()).chain(symbols.map(|symbol| symbol.name()));
        stacks.add(names, u64::try_from(*count).unwrap_or_default());
    }
    stacks
}
