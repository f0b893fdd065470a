//! `GET /debug/tasks`: what goes on in the daemon, by name, owner and age, the oldest first.
//!
//! Connections are noted in debug mode only, so that nobody else pays for it; jobs the engine has anyway. Services are jobs.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use hyper::{Response, StatusCode};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::super::Api;
use super::super::body::{self, Body};
use super::super::error::Error;
use super::super::query::Parameters;
use super::super::request::Request;
use super::debug;

/// The connections that are served now; clones are the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Connections(Arc<Mutex<Noted>>);

#[derive(Debug, Default)]
struct Noted {
    /// How many there have been.
    number: u64,
    going: BTreeMap<u64, (String, Instant)>,
}

/// A connection that is noted until this is dropped.
#[derive(Debug)]
pub(in super::super) struct Connection {
    connections: Connections,
    number: u64,
}

impl Connections {
    /// Notes one that came in at `address`.
    pub(super) fn note(&self, address: String) -> Connection {
        let mut noted = self.lock();
        noted.number += 1;
        let number = noted.number;
        noted.going.insert(number, (address, Instant::now()));
        Connection { connections: self.clone(), number }
    }

    fn lock(&self) -> MutexGuard<'_, Noted> {
        self.0.lock().expect("no panic while the lock is held")
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.connections.lock().going.remove(&self.number);
    }
}

/// Answers with what goes on.
pub(in super::super) async fn tasks(api: Arc<Api>, request: Request) -> Result<Response<Body>, Error> {
    Parameters::of(&request, &[], &[])?;
    let mut tasks = Vec::new();
    for (address, since) in debug(&api)?.connections.lock().going.values() {
        let task = json!({"owner": "api", "name": format!("connection at {address}")});
        tasks.push((since.elapsed().as_secs_f64(), task));
    }
    let now = Timestamp::now();
    for job in api.engine.jobs() {
        let age = now.duration_since(job.given().created).as_secs_f64().max(0.0);
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
