//! `GET /debug/jobs/{id}/profile`: what the guest of a job computes, for the Firefox profiler.

use std::sync::Arc;

use bytes::Bytes;
use capstan_core::usage::{Sampler, SamplerError};
use capstan_engine::handler::Kind;
use capstan_engine::job::Job;
use hyper::Response;
use tokio::task::spawn_blocking;

use super::super::Api;
use super::super::body::Body;
use super::super::error::Error;
use super::super::jobs;
use super::super::query::Parameters;
use super::super::request::Request;
use super::capture;

/// Answers with a profile of the next seconds, or of those until the job has ended.
pub(in super::super) async fn profile(api: Arc<Api>, request: Request) -> Result<Response<Body>, Error> {
    let parameters = Parameters::of(&request, &["seconds"], &[])?;
    let seconds = capture::seconds(&parameters)?;
    let job = going(&api, &request)?;
    if job.spec().about.kind == Kind::Native {
        let message = format!("{} is native code: /debug/pprof/profile tells of it", job.name());
        return Err(Error::conflict(job.id(), message));
    }
    let begun = || Error::conflict(job.id(), format!("the run of job {} has not begun, or is over", job.id()));
    let sampler = job.sampler().ok_or_else(begun)?;
    let begin = spawn_blocking(|| Taken::begin(sampler)).await.map_err(|error| Error::internal(error.to_string()))?;
    let taken = begin.map_err(|error| match error {
        SamplerError::AlreadyStarted => Error::conflict(job.id(), error.to_string()),
        SamplerError::NotStarted | SamplerError::Failed(_) => Error::internal(error.to_string()),
    })?;
    let over = async move {
        // It ends with the job where that is sooner.
        let _ = tokio::time::timeout(seconds, job.wait()).await;
    };
    Ok(capture::answer(&api, &request, "application/json", over, move || taken.tell()))
}

/// The job of the path, be it a service, which must not have ended.
fn going(api: &Api, request: &Request) -> Result<Job, Error> {
    let id = request.job()?;
    match api.engine.jobs().into_iter().find(|job| job.id() == id) {
        Some(job) => Ok(job),
        None => jobs::find_going(api, request).map(|(_, job)| job),
    }
}

/// A profile that is being taken. Dropping it ends it.
struct Taken(Option<Arc<dyn Sampler>>);

impl Taken {
    fn begin(sampler: Arc<dyn Sampler>) -> Result<Self, SamplerError> {
        sampler.start()?;
        Ok(Self(Some(sampler)))
    }

    fn tell(mut self) -> Result<Bytes, String> {
        // From here on another may be begun, which is not this one's to end.
        let sampler = self.0.take().expect("it is taken once");
        sampler.finish().map(Bytes::from).map_err(|error| error.to_string())
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        if let Some(sampler) = self.0.take() {
            sampler.cancel();
        }
    }
}
