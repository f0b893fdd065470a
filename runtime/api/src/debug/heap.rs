//! `GET /debug/pprof/heap`: what was allocated in the next seconds and is still held then, and by whom.
//!
//! The allocator notes one allocation in about 512 KiB of them, with its stack. It does so only while a profile is taken, and only
//! where it was built for it.

use std::ffi::c_void;
use std::sync::Arc;

use bytes::Bytes;
use hyper::{Response, StatusCode};
use jemalloc_pprof::{JemallocProfCtl, PROF_CTL, StackProfile};
use tokio::sync::{OwnedMutexGuard, OwnedSemaphorePermit};

use super::super::Api;
use super::super::body::Body;
use super::super::error::Error;
use super::super::query::Parameters;
use super::super::request::Request;
use super::capture::{self, Format};
use super::flamegraph::Stacks;

/// Answers with a profile of the next seconds.
pub(in super::super) async fn heap(api: Arc<Api>, request: Request) -> Result<Response<Body>, Error> {
    let parameters = Parameters::of(&request, &["seconds", "format"], &[])?;
    let (seconds, format) = (capture::seconds(&parameters)?, Format::of(&parameters)?);
    let Some(control) = PROF_CTL.as_ref() else { return Err(not_built_for_it()) };
    let only = capture::only(&api)?;
    let sampling = Sampling::start(control.clone().lock_owned().await, only)?;
    let over = tokio::time::sleep(seconds);
    Ok(capture::answer(&api, &request, format.media_type(), over, move || sampling.tell(format)))
}

fn not_built_for_it() -> Error {
    let message = "the allocator was built without profiles; \
                   build with JEMALLOC_SYS_WITH_MALLOC_CONF=prof:true,prof_active:false";
    Error::new(StatusCode::NOT_IMPLEMENTED, "heap_profile_unavailable", message)
}

/// A profile that is being taken, until it is dropped. What was noted is forgotten then.
struct Sampling {
    control: OwnedMutexGuard<JemallocProfCtl>,
    _only: OwnedSemaphorePermit,
}

impl Sampling {
    fn start(mut control: OwnedMutexGuard<JemallocProfCtl>, only: OwnedSemaphorePermit) -> Result<Self, Error> {
        control.activate().map_err(|error| Error::internal(format!("the allocator notes nothing: {error}")))?;
        Ok(Self { control, _only: only })
    }

    /// What was noted so far.
    fn tell(mut self, format: Format) -> Result<Bytes, String> {
        match format {
            Format::Protobuf => self.control.dump_pprof().map(Bytes::from).map_err(|error| error.to_string()),
            Format::FlameGraph => {
                let profile = self.control.dump_profile().map_err(|error| error.to_string())?;
                stacks(&profile).draw("bytes").map_err(|error| error.to_string())
            }
        }
    }
}

impl Drop for Sampling {
    fn drop(&mut self) {
        if let Err(error) = self.control.deactivate() {
            tracing::warn!(%error, "the allocator goes on noting");
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

/// The functions that the call before `address` stands in, outermost first; compiled guests have no names here.
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
