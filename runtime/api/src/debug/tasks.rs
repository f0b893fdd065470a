//! `GET /debug/tasks`: what goes on in the daemon, by name, owner and age, the oldest first. Services are jobs.

use std::sync::Arc;

use hyper::{Response, StatusCode};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::super::Api;
use super::super::body::{self, Body};
use super::super::error::Error;
use super::super::query::Parameters;
use super::super::request::Request;

/// Answers with what goes on.
pub(in super::super) async fn tasks(api: Arc<Api>, request: Request) -> Result<Response<Body>, Error> {
    Parameters::of(&request, &[], &[])?;
    let mut tasks = Vec::new();
    for task in api.tasks.running() {
        let told = json!({"owner": task.owner, "name": task.name});
        tasks.push((task.since.elapsed().as_secs_f64(), told));
    }
    let now = Timestamp::now();
    for job in api.engine.jobs() {
        let age = now.duration_since(job.spec().created).as_secs_f64().max(0.0);
        tasks
            .push((age, json!({"owner": "engine", "name": job.name(), "job": job.id(), "state": job.state().token()})));
    }
    tasks.sort_by(|(one, _), (other, _)| other.total_cmp(one));
    let told = tasks.into_iter().map(|(age, mut task)| {
        task["age_seconds"] = json!(age);
        task
    });
    Ok(body::json(StatusCode::OK, &json!({"tasks": told.collect::<Vec<Value>>()})))
}
