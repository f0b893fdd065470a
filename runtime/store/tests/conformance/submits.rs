//! Submitting jobs.

use bytes::Bytes;
use capstan_core::caller::Caller;
use capstan_core::env::Env;
use capstan_core::outcome::Outcome;
use capstan_core::retry::RetryPolicy;
use capstan_engine::job_store::{
    After, ArrayIndex, Dependency, NewJob, Plan, Requirement, State, SubmitError, SubmitKey, Then,
};

use crate::work::Work;

fn keyed(work: &Work<'_>, text: &str, digest: u8) -> NewJob {
    let expires = work.now().after(std::time::Duration::from_secs(100)).wall;
    NewJob { key: Some(SubmitKey { text: text.into(), digest: [digest; 32], expires }), ..work.new_job("a") }
}

pub(crate) async fn repeated_key_returns_the_same_job(work: &Work<'_>) {
    let first = work.submit(keyed(work, "k", 1)).await;
    let second = work.submit(keyed(work, "k", 1)).await;
    assert!(first.is_new && !second.is_new);
    assert_eq!(first.job, second.job);
    // Within one batch too.
    let batch = vec![keyed(work, "j", 1), keyed(work, "j", 1)];
    let results = work.store.submit(work.now(), batch).await.unwrap();
    assert_eq!(results[0].as_ref().unwrap().job, results[1].as_ref().unwrap().job);
    assert_eq!(work.claim_all().await.len(), 2);
}

pub(crate) async fn repeated_key_with_another_request_is_an_error(work: &Work<'_>) {
    let first = work.submit(keyed(work, "k", 1)).await;
    let results = work.store.submit(work.now(), vec![keyed(work, "k", 2)]).await.unwrap();
    assert_eq!(results, [Err(SubmitError::KeyReused { job: first.job })]);
}

pub(crate) async fn expired_key_makes_a_new_job(work: &Work<'_>) {
    let first = work.submit(keyed(work, "k", 1)).await;
    work.pass(101);
    let second = work.submit(keyed(work, "k", 2)).await;
    assert!(second.is_new && first.job != second.job);
    assert_eq!(work.submit(keyed(work, "k", 2)).await.job, second.job);
}

pub(crate) async fn key_outlives_the_removal_of_its_job(work: &Work<'_>) {
    let first = work.submit(keyed(work, "k", 1)).await;
    work.succeed(work.claim_one().await).await;
    work.store.remove(first.job).await.unwrap();
    let second = work.submit(keyed(work, "k", 1)).await;
    assert_eq!((second.job, second.is_new, second.state), (first.job, false, State::Done));
}

pub(crate) async fn refused_job_does_not_stop_the_rest_of_a_batch(work: &Work<'_>) {
    let known = work.submit_one("a").await;
    let mut repeated = work.new_job("a");
    repeated.id = known;
    let results = work.store.submit(work.now(), vec![work.new_job("a"), repeated, work.new_job("b")]).await.unwrap();
    assert!(results[0].is_ok() && results[2].is_ok());
    assert_eq!(results[1], Err(SubmitError::DuplicateId(known)));
    assert_eq!(work.claim_all().await.len(), 3);
}

pub(crate) async fn oversized_job_is_refused_with_the_limit(work: &Work<'_>) {
    let huge = "x".repeat(10 << 20);
    let mut jobs: Vec<_> = (0..6).map(|_| work.new_job("a")).collect();
    jobs[0].key = Some(SubmitKey { text: huge.clone(), digest: [0; 32], expires: work.now().wall });
    jobs[1].labels = (0..10_000).map(|number| (number.to_string(), String::new())).collect();
    jobs[2].concurrency_key = Some(huge.clone());
    jobs[3].plan.args = vec![huge.clone()];
    jobs[4].stdin = Bytes::from(huge.clone());
    jobs[5].labels.insert("name".into(), huge);
    for result in work.store.submit(work.now(), jobs).await.unwrap() {
        let Err(SubmitError::TooLarge { size, limit, .. }) = result else { panic!("{result:?}") };
        assert!(size > limit);
    }
    assert_eq!(work.claim_all().await, []);
}

pub(crate) async fn full_queue_refuses_jobs(work: &Work<'_>) {
    let limited = || NewJob { queue_limit: Some(2), ..work.new_job("a") };
    let results = work.store.submit(work.now(), vec![limited(), limited(), limited()]).await.unwrap();
    assert_eq!(results[2], Err(SubmitError::QueueFull { limit: 2 }));
    // Another handler has a queue of its own, and an ended job makes room.
    work.submit(NewJob { queue_limit: Some(1), ..work.new_job("b") }).await;
    for claimed in work.claim(3).await {
        work.end(claimed.lease, Outcome::SUCCESS, Then::Done).await;
    }
    assert!(work.submit(limited()).await.is_new);
}

pub(crate) async fn array_that_does_not_fit_is_refused_as_a_whole(work: &Work<'_>) {
    let array = |count: u32, key: &str| {
        let mut jobs: Vec<_> = (0..count).map(|_| NewJob { queue_limit: Some(4), ..work.new_job("a") }).collect();
        let first = jobs[0].id;
        for (index, job) in (0..).zip(&mut jobs) {
            job.array = Some(ArrayIndex { array: first, index });
            job.key = keyed(work, &format!("{key}{index}"), 1).key;
        }
        jobs
    };
    let submit = async |jobs| work.store.submit(work.now(), jobs).await.unwrap();
    // Two arrays in one call, of which the second does not fit.
    let results = submit([array(3, "x"), array(2, "y")].concat()).await;
    assert!(results[..3].iter().all(Result::is_ok), "{results:?}");
    assert_eq!(results[3..], [Err(SubmitError::QueueFull { limit: 4 }), Err(SubmitError::QueueFull { limit: 4 })]);
    // Repeated, the first one is what it was, and needs no room.
    let again = submit(array(3, "x")).await;
    assert!(
        again.iter().zip(&results).all(|(again, first)| again.as_ref().unwrap().job == first.as_ref().unwrap().job)
    );
    // A key that another request has taken is found before anything is stored.
    work.submit(keyed(work, "z1", 2)).await;
    assert!(submit(array(2, "z")).await.iter().all(|result| matches!(result, Err(SubmitError::KeyReused { .. }))));
    assert_eq!(work.claim_all().await.len(), 4);
}

pub(crate) async fn submitted_job_is_read_back_unchanged(work: &Work<'_>) {
    let first = work.submit_one("first").await;
    let mut env = Env::new();
    env.set("LANG", "C.UTF-8").unwrap();
    let plan = Plan {
        args: vec!["a b".into(), "ü\n".into()],
        env,
        policy: serde_json::from_str(r#"{"timeout": 5, "memory": "64MiB"}"#).unwrap(),
        retry: RetryPolicy { attempts: 5, ..RetryPolicy::default() },
        stdin_from: None,
        env_from: Default::default(),
        caller: Some(Caller::Process { uid: 7, gid: 8, pid: Some(9) }),
        digest: Some("sha256:00".into()),
    };
    let mut job = work.new_job("second");
    job.plan = plan.clone();
    job.labels = [("env".to_owned(), "prod".to_owned()), ("team".to_owned(), "ü".to_owned())].into();
    job.concurrency_key = Some("customer 7".into());
    job.priority = -5;
    job.start_deadline = Some(work.now().after(std::time::Duration::from_secs(9)).wall);
    job.after = After { jobs: vec![Dependency { job: first, on: Requirement::End }], ..After::default() };
    job.parent = Some(first);
    let expected = job.clone();
    let submitted = work.submit(job).await;
    assert_eq!(submitted.state, State::Waiting);
    let record = work.job(submitted.job).await;
    assert_eq!(record.plan, plan);
    assert_eq!(record, capstan_engine::job_store::JobRecord::submitted(&expected, work.now().wall, false));
    // The record of a list is the same.
    let page = work.store.query(Default::default(), None, 1).await.unwrap();
    assert_eq!(page.jobs[0].job, record);
}
