//! Opening a store again.

use capstan_core::outcome::Outcome;
use capstan_engine::job_store::{AttemptError, JobStore as _, Now, State, Then};
use capstan_store::jobs::{SqliteJobStore, SqliteOptions, check, vacuum};

use crate::filled::{Filled, claim, finish};

#[tokio::test]
async fn second_process_is_refused() {
    let filled = Filled::new();
    let store = filled.open();
    for error in
        [filled.try_open().unwrap_err().to_string(), vacuum(&filled.data, Now::read()).await.unwrap_err().to_string()]
    {
        assert!(error.contains("another process has it open"), "{error}");
    }
    drop(store);
    filled.open();
}

#[tokio::test]
async fn run_of_an_earlier_process_is_lost_and_retried_whatever_the_clock_says() {
    let filled = Filled::new();
    let store = filled.open();
    let ids = filled.fill(&store, 1, 10).await;
    store.requeue(Now::read(), ids[0], None).await.unwrap();
    let lease = claim(&store).await.unwrap().lease;
    drop(store);
    let (store, report) = filled.try_open().unwrap();
    assert_eq!(report.lost_attempts, 1);
    let details = store.job(ids[0]).await.unwrap().unwrap();
    assert_eq!(details.job.state, State::Retrying);
    assert_eq!(details.attempts[1].end.as_ref().unwrap().outcome, Outcome::Lost);
    // The lease of the earlier process is worth nothing.
    let end = capstan_engine::job_store::End { outcome: Outcome::SUCCESS, error: None, at: Now::read().wall };
    let late = capstan_engine::job_store::Finish { lease, end, usage: Default::default(), then: Then::Done };
    assert!(matches!(store.finish(Now::read(), late).await, Err(AttemptError::Stale { .. })));
    assert_eq!(filled_again(&filled, store).await, 0);
}

async fn filled_again(filled: &Filled, store: SqliteJobStore) -> u64 {
    drop(store);
    filled.try_open().unwrap().1.lost_attempts
}

/// A job that ends the daemon each time it runs does not do so for ever.
#[tokio::test]
async fn job_that_is_lost_too_often_becomes_a_dead_letter() {
    let filled = Filled::new();
    let mut store = filled.open();
    let ids = filled.fill(&store, 1, 10).await;
    store.requeue(Now::read(), ids[0], None).await.unwrap();
    let later = |rounds: u64| Now::read().after(std::time::Duration::from_secs(1000 * rounds));
    for round in 1..=4 {
        let lease = std::time::Duration::from_secs(60);
        let request = capstan_engine::job_store::ClaimRequest::new("test", 1, lease);
        assert_eq!(store.claim(later(round), request).await.unwrap().len(), 1);
        drop(store);
        store = filled.open();
    }
    assert_eq!(store.job(ids[0]).await.unwrap().unwrap().job.state, State::Dead);
    store.requeue(Now::read(), ids[0], None).await.unwrap();
    let lease = claim(&store).await.unwrap().lease;
    finish(&store, lease, Then::Done).await;
}

/// `/sys` is a file system in which nobody can create a file, whoever runs the test.
#[tokio::test]
async fn directory_that_cannot_be_written_is_refused_with_what_to_check() {
    let data = cap_std::fs::Dir::open_ambient_dir("/sys", cap_std::ambient_authority()).unwrap();
    let error = SqliteJobStore::open(&data, SqliteOptions::default(), Now::read()).unwrap_err().to_string();
    assert!(error.contains("cannot be written; check its owner"), "{error}");
}

#[tokio::test]
async fn check_of_a_store_in_use_reads_all_of_it() {
    let filled = Filled::new();
    let store = filled.open();
    filled.fill(&store, 10, 30_000).await;
    for report in [store.check().await.unwrap(), check(&filled.data).unwrap()] {
        assert_eq!((report.jobs, report.attempts, report.chunks), (10, 10, 5));
        assert_eq!((report.version, report.problems, report.more_problems), (Some(2), vec![], 0));
    }
}
