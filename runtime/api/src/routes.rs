//! `GET /routes`: the routes that handlers claim.

use std::sync::Arc;

use capstan_engine::routes::Route;
use hyper::{Response, StatusCode};
use serde_json::{Value, json};

use super::body::{self, Body};
use super::error::Error;
use super::query::Parameters;
use super::request::Request;
use super::state::ApiState;

/// `GET /routes`: lists the routes, ordered by their handlers.
pub(super) async fn list(state: Arc<ApiState>, request: Request) -> Result<Response<Body>, Error> {
    Parameters::parse(&request, &[], &[])?;
    let table = state.engine.routes();
    let mut routes: Vec<_> = table.all().iter().collect();
    routes.sort_by_key(|route| &route.handler);
    let routes: Vec<_> = routes.into_iter().map(|route| view(route)).collect();
    Ok(body::json(StatusCode::OK, &json!({"routes": routes})))
}

fn view(route: &Route) -> Value {
    let mut view = json!(route.definition);
    view["handler"] = json!(route.handler.as_str());
    view
}
