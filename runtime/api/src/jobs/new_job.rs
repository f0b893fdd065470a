//! Turns a request into jobs for the queue.

use std::collections::BTreeMap;

use capstan_core::caller::Caller;
use capstan_core::env::Env;
use capstan_engine::job::{Job, JobOptions};
use capstan_engine::job_store::{After, ArrayIndex, Dependency, NewJob, Now, Plan, Requirement, SubmitKey};
use capstan_engine::queue::Queue;
use capstan_engine::schedule::{RESERVED_LABELS, is_label_name};
use hyper::StatusCode;

use super::super::error::Error;
use super::super::run::reject_service;
use super::super::state::ApiState;
use super::request::{JobRequest, QueueRequest, StdinSource};

/// The most jobs of an array.
const MAX_COUNT: u32 = 10_000;
/// The variables that tell a job of an array its place.
const INDEX: &str = "CAPSTAN_ARRAY_INDEX";
const COUNT: &str = "CAPSTAN_ARRAY_COUNT";

/// Returns the jobs that `request` submits: one, or those of an array.
///
/// # Errors
/// [`Error`]: whatever keeps the job from running that is known now.
pub(in super::super) fn new_jobs(
    state: &ApiState,
    queue: &Queue,
    request: JobRequest,
    caller: &Caller,
) -> Result<Vec<NewJob>, Error> {
    let now = Now::read();
    check_labels(&request.queue.labels)?;
    let options = JobOptions {
        policy: request.policy.clone(),
        caller: Some(caller.clone()),
        concurrency_key: request.concurrency_key.clone(),
        ..JobOptions::default()
    };
    let model = build_model(state, &request.line.handler, &request.line.args, &request.line.env, options)?;
    let JobRequest { line, stdin, policy, key, concurrency_key, is_durable: _, queue: requested } = request;
    let StdinSource::Inline(stdin) = stdin else { unreachable!("a job with a later stdin is not durable") };
    let (not_before, start_deadline) = (
        requested.not_before.map(|when| when.after(now.wall)),
        requested.start_deadline.map(|when| when.after(now.wall)),
    );
    if start_deadline.is_some_and(|deadline| deadline <= not_before.unwrap_or(now.wall)) {
        return Err(Error::bad_request("start_deadline must be later than now and than not_before"));
    }
    let after = with_inputs(&requested);
    let retry = match requested.retry {
        Some(retry) => retry.check().map(|()| retry).map_err(|error| Error::bad_request(error.to_string()))?,
        None => model.resolved().handler().retry().cloned().unwrap_or_default(),
    };
    let plan = Plan {
        args: line.args,
        env: line.env,
        policy,
        retry,
        stdin_from: requested.stdin_from,
        env_from: requested.env_from,
        caller: Some(caller.clone()),
        digest: model.resolved().info().digest.clone(),
    };
    let first = NewJob {
        id: queue.new_id(),
        handler: model.spec().handler.clone(),
        plan,
        stdin,
        labels: requested.labels,
        concurrency_key,
        priority: requested.priority,
        not_before,
        start_deadline,
        key: key.map(|key| SubmitKey {
            text: key.text,
            digest: key.request_digest.unwrap_or_default(),
            expires: now.after(queue.config().key_lifetime).wall,
        }),
        array: None,
        parent: None,
        after,
        queue_limit: Some(queue.config().length),
    };
    match requested.count {
        None => Ok(vec![first]),
        Some(count) => array(queue, &first, count),
    }
}

/// Returns `count` jobs like `first`, which differ in their index.
fn array(queue: &Queue, first: &NewJob, count: u32) -> Result<Vec<NewJob>, Error> {
    if !(1..=MAX_COUNT).contains(&count) {
        return Err(Error::bad_request(format!("count is {count}, and an array has 1 to {MAX_COUNT} jobs")));
    }
    let job = |index: u32| {
        let mut job = first.clone();
        if index > 0 {
            job.id = queue.new_id();
            job.key = job.key.map(|key| SubmitKey { text: format!("{}#{index}", key.text), ..key });
        }
        job.array = Some(ArrayIndex { array: first.id, index });
        for (name, value) in [(INDEX, index), (COUNT, count)] {
            let set = job.plan.env.set(name, value.to_string());
            set.map_err(|error| Error::internal(error.to_string()))?;
        }
        Ok(job)
    };
    (0..count).map(job).collect()
}

/// Builds a job as it would run now. Dropped, it has shown that its handler, policy and arguments are right before it is queued.
///
/// # Errors
/// [`Error`]: whatever keeps the job from running that is known now.
pub(in super::super) fn build_model(
    state: &ApiState,
    handler: &str,
    args: &[String],
    env: &Env,
    options: JobOptions,
) -> Result<Job, Error> {
    let builder = state.engine.job(handler)?.args(args.iter().cloned());
    let model = builder.env(env).options(options).build()?;
    reject_service(&model)?;
    Ok(model)
}

/// Checks the names of labels.
///
/// # Errors
/// [`Error`], 400, for the first one that is reserved or no name.
pub(in super::super) fn check_labels(labels: &BTreeMap<String, String>) -> Result<(), Error> {
    match labels.keys().find(|name| !is_label_name(name) || name.starts_with(RESERVED_LABELS)) {
        Some(name) if name.starts_with(RESERVED_LABELS) => {
            Err(Error::bad_request(format!("the label {name:?} is reserved: labels that start with {RESERVED_LABELS}")))
        }
        Some(name) => {
            let name: String = name.chars().take(80).collect();
            let message = format!("the label {name:?} is no name: use 1 to 63 letters, digits and . _ - /");
            Err(Error::bad_request(message))
        }
        None => Ok(()),
    }
}

/// Returns the dependencies of the request, and those whose output the job gets.
fn with_inputs(requested: &QueueRequest) -> After {
    let mut after = requested.after.clone();
    for job in requested.stdin_from.iter().chain(requested.env_from.values()) {
        if !after.jobs.iter().any(|dependency| dependency.job == *job) {
            after.jobs.push(Dependency { job: *job, on: Requirement::Success });
        }
    }
    after
}

/// Returns the error for queue options of a job that is not durable.
///
/// # Errors
/// [`Error`], 400.
pub(super) fn reject_queue_options(requested: &QueueRequest) -> Result<(), Error> {
    if *requested == QueueRequest::default() {
        return Ok(());
    }
    let message = "a job that is not durable cannot have retry, priority, labels, not_before, start_deadline, after, count or \
                   *_from; leave them out, or submit it without durable=false and stdin_later";
    Err(Error::new(StatusCode::BAD_REQUEST, "not_durable", message))
}
