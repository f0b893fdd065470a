use capstan_core::outcome::{CancelledBy, Outcome};
use capstan_core::policy::Ceiling;
use tokio::io::AsyncWriteExt as _;

use super::*;
use crate::engine::{Config, Engine};
use crate::handler::{Call, Native};
use crate::job::{JobOptions, JobState, StartError};
use crate::output_log::Next;

/// Returns an engine with the handlers `exits` (with 0), `prints` (its first argument) and `waits` (until it is stopped).
fn engine(limits: HistoryLimits) -> (Engine, Arc<MemoryHistory>) {
    let history = Arc::new(MemoryHistory::new(limits));
    let config = Config { ceiling: Ceiling::default(), runs: 64, queue: 8 };
    let engine = Engine::with_history(config, history.clone());
    engine.register("exits", Native::work("exits", |_| async { Outcome::SUCCESS })).unwrap();
    engine.register("waits", Native::work("waits", |call: Call| async move { call.stop.requested().await })).unwrap();
    let prints = |mut call: Call| async move {
        call.stdout.write_all(call.args[0].as_bytes()).await.unwrap();
        Outcome::SUCCESS
    };
    engine.register("prints", Native::work("prints", prints)).unwrap();
    (engine, history)
}

fn started(engine: &Engine, handler: &str) -> Job {
    let job = engine.job(handler).unwrap().logged().build().unwrap();
    job.start().unwrap();
    job
}

async fn ended(engine: &Engine, handler: &str, args: &[&str]) -> JobId {
    let job = engine.job(handler).unwrap().args(args.iter().copied()).logged().build().unwrap();
    job.start().unwrap();
    job.wait().await;
    job.id()
}

fn ids(page: &Page) -> Vec<JobId> {
    page.records.iter().map(|record| record.spec.id).collect()
}

#[tokio::test]
async fn job_is_recorded_from_start_to_beyond_end() {
    let (engine, history) = engine(HistoryLimits::default());
    let job = started(&engine, "waits");
    let record = history.find(job.id()).unwrap();
    assert!(matches!(record.state(), JobState::Running) && record.started().is_some() && record.job().is_some());
    job.cancel(CancelledBy::Client);
    let end = job.wait().await;
    engine.wait_until_idle().await;
    let record = history.find(job.id()).unwrap();
    assert_eq!(record.state(), JobState::Done(end));
    assert!(record.job().is_none(), "the record of an ended job holds the job and its handler");
    assert!(record.started() >= Some(record.spec.created));
}

#[tokio::test]
async fn first_job_to_end_is_dropped_first() {
    let (engine, history) = engine(HistoryLimits { jobs: 3, ..HistoryLimits::default() });
    let running = started(&engine, "waits");
    let mut done = Vec::new();
    for _ in 0..5 {
        done.push(ended(&engine, "exits", &[]).await);
    }
    let mut expected = vec![running.id()];
    expected.extend(&done[2..]);
    expected.reverse();
    assert_eq!(ids(&history.list(&Filter::default(), None, 10)), expected);
    assert!(history.find(done[0]).is_none() && history.find(running.id()).is_some());
    running.cancel(CancelledBy::Client);
    running.wait().await;
    engine.wait_until_idle().await;
    assert!(history.find(done[2]).is_none() && history.find(running.id()).is_some());
}

#[tokio::test]
async fn output_and_arguments_share_one_limit() {
    let (engine, history) = engine(HistoryLimits { jobs: 1000, bytes: 200_000 });
    let text = "x".repeat(10_000);
    for _ in 0..100 {
        ended(&engine, "prints", &[&text]).await;
    }
    assert!(history.budget.used() <= 200_000, "{} bytes are stored", history.budget.used());
    let stored = history.list(&Filter::default(), None, 1000).records.len();
    assert!((5..20).contains(&stored), "{stored} jobs are stored");
}

#[tokio::test]
async fn records_stay_bounded_after_a_hundred_thousand_jobs() {
    let (engine, history) = engine(HistoryLimits::default());
    let mut last = None;
    for number in 0..100_000 {
        let key = Some(IdempotencyKey { text: number.to_string(), request_digest: None });
        let options = JobOptions { key, ..JobOptions::default() };
        let job = engine.job("exits").unwrap().options(options).logged().build().unwrap();
        job.start().unwrap();
        last = Some(job.id());
    }
    engine.wait_until_idle().await;
    let records = history.lock();
    assert_eq!((records.by_id.len(), records.keys.len(), records.ended.len()), (1000, 1000, 1000));
    assert!(records.by_id.contains_key(&last.unwrap()));
    assert!(history.budget.used() < 2 << 20, "{} bytes are stored", history.budget.used());
}

#[tokio::test]
async fn remove_deletes_all_data_of_ended_jobs_only() {
    let (engine, history) = engine(HistoryLimits::default());
    let running = started(&engine, "waits");
    assert_eq!(history.remove(running.id()), Err(RemoveError::NotEnded(running.id())));
    running.cancel(CancelledBy::Client);
    running.wait().await;
    // A client may remove the record as soon as it sees the end.
    assert_eq!(history.remove(running.id()), Ok(()));
    assert_eq!(history.remove(running.id()), Err(RemoveError::Unknown(running.id())));
    for _ in 0..10 {
        let id = ended(&engine, "prints", &["hello"]).await;
        history.remove(id).unwrap();
    }
    engine.wait_until_idle().await;
    drop(running);
    let records = history.lock();
    assert_eq!((records.by_id.len(), records.ended.len()), (0, 0));
    assert_eq!(history.budget.used(), 0);
}

#[tokio::test]
async fn pages_join_without_loss_or_repeat() {
    let (engine, history) = engine(HistoryLimits::default());
    let mut all = Vec::new();
    for _ in 0..10 {
        all.push(ended(&engine, "exits", &[]).await);
        ended(&engine, "prints", &["x"]).await;
    }
    all.reverse();
    let filter = Filter { handler: Some("exits".into()), ..Filter::default() };
    for limit in [1, 3, 5, 10, 11] {
        let (mut listed, mut before) = (Vec::new(), None);
        loop {
            let page = history.list(&filter, before, limit);
            assert!(page.records.len() <= limit);
            listed.extend(ids(&page));
            // Jobs that are started between two pages are not on them.
            ended(&engine, "prints", &["x"]).await;
            before = page.next;
            if before.is_none() {
                break;
            }
        }
        assert_eq!(listed, all, "{limit}");
    }
}

#[tokio::test]
async fn filter_matches_handler_state_outcome_and_time() {
    let (engine, history) = engine(HistoryLimits::default());
    let done = ended(&engine, "exits", &[]).await;
    let running = started(&engine, "waits");
    let list = |filter: Filter| ids(&history.list(&filter, None, 10));
    assert_eq!(list(Filter { states: vec!["running"], ..Filter::default() }), [running.id()]);
    assert_eq!(list(Filter { states: vec!["done"], ..Filter::default() }), [done]);
    assert_eq!(list(Filter { outcome: Some("exited".into()), ..Filter::default() }), [done]);
    assert_eq!(list(Filter { outcome: Some("trapped".into()), ..Filter::default() }), []);
    assert_eq!(list(Filter { handler: Some("waits".into()), ..Filter::default() }), [running.id()]);
    let later = history.find(running.id()).unwrap().spec.created;
    assert_eq!(list(Filter { since: Some(later), ..Filter::default() }), [running.id()]);
    assert_eq!(list(Filter { since: Some(jiff::Timestamp::MAX), ..Filter::default() }), []);
    running.cancel(CancelledBy::Client);
}

#[tokio::test]
async fn key_makes_one_job_while_it_is_recorded() {
    let (engine, history) = engine(HistoryLimits { jobs: 2, ..HistoryLimits::default() });
    let submit = |request_digest: Option<[u8; 32]>| {
        let options =
            JobOptions { key: Some(IdempotencyKey { text: "k".into(), request_digest }), ..JobOptions::default() };
        let job = engine.job("exits").unwrap().options(options).build().unwrap();
        job.start().map(|()| job.id())
    };
    let first = submit(Some([1; 32])).unwrap();
    assert_eq!(
        submit(Some([1; 32])),
        Err(StartError::DuplicateKey(DuplicateKey { job: first, is_same_request: true }))
    );
    assert_eq!(
        submit(Some([2; 32])),
        Err(StartError::DuplicateKey(DuplicateKey { job: first, is_same_request: false }))
    );
    assert_eq!(submit(None), Err(StartError::DuplicateKey(DuplicateKey { job: first, is_same_request: false })));
    assert_eq!(engine.counts().running, 0, "a job that was not started is counted");
    history.remove(first).unwrap();
    let second = submit(None).unwrap();
    assert_eq!(submit(None), Err(StartError::DuplicateKey(DuplicateKey { job: second, is_same_request: false })));
    for _ in 0..2 {
        ended(&engine, "exits", &[]).await;
    }
    submit(None).unwrap();
}

#[tokio::test]
async fn concurrent_starts_with_one_key_make_one_job() {
    let (engine, history) = engine(HistoryLimits::default());
    std::thread::scope(|scope| {
        let runtime = tokio::runtime::Handle::current();
        for _ in 0..8 {
            let (engine, runtime) = (&engine, runtime.clone());
            scope.spawn(move || {
                let _entered = runtime.enter();
                for number in 0..100 {
                    let key = Some(IdempotencyKey { text: number.to_string(), request_digest: None });
                    let options = JobOptions { key, ..JobOptions::default() };
                    let _ = engine.job("exits").unwrap().options(options).build().unwrap().start();
                }
            });
        }
    });
    engine.wait_until_idle().await;
    assert_eq!(history.list(&Filter::default(), None, 1000).records.len(), 100);
}

#[tokio::test]
async fn job_cancelled_in_queue_has_end_and_no_start() {
    let history = Arc::new(MemoryHistory::new(HistoryLimits::default()));
    let config = Config { ceiling: Ceiling::default(), runs: 1, queue: 1 };
    let engine = Engine::with_history(config, history.clone());
    engine.register("waits", Native::work("waits", |call: Call| async move { call.stop.requested().await })).unwrap();
    let (first, second) = (started(&engine, "waits"), started(&engine, "waits"));
    assert_eq!(history.find(second.id()).unwrap().state(), JobState::Queued);
    second.cancel(CancelledBy::Client);
    second.wait().await;
    let record = history.find(second.id()).unwrap();
    assert!(record.has_ended() && record.started().is_none());
    assert_eq!(record.log.unwrap().follow().try_next(), Next::End);
    first.cancel(CancelledBy::Client);
}
