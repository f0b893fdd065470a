//! The routes of profiles of the daemon in a build without the feature `profiling`.

use std::sync::Arc;

use hyper::{Response, StatusCode};

use super::super::body::Body;
use super::super::error::Error;
use super::super::request::Request;
use super::super::state::ApiState;

/// `GET /debug/pprof/heap`: rejects the request, because this build cannot take the profile.
pub(in super::super) async fn heap(_state: Arc<ApiState>, _request: Request) -> Result<Response<Body>, Error> {
    Err(unavailable("heap_profile_unavailable"))
}

/// `GET /debug/pprof/profile`: rejects the request, because this build cannot take the profile.
pub(in super::super) async fn profile(_state: Arc<ApiState>, _request: Request) -> Result<Response<Body>, Error> {
    Err(unavailable("cpu_profile_unavailable"))
}

fn unavailable(code: &'static str) -> Error {
    let message =
        "this daemon was built without profilers; build it with `--features profiling`, as `./just dist` does";
    Error::new(StatusCode::NOT_IMPLEMENTED, code, message)
}
