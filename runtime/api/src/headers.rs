//! Names and values of headers that several files use.

use capstan_engine::job::JobId;
use hyper::Response;
use hyper::header::{HeaderName, HeaderValue};

/// The header with the id of the job.
pub(super) const JOB: HeaderName = HeaderName::from_static("capstan-job");
/// The header or trailer with the kind of the outcome.
pub(super) const OUTCOME: HeaderName = HeaderName::from_static("capstan-outcome");
/// The header or trailer with the exit code that a shell would see.
pub(super) const EXIT_CODE: HeaderName = HeaderName::from_static("capstan-exit-code");

/// The header with the number of the event after which a stream of events starts.
pub(super) const EVENTS_AFTER: HeaderName = HeaderName::from_static("capstan-events-after");
/// The header or trailer with the reason why a run was not started, percent-encoded.
pub(super) const ERROR: HeaderName = HeaderName::from_static("capstan-error");

/// The value of `Upgrade` for a WebSocket.
pub(super) const WEBSOCKET: &str = "websocket";
/// The one version of the WebSocket protocol that is supported.
pub(super) const WEBSOCKET_VERSION: &str = "13";

/// Returns the id of a job as the value of a header.
pub(super) fn job_id(job: JobId) -> HeaderValue {
    HeaderValue::from_bytes(&job.to_hex()).expect("an id is hexadecimal")
}

/// Sets [`JOB`] of a response.
pub(super) fn set_job<B>(response: &mut Response<B>, job: JobId) {
    response.headers_mut().insert(JOB, job_id(job));
}
