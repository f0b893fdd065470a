//! `GET /metrics`.

use std::sync::Arc;

use hyper::Response;

use super::body::Body;
use super::error::Error;
use super::request::Request;
use super::state::ApiState;
use super::system::run_builtin;

/// The format of the page.
const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// `GET /metrics`: returns the output of the builtin `metrics`.
pub(super) async fn metrics(state: Arc<ApiState>, _request: Request) -> Result<Response<Body>, Error> {
    run_builtin(&state, "metrics", MEDIA_TYPE).await
}
