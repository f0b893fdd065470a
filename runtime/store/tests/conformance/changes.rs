//! Cancelling, requeueing and removing jobs.

use capstan_core::outcome::{CancelledBy, Outcome};
use capstan_engine::job_store::{ChangeError, Plan, State, Then};

use crate::work::Work;

const FAILED: Outcome = Outcome::Exited { code: 1 };
const CANCELLED: Outcome = Outcome::Cancelled { by: CancelledBy::Client };

pub(crate) async fn cancel_ends_a_job_that_does_not_run(work: &Work<'_>) {
    let later = work.now().after(std::time::Duration::from_secs(10)).wall;
    let queued = work.submit_one("a").await;
    let scheduled = work.submit_with("a", |job| job.not_before = Some(later)).await;
    for id in [queued, scheduled] {
        assert_eq!(work.store.cancel(work.now(), id, CancelledBy::Client).await, Ok(State::Done));
        assert_eq!(work.job(id).await.end.unwrap().outcome, CANCELLED);
        assert_eq!(work.store.cancel(work.now(), id, CancelledBy::Client).await, Err(ChangeError::Ended(id)));
    }
    work.pass(10);
    assert_eq!(work.claim_all().await, []);
}

pub(crate) async fn cancel_of_a_running_job_is_recorded_and_prevents_retries(work: &Work<'_>) {
    let id = work.submit_one("a").await;
    let lease = work.claim_one().await;
    assert_eq!(work.store.cancel(work.now(), id, CancelledBy::Client).await, Ok(State::Running));
    assert_eq!(work.job(id).await.cancel_requested, Some(CancelledBy::Client));
    assert_eq!(work.end(lease, FAILED, Then::Retry(work.now().wall)).await, State::Done);
    assert_eq!(work.claim_all().await, []);

    // A lost run too: the job ends as its canceller wanted.
    let lost = work.submit_one("a").await;
    work.claim_one().await;
    work.store.cancel(work.now(), lost, CancelledBy::Client).await.unwrap();
    work.pass(crate::work::LONG.as_secs());
    assert_eq!(work.store.expire(work.now()).await.unwrap().len(), 1);
    assert_eq!(work.job(lost).await.end.unwrap().outcome, CANCELLED);
}

pub(crate) async fn requeue_of_a_dead_letter_starts_afresh(work: &Work<'_>) {
    let id = work.submit_one("a").await;
    work.end(work.claim_one().await, FAILED, Then::Dead).await;
    work.store.requeue(work.now(), id, None).await.unwrap();
    let record = work.job(id).await;
    assert_eq!((record.state, record.runs.ended, record.end), (State::Queued, 0, None));
    let lease = work.claim_one().await;
    assert_eq!((lease.job, lease.attempt), (id, 2));
    work.succeed(lease).await;
    assert_eq!(work.store.job(id).await.unwrap().unwrap().attempts.len(), 2);
}

pub(crate) async fn requeue_replaces_the_plan(work: &Work<'_>) {
    let id = work.run_one("a").await;
    let plan = Plan { args: vec!["corrected".into()], ..Plan::default() };
    work.store.requeue(work.now(), id, Some(plan)).await.unwrap();
    assert_eq!(work.claim(1).await[0].job.plan.args, ["corrected"]);
    assert_eq!(work.job(id).await.plan.args, ["corrected"]);
}

pub(crate) async fn remove_refuses_jobs_that_have_not_ended(work: &Work<'_>) {
    let id = work.submit_one("a").await;
    assert_eq!(work.store.remove(id).await, Err(ChangeError::NotEnded(id)));
    assert_eq!(work.store.requeue(work.now(), id, None).await, Err(ChangeError::NotEnded(id)));
    let lease = work.claim_one().await;
    work.print(lease, "text").await;
    assert_eq!(work.store.remove(id).await, Err(ChangeError::NotEnded(id)));
    work.succeed(lease).await;
    work.store.remove(id).await.unwrap();
    assert!(work.store.job(id).await.unwrap().is_none());
    assert_eq!(work.store.read_output(lease, 0, 100).await.unwrap(), None);
}

pub(crate) async fn change_of_an_unknown_job_is_an_error(work: &Work<'_>) {
    let id = work.new_job("a").id;
    let unknown = ChangeError::Unknown(id);
    assert_eq!(work.store.cancel(work.now(), id, CancelledBy::Client).await, Err(unknown.clone()));
    assert_eq!(work.store.requeue(work.now(), id, None).await, Err(unknown.clone()));
    assert_eq!(work.store.remove(id).await, Err(unknown));
    assert!(work.store.job(id).await.unwrap().is_none());
}
