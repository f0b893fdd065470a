//! `GET /debug/pprof/heap`: takes a heap profile, which shows the memory that was allocated and is still in use at the end, by stack.
//!
//! The allocator samples one allocation in about 512 KiB, with its stack. It does so only while a profile is taken, and only if it was
//! built with profiling.

use std::ffi::c_void;
use std::sync::Arc;

use bytes::Bytes;
use hyper::{Response, StatusCode};
use jemalloc_pprof::{JemallocProfCtl, PROF_CTL, StackProfile};
use tokio::sync::{OwnedMutexGuard, OwnedSemaphorePermit};

use super::super::body::Body;
use super::super::error::Error;
use super::super::query::Parameters;
use super::super::request::Request;
use super::super::state::ApiState;
use super::capture;
use super::flamegraph::Stacks;
use super::profiler::{self, Format};

/// Responds with a profile of the requested duration.
pub(in super::super) async fn heap(state: Arc<ApiState>, request: Request) -> Result<Response<Body>, Error> {
    let parameters = Parameters::parse(&request, &["seconds", "format"], &[])?;
    let (duration, format) = (capture::parse_duration(&parameters)?, Format::parse(&parameters)?);
    let Some(control) = PROF_CTL.as_ref() else { return Err(unavailable()) };
    let permit = profiler::acquire_profiler(&state)?;
    let profile = HeapProfile::start(control.clone().lock_owned().await, permit)?;
    let captured = tokio::time::sleep(duration);
    Ok(capture::respond(&state, &request, format.media_type(), captured, move || profile.finish(format)))
}

fn unavailable() -> Error {
    let message = "the allocator of this daemon was built without profiling; \
                   build it with JEMALLOC_SYS_WITH_MALLOC_CONF=prof:true,prof_active:false";
    Error::new(StatusCode::NOT_IMPLEMENTED, "heap_profile_unavailable", message)
}

/// A profile that is being taken. Dropping it stops the sampling and discards the samples.
struct HeapProfile {
    control: OwnedMutexGuard<JemallocProfCtl>,
    _permit: OwnedSemaphorePermit,
}

impl HeapProfile {
    fn start(mut control: OwnedMutexGuard<JemallocProfCtl>, permit: OwnedSemaphorePermit) -> Result<Self, Error> {
        control.activate().map_err(|error| Error::internal(format!("cannot start the heap profile: {error}")))?;
        Ok(Self { control, _permit: permit })
    }

    /// Returns the samples so far.
    fn finish(mut self, format: Format) -> Result<Bytes, String> {
        match format {
            Format::Protobuf => self.control.dump_pprof().map(Bytes::from).map_err(|error| error.to_string()),
            Format::FlameGraph => {
                let profile = self.control.dump_profile().map_err(|error| error.to_string())?;
                stacks(&profile).draw("bytes").map_err(|error| error.to_string())
            }
        }
    }
}

impl Drop for HeapProfile {
    fn drop(&mut self) {
        if let Err(error) = self.control.deactivate() {
            tracing::warn!(%error, "cannot stop the heap profile, so the allocator continues to sample");
        }
    }
}

fn stacks(profile: &StackProfile) -> Stacks {
    let mut stacks = Stacks::default();
    for (stack, _) in profile.iter() {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bytes, estimated as a float")]
        let weight = stack.weight as u64;
        stacks.add(stack.addrs.iter().flat_map(|address| names(*address)), weight);
    }
    stacks
}

/// Returns the names of the functions at the call before `address`, outermost first. The code of guests has no names here.
fn names(address: usize) -> Vec<String> {
    let mut names = Vec::new();
    backtrace::resolve((address - 1) as *mut c_void, |symbol| {
        names.extend(symbol.name().map(|name| format!("{name:#}")));
    });
    if names.is_empty() {
        names.push("no name".to_owned());
    }
    names.reverse();
    names
}
