//! Jobs that wait for others.

use std::time::Duration;

use capstan_core::outcome::Outcome;
use capstan_engine::job::JobId;
use capstan_engine::job_store::{After, AfterMode, Dependency, Requirement, State, SubmitError, Then};

use crate::work::Work;

const FAILED: Outcome = Outcome::Exited { code: 1 };

async fn submit_after(work: &Work<'_>, mode: AfterMode, jobs: &[(JobId, Requirement)]) -> JobId {
    let jobs = jobs.iter().map(|(job, on)| Dependency { job: *job, on: on.clone() }).collect();
    work.submit_with("after", |job| job.after = After { jobs, mode }).await
}

/// Runs the next queued job, which must be `job`.
async fn run(work: &Work<'_>, job: JobId, outcome: Outcome) {
    let lease = work.claim_one().await;
    assert_eq!(lease.job, job);
    work.end(lease, outcome, Then::Done).await;
}

pub(crate) async fn job_waits_for_all_dependencies(work: &Work<'_>) {
    let (first, second) = (work.submit_one("a").await, work.submit_one("a").await);
    let last =
        submit_after(work, AfterMode::All, &[(first, Requirement::Success), (second, Requirement::Failure)]).await;
    assert_eq!(work.state(last).await, State::Waiting);
    run(work, first, Outcome::SUCCESS).await;
    assert_eq!(work.state(last).await, State::Waiting);
    run(work, second, FAILED).await;
    assert_eq!(work.state(last).await, State::Queued);
    run(work, last, Outcome::SUCCESS).await;
}

pub(crate) async fn job_that_waits_for_any_runs_after_the_first(work: &Work<'_>) {
    let (first, second) = (work.submit_one("a").await, work.submit_one("a").await);
    let timed_out = Requirement::Outcome(vec!["timed_out".into()]);
    let any = submit_after(work, AfterMode::Any, &[(first, timed_out), (second, Requirement::Success)]).await;
    run(work, first, FAILED).await;
    assert_eq!(work.state(any).await, State::Waiting);
    run(work, second, Outcome::SUCCESS).await;
    run(work, any, Outcome::SUCCESS).await;
}

pub(crate) async fn job_whose_dependency_failed_is_refused_and_so_are_its_dependants(work: &Work<'_>) {
    let first = work.submit_one("a").await;
    let second = submit_after(work, AfterMode::All, &[(first, Requirement::Success)]).await;
    let third = submit_after(work, AfterMode::All, &[(second, Requirement::Success)]).await;
    let cleanup = submit_after(work, AfterMode::All, &[(third, Requirement::End)]).await;
    run(work, first, FAILED).await;
    for id in [second, third] {
        let outcome = work.job(id).await.end.unwrap().outcome;
        assert!(matches!(outcome, Outcome::Refused { why } if why.contains("waited for")));
    }
    run(work, cleanup, Outcome::SUCCESS).await;
}

pub(crate) async fn unknown_dependency_is_an_error(work: &Work<'_>) {
    let unknown = work.new_job("a").id;
    let dependency = |job| Dependency { job, on: Requirement::Success };
    let mut job = work.new_job("a");
    job.after.jobs.push(dependency(unknown));
    // A job cannot wait for itself, nor for a later one, so there are no cycles.
    let mut own = work.new_job("a");
    own.after.jobs.push(dependency(own.id));
    let itself = own.id;
    let results = work.store.submit(work.now(), vec![job, own]).await.unwrap();
    assert_eq!(results, [Err(SubmitError::UnknownDependency(unknown)), Err(SubmitError::UnknownDependency(itself))]);
    // Within a batch, a job can wait for an earlier one.
    let first = work.new_job("a");
    let mut second = work.new_job("a");
    second.after.jobs.push(dependency(first.id));
    let results = work.store.submit(work.now(), vec![first, second]).await.unwrap();
    assert_eq!(results[1].as_ref().unwrap().state, State::Waiting);
}

pub(crate) async fn dependency_that_has_ended_counts(work: &Work<'_>) {
    let ended = work.run_one("a").await;
    let ready = submit_after(work, AfterMode::All, &[(ended, Requirement::Success)]).await;
    assert_eq!(work.state(ready).await, State::Queued);
    let refused = submit_after(work, AfterMode::All, &[(ended, Requirement::Failure)]).await;
    assert!(matches!(work.job(refused).await.end.unwrap().outcome, Outcome::Refused { .. }));
}

pub(crate) async fn removed_dependency_still_counts(work: &Work<'_>) {
    let (first, second) = (work.submit_one("a").await, work.submit_one("a").await);
    let last = submit_after(work, AfterMode::All, &[(first, Requirement::Success), (second, Requirement::End)]).await;
    run(work, first, Outcome::SUCCESS).await;
    work.store.remove(first).await.unwrap();
    run(work, second, FAILED).await;
    run(work, last, Outcome::SUCCESS).await;
}

pub(crate) async fn waiting_job_keeps_its_not_before(work: &Work<'_>) {
    let first = work.submit_one("a").await;
    let due = work.now().after(Duration::from_secs(10)).wall;
    let last = work
        .submit_with("after", |job| {
            job.not_before = Some(due);
            job.after.jobs.push(Dependency { job: first, on: Requirement::Success });
        })
        .await;
    run(work, first, Outcome::SUCCESS).await;
    assert_eq!((work.state(last).await, work.job(last).await.due), (State::Scheduled, Some(due)));
    work.pass(10);
    run(work, last, Outcome::SUCCESS).await;
}
