//! `GET /debug/tasks`: lists the tasks of the daemon with name, owner and age, the oldest first. Services are listed as jobs.

use std::sync::Arc;

use hyper::{Response, StatusCode};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::super::body::{self, Body};
use super::super::error::Error;
use super::super::query::Parameters;
use super::super::request::Request;
use super::super::state::ApiState;

/// Responds with the list.
pub(in super::super) async fn tasks(state: Arc<ApiState>, request: Request) -> Result<Response<Body>, Error> {
    Parameters::parse(&request, &[], &[])?;
    let mut tasks = Vec::new();
    for task in state.tasks.running() {
        let view = json!({"owner": task.owner, "name": task.name});
        tasks.push((task.since.elapsed().as_secs_f64(), view));
    }
    let now = Timestamp::now();
    for job in state.engine.jobs() {
        let age = now.duration_since(job.spec().created).as_secs_f64().max(0.0);
        let view = json!({"owner": "engine", "name": job.name(), "job": job.id(), "state": job.state().token()});
        tasks.push((age, view));
    }
    tasks.sort_by(|(one, _), (other, _)| other.total_cmp(one));
    let views = tasks.into_iter().map(|(age, mut task)| {
        task["age_seconds"] = json!(age);
        task
    });
    Ok(body::json(StatusCode::OK, &json!({"tasks": views.collect::<Vec<Value>>()})))
}
