//! `GET /debug/jobs/{id}/profile`: takes a CPU profile of the guest of a job, for the Firefox profiler.

use std::sync::Arc;

use bytes::Bytes;
use capstan_core::usage::{Sampler, SamplerError};
use capstan_engine::handler::Kind;
use capstan_engine::job::Job;
use hyper::Response;
use tokio::task::spawn_blocking;

use super::super::body::Body;
use super::super::error::Error;
use super::super::jobs::lookup;
use super::super::query::Parameters;
use super::super::request::Request;
use super::super::state::ApiState;
use super::capture;

/// Responds with a profile of the requested duration, or of the time until the job ends if that is shorter.
pub(in super::super) async fn profile(state: Arc<ApiState>, request: Request) -> Result<Response<Body>, Error> {
    let parameters = Parameters::parse(&request, &["seconds"], &[])?;
    let duration = capture::parse_duration(&parameters)?;
    let job = find_running(&state, &request).await?;
    if job.spec().handler_info.kind == Kind::Native {
        let message = format!("{} is native code; use /debug/pprof/profile to profile it", job.name());
        return Err(Error::conflict(job.id(), message));
    }
    let not_running = || {
        let message = format!("the run of job {} has not started, or has ended", job.id());
        Error::conflict(job.id(), message)
    };
    let sampler = job.sampler().ok_or_else(not_running)?;
    let started =
        spawn_blocking(|| GuestProfile::start(sampler)).await.map_err(|error| Error::internal(error.to_string()))?;
    let profile = started.map_err(|error| match error {
        SamplerError::AlreadyStarted => Error::conflict(job.id(), error.to_string()),
        SamplerError::NotStarted | SamplerError::Failed(_) => Error::internal(error.to_string()),
    })?;
    let captured = async move {
        // The job may end before the duration is over.
        let _ = tokio::time::timeout(duration, job.wait()).await;
    };
    Ok(capture::respond(&state, &request, "application/json", captured, move || profile.finish()))
}

/// Returns the job in the path, which may be a service, and must not have ended.
async fn find_running(state: &ApiState, request: &Request) -> Result<Job, Error> {
    let id = lookup::job_id(state, request).await?;
    match state.engine.jobs().into_iter().find(|job| job.id() == id) {
        Some(job) => Ok(job),
        None => lookup::find_run(state, request).await,
    }
}

/// A profile that is being taken. Dropping it stops the sampler.
struct GuestProfile(Option<Arc<dyn Sampler>>);

impl GuestProfile {
    fn start(sampler: Arc<dyn Sampler>) -> Result<Self, SamplerError> {
        sampler.start()?;
        Ok(Self(Some(sampler)))
    }

    fn finish(mut self) -> Result<Bytes, String> {
        // Once this profile has ended another may start, which the drop must not stop.
        let sampler = self.0.take().expect("only `finish` takes it, and consumes the profile");
        sampler.finish().map(Bytes::from).map_err(|error| error.to_string())
    }
}

impl Drop for GuestProfile {
    fn drop(&mut self) {
        if let Some(sampler) = self.0.take() {
            sampler.cancel();
        }
    }
}
