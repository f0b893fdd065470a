//! Jobs that follow the ends of others.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use capstan_core::outcome::{CancelledBy, Outcome};
use capstan_core::usage::UsageReport;
use capstan_engine::handler::HandlerName;
use capstan_engine::job::JobId;
use capstan_engine::job_store::{
    After, ClaimRequest, Dependency, End, FinishedRun, FollowUps, JobFilter, JobIds, JobRecord, JobStore, NewJob, Now,
    Requirement, State, Then,
};

use crate::work::{LONG, TempData, Work, limits};

const FAILED: Outcome = Outcome::Exited { code: 1 };

/// Each end of a job of `followed` is followed by a job of `follower`.
#[derive(Debug, Default)]
struct Rule(JobIds);

impl FollowUps for Rule {
    fn follow_ups(&self, ended: &JobRecord) -> Vec<NewJob> {
        let end = ended.end.as_ref().expect("it has ended");
        if ended.handler.as_str() != "followed" {
            return Vec::new();
        }
        let mut job = NewJob::new(self.0.create(end.at), HandlerName::new("follower").unwrap());
        job.parent = Some(ended.id);
        job.labels.insert("outcome".into(), end.outcome.kind().into());
        job.stdin = Bytes::from(vec![0; ended.labels.get("bytes").map_or(0, |bytes| bytes.parse().unwrap())]);
        vec![job]
    }
}

pub(crate) fn rule() -> Arc<dyn FollowUps> {
    Arc::new(Rule::default())
}

/// Returns the jobs that follow others, each as the job that it follows and the kind of its outcome.
async fn followed(store: &dyn JobStore) -> Vec<(JobId, String)> {
    let filter = JobFilter { handler: Some("follower".into()), ..JobFilter::default() };
    let page = store.query(filter, None, 100).await.unwrap();
    let jobs = page.jobs.into_iter().rev().map(|details| details.job);
    jobs.map(|job| (job.parent.unwrap(), job.labels["outcome"].clone())).collect()
}

pub(crate) async fn each_end_submits_its_follow_up(work: &Work<'_>) {
    work.run_one("other").await;
    let job = work.run_one("followed").await;
    assert_eq!(followed(work.store).await, [(job, "exited".to_owned())]);
    let follower = work.claim(10).await;
    assert_eq!(follower.len(), 1, "it is queued");
    work.succeed(follower[0].lease).await;
    // A job that runs again ends again.
    work.store.requeue(work.now(), job, None).await.unwrap();
    let lease = work.claim_one().await;
    work.end(lease, FAILED, Then::Dead).await;
    let ended = followed(work.store).await;
    assert_eq!(ended.iter().map(|(of, _)| *of).collect::<Vec<_>>(), [job, job]);
    let run = FinishedRun {
        job: work.new_job("followed"),
        worker: "w".into(),
        started: work.now().wall,
        end: End { outcome: FAILED, error: None, at: work.now().wall },
        usage: UsageReport::default(),
    };
    work.store.record_finished(work.now(), vec![run]).await.unwrap();
    assert_eq!(followed(work.store).await.len(), 3);
}

pub(crate) async fn end_without_a_run_submits_its_follow_up(work: &Work<'_>) {
    let cancelled = work.submit_one("followed").await;
    work.store.cancel(work.now(), cancelled, CancelledBy::Client).await.unwrap();
    let soon = work.now().after(Duration::from_secs(1)).wall;
    let late = work.submit_with("followed", |job| job.start_deadline = Some(soon)).await;
    work.pass(2);
    let first = work.submit_one("other").await;
    let after = |job| After { jobs: vec![Dependency { job, on: Requirement::Success }], ..After::default() };
    let waiting = work.submit_with("followed", |job| job.after = after(first)).await;
    // `first` and follow-ups.
    for claimed in work.claim(10).await {
        work.end(claimed.lease, FAILED, Then::Done).await;
    }
    // Its dependency has failed before it is submitted.
    let refused = work.submit_with("followed", |job| job.after = after(first)).await;
    let expected = [cancelled, late, waiting, refused].map(|job| match job {
        job if job == cancelled => (job, "cancelled".to_owned()),
        job => (job, "refused".to_owned()),
    });
    assert_eq!(followed(work.store).await, expected);
    let running = work.submit_one("followed").await;
    let request = ClaimRequest::new("test", 10, Duration::from_secs(1));
    work.store.claim(work.now(), request).await.unwrap();
    work.pass(2);
    work.store.expire(work.now()).await.unwrap();
    // The default policy runs a lost job again, so it has not ended.
    assert_eq!((work.state(running).await, followed(work.store).await.len()), (State::Retrying, 4));
}

pub(crate) async fn run_that_is_retried_submits_nothing(work: &Work<'_>) {
    let job = work.submit_one("followed").await;
    let lease = work.claim_one().await;
    work.end(lease, FAILED, Then::Retry(work.now().wall)).await;
    assert_eq!(followed(work.store).await, []);
    let lease = work.claim_one().await;
    work.end(lease, Outcome::SUCCESS, Then::Done).await;
    assert_eq!(followed(work.store).await, [(job, "exited".to_owned())]);
}

pub(crate) async fn follow_up_is_no_subject_to_limits_on_sizes(work: &Work<'_>) {
    let bytes = limits().stdin + 1;
    work.submit_with("followed", |job| _ = job.labels.insert("bytes".into(), bytes.to_string())).await;
    let lease = work.claim_one().await;
    work.succeed(lease).await;
    assert_eq!(work.claim(1).await[0].stdin.len() as u64, bytes);
}

#[tokio::test]
async fn run_that_is_lost_with_its_process_submits_its_follow_up() {
    let data = TempData::new();
    let store = data.open(Now::read());
    let work = Work::new(&store);
    let job = work.submit_with("followed", |job| job.plan.retry.lost = 0).await;
    let lost = work.claim(1).await;
    assert_eq!(lost[0].job.id, job);
    drop(store);
    let store = data.open(Now::read());
    assert_eq!(followed(&store).await, [(job, "lost".to_owned())]);
    let claimed = store.claim(Now::read(), ClaimRequest::new("test", 2, LONG)).await.unwrap();
    assert_eq!(claimed.len(), 1, "only the follow-up is queued");
}
