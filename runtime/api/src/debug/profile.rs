//! `GET /debug/pprof/profile`: takes a CPU profile of the daemon, guests included.
//!
//! A timer interrupts the running thread 99 times in each second of CPU time, and records its stack. A daemon takes one profile at a time.

use std::sync::Arc;

use bytes::Bytes;
use hyper::Response;
use pprof::protos::Message as _;
use pprof::{ProfilerGuard, ProfilerGuardBuilder, Report};
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::spawn_blocking;

use super::super::body::Body;
use super::super::error::Error;
use super::super::query::Parameters;
use super::super::request::Request;
use super::super::state::ApiState;
use super::capture;
use super::flamegraph::Stacks;
use super::profiler::{self, Format};

/// Samples in each second of CPU time. Not a round number, so that periodic work is neither always missed nor always hit.
const FREQUENCY: i32 = 99;

/// Libraries in which no sample is taken: they may hold locks that unwinding a stack needs.
const EXCLUDED_LIBRARIES: [&str; 5] = ["libc.", "libgcc", "ld-linux", "pthread", "vdso"];

/// Why a profile fails.
#[derive(Debug, thiserror::Error)]
enum ProfileError {
    #[error("cannot take the profile: {0}")]
    Sample(#[from] pprof::Error),
    #[error("cannot draw the flame graph: {0}")]
    Draw(std::io::Error),
}

/// Responds with a profile of the requested duration.
pub(in super::super) async fn profile(state: Arc<ApiState>, request: Request) -> Result<Response<Body>, Error> {
    let parameters = Parameters::parse(&request, &["seconds", "format"], &[])?;
    let (duration, format) = (capture::parse_duration(&parameters)?, Format::parse(&parameters)?);
    let permit = profiler::acquire_profiler(&state)?;
    let internal = |error: &dyn std::fmt::Display| Error::internal(error.to_string());
    let started = spawn_blocking(|| CpuProfile::start(permit)).await.map_err(|error| internal(&error))?;
    let profile = started.map_err(|error| internal(&error))?;
    let captured = tokio::time::sleep(duration);
    let finish = move || profile.finish(format).map_err(|error| error.to_string());
    Ok(capture::respond(&state, &request, format.media_type(), captured, finish))
}

/// A profile that is being taken. Dropping it stops the sampling.
struct CpuProfile {
    guard: ProfilerGuard<'static>,
    _permit: OwnedSemaphorePermit,
}

impl CpuProfile {
    fn start(permit: OwnedSemaphorePermit) -> Result<Self, ProfileError> {
        let guard = ProfilerGuardBuilder::default().frequency(FREQUENCY).blocklist(&EXCLUDED_LIBRARIES).build()?;
        Ok(Self { guard, _permit: permit })
    }

    /// Returns the samples so far.
    fn finish(&self, format: Format) -> Result<Bytes, ProfileError> {
        let report = self.guard.report().build()?;
        match format {
            Format::Protobuf => Ok(report.pprof()?.encode_to_vec().into()),
            Format::FlameGraph => stacks(&report).draw("samples").map_err(ProfileError::Draw),
        }
    }
}

fn stacks(report: &Report) -> Stacks {
    let mut stacks = Stacks::default();
    for (sample, count) in &report.data {
        let symbols = sample.frames.iter().rev().flat_map(|frame| frame.iter().rev());
        let names = std::iter::once(sample.thread_name_or_id()).chain(symbols.map(|symbol| symbol.name()));
        stacks.add(names, u64::try_from(*count).unwrap_or_default());
    }
    stacks
}
