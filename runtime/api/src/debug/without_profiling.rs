//! The routes of profiles in a build without the feature `profiling`.

use std::sync::Arc;

use hyper::{Response, StatusCode};

use super::super::Api;
use super::super::body::Body;
use super::super::error::Error;
use super::super::request::Request;

/// `GET /debug/pprof/heap` is not available in this build.
pub(in super::super) async fn heap(_api: Arc<Api>, _request: Request) -> Result<Response<Body>, Error> {
    Err(unavailable("heap_profile_unavailable"))
}

/// `GET /debug/pprof/profile` is not available in this build.
pub(in super::super) async fn profile(_api: Arc<Api>, _request: Request) -> Result<Response<Body>, Error> {
    Err(unavailable("cpu_profile_unavailable"))
}

fn unavailable(code: &'static str) -> Error {
    let message =
        "this daemon was built without profilers; build it with `--features profiling`, as `./just dist` does";
    Error::new(StatusCode::NOT_IMPLEMENTED, code, message)
}
