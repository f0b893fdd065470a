mod catch_all;
mod children;
mod completion;
mod failures;
mod job_log;
mod registry;
mod shutdown;

use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;
use std::task::{Context, Waker};
use std::time::Duration;

use capstan_core::env::Env;
use capstan_core::outcome::{CancelledBy, Outcome};
use capstan_core::policy::PolicyRequest;
use capstan_core::stream::{self, Sink};
use jiff::Timestamp;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::*;
use crate::handler::{Call, HandlerName, MAX_NAME, Native};
use crate::job::{JobOptions, JobState, StartError};
use crate::registry::{Precondition, RegistryError, Source};

fn engine() -> Engine {
    Engine::new(Config { ceiling: Ceiling::default(), runs: 8, queue: 8 })
}

/// Returns a handler that exits with `code`.
fn exits(code: u8) -> Arc<Native> {
    Native::work("exits", move |_call| async move { Outcome::Exited { code } })
}

/// Returns a handler that runs until it is stopped.
fn runs_until_stopped() -> Arc<Native> {
    Native::work("waits", |call: Call| async move { call.stop.requested().await })
}

/// Returns a handler that ignores the request to stop.
fn ignores_stop() -> Arc<Native> {
    Native::work("hangs", |_call| std::future::pending())
}

async fn run(engine: &Engine, name: &str) -> Outcome {
    let job = engine.job(name).unwrap().build().unwrap();
    job.start().unwrap();
    job.wait().await.outcome.clone()
}

#[tokio::test]
async fn register_taken_name_fails_and_keeps_first_handler() {
    let engine = engine();
    engine.register("a", exits(1)).unwrap();
    assert!(matches!(engine.register("a", exits(2)), Err(RegistryError::Duplicate(_))));
    assert_eq!(run(&engine, "a").await, Outcome::Exited { code: 1 });
}

#[test]
fn handler_name_accepts_valid_and_rejects_invalid_names() {
    for name in ["a", "A-1", "x.y_z", &"n".repeat(MAX_NAME)] {
        assert!(HandlerName::new(name).is_ok(), "{name}");
    }
    for name in ["", ".", "..", "-a", "a/b", "a\0", "a b", "é", &"n".repeat(MAX_NAME + 1)] {
        assert!(HandlerName::new(name).is_err(), "{name}");
    }
}

#[tokio::test]
async fn install_registers_all_of_bundle_or_nothing() {
    let engine = engine();
    engine.register("b", exits(0)).unwrap();
    assert!(engine.install(vec![("a", exits(0)), ("b", exits(0))]).is_err());
    assert!(engine.install(vec![("c", exits(0)), ("../d", exits(0))]).is_err());
    assert!(engine.install(vec![("e", exits(0)), ("e", exits(0))]).is_err());
    let names: Vec<_> = engine.handlers().iter().map(|handler| handler.name().to_string()).collect();
    assert_eq!(names, ["b"]);
}

#[tokio::test]
async fn builtin_can_be_neither_replaced_nor_removed() {
    let engine = engine();
    engine.install(vec![("commands", exits(7))]).unwrap();
    let name = HandlerName::new("commands").unwrap();
    assert!(matches!(
        engine.put(name, exits(0), Timestamp::now(), &Precondition::None),
        Err(RegistryError::Builtin(_))
    ));
    assert!(matches!(engine.remove("commands", &Precondition::None), Err(RegistryError::Builtin(_))));
    assert_eq!(run(&engine, "commands").await, Outcome::Exited { code: 7 });
}

#[tokio::test]
async fn job_finishes_on_handler_it_was_bound_to() {
    let engine = engine();
    let go = Arc::new(Notify::new());
    let old = {
        let go = go.clone();
        Native::work("old", move |_call| {
            let go = go.clone();
            async move {
                go.notified().await;
                Outcome::Exited { code: 1 }
            }
        })
    };
    engine.register("a", old).unwrap();
    let running = engine.job("a").unwrap().build().unwrap();
    running.start().unwrap();
    let created = engine.job("a").unwrap().build().unwrap();

    let put = engine.put(HandlerName::new("a").unwrap(), exits(2), Timestamp::now(), &Precondition::Present).unwrap();
    assert!(put.replaced);
    assert_eq!(run(&engine, "a").await, Outcome::Exited { code: 2 });
    engine.remove("a", &Precondition::None).unwrap();
    assert!(matches!(engine.job("a"), Err(RegistryError::Unknown(_))));

    go.notify_one();
    assert_eq!(running.wait().await.outcome.clone(), Outcome::Exited { code: 1 });
    created.start().unwrap();
    go.notify_one();
    assert_eq!(created.wait().await.outcome.clone(), Outcome::Exited { code: 1 });
}

#[test]
fn put_and_remove_check_preconditions() {
    let engine = engine();
    let name = || HandlerName::new("a").unwrap();
    assert!(engine.put(name(), exits(0), Timestamp::now(), &Precondition::Present).is_err());
    assert!(!engine.put(name(), exits(0), Timestamp::now(), &Precondition::Absent).unwrap().replaced);
    assert!(engine.put(name(), exits(0), Timestamp::now(), &Precondition::Absent).is_err());
    assert!(engine.put(name(), exits(0), Timestamp::now(), &Precondition::Digest(vec!["sha256:0".into()])).is_err());
    assert!(matches!(engine.remove("b", &Precondition::None), Err(RegistryError::Unknown(_))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_starts_of_one_job_succeed_exactly_once() {
    let engine = engine();
    let runs = Arc::new(AtomicUsize::new(0));
    let counted = runs.clone();
    engine
        .register(
            "a",
            Native::work("counts", move |_call| {
                counted.fetch_add(1, Ordering::SeqCst);
                async { Outcome::SUCCESS }
            }),
        )
        .unwrap();
    for _ in 0..1000 {
        let job = engine.job("a").unwrap().build().unwrap();
        let starts = [(); 2].map(|()| {
            let job = job.clone();
            tokio::task::spawn_blocking(move || job.start())
        });
        let mut won = 0;
        for start in starts {
            match start.await.unwrap() {
                Ok(()) => won += 1,
                Err(error) => assert_eq!(error, StartError::AlreadyStarted),
            }
        }
        assert_eq!(won, 1);
        job.wait().await;
    }
    assert_eq!(runs.load(Ordering::SeqCst), 1000);
}

#[tokio::test]
async fn job_goes_from_created_to_running_to_done_and_never_runs_again() {
    let engine = engine();
    engine.register("a", runs_until_stopped()).unwrap();
    let job = engine.job("a").unwrap().build().unwrap();
    assert_eq!(job.state(), JobState::Created);
    job.start().unwrap();
    assert_eq!(job.state(), JobState::Running);
    assert_eq!(engine.counts().running, 1);
    job.cancel(CancelledBy::Client);
    job.cancel(CancelledBy::Operator);
    let end = job.wait().await;
    assert_eq!(end.outcome, Outcome::Cancelled { by: CancelledBy::Client });
    assert_eq!(job.state(), JobState::Done(end));
    assert_eq!(job.start(), Err(StartError::AlreadyStarted));
}

#[tokio::test(start_paused = true)]
async fn job_times_out_within_milliseconds_of_its_deadline() {
    let engine = engine();
    engine.register("a", runs_until_stopped()).unwrap();
    let asked = PolicyRequest { timeout: Some(Duration::from_secs(3)), ..PolicyRequest::default() };
    let job = engine.job("a").unwrap().options(JobOptions { policy: asked, ..JobOptions::default() }).build().unwrap();
    let before = Instant::now();
    job.start().unwrap();
    assert_eq!(job.wait().await.outcome.clone(), Outcome::TimedOut { limit: 3.0 });
    let took = before.elapsed();
    assert!(took >= Duration::from_secs(3) && took <= Duration::from_millis(3002), "{took:?}");
}

#[tokio::test]
async fn handler_panic_fails_only_its_job() {
    let engine = engine();
    engine.register("a", Native::work("panics", |_call| async { panic!("on purpose") })).unwrap();
    engine
        .register("b", Native::work("panics at once", |_call| -> std::future::Ready<Outcome> { panic!("on purpose") }))
        .unwrap();
    for name in ["a", "b", "a"] {
        assert!(matches!(run(&engine, name).await, Outcome::HostError { .. }), "{name}");
    }
    assert_eq!(engine.shutdown(Duration::ZERO).await, &ShutdownReport::default());
}

#[tokio::test]
async fn full_engine_queues_jobs_and_then_rejects_them() {
    let engine = Engine::new(Config { ceiling: Ceiling::default(), runs: 1, queue: 2 });
    engine.register("a", runs_until_stopped()).unwrap();
    let jobs: Vec<_> = (0..4).map(|_| engine.job("a").unwrap().build().unwrap()).collect();
    for job in &jobs[..3] {
        job.start().unwrap();
    }
    assert_eq!(jobs[3].start(), Err(StartError::Busy { runs: 1, queue: 2 }));
    let states = || jobs.iter().map(Job::state).collect::<Vec<_>>();
    assert_eq!(states(), [JobState::Running, JobState::Queued, JobState::Queued, JobState::Created]);
    assert_eq!(engine.counts().queued, 2);

    // A queued job that is cancelled leaves the queue and does not run.
    jobs[1].cancel(CancelledBy::Operator);
    assert_eq!(jobs[1].wait().await.outcome.clone(), Outcome::Cancelled { by: CancelledBy::Operator });
    jobs[3].start().unwrap();
    for job in [&jobs[0], &jobs[2], &jobs[3]] {
        while job.state() == JobState::Queued {
            tokio::task::yield_now().await;
        }
        job.cancel(CancelledBy::Client);
        job.wait().await;
    }
    engine.wait_until_idle().await;
    assert_eq!((engine.counts().queued, engine.counts().started), (0, 3));
}

#[tokio::test]
async fn queue_time_is_not_part_of_run_time() {
    let engine = Engine::new(Config { ceiling: Ceiling::default(), runs: 1, queue: 1 });
    let sleeps = Native::work("sleeps", |_call| async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        Outcome::SUCCESS
    });
    engine.register("a", sleeps).unwrap();
    let (first, second) = (engine.job("a").unwrap().build().unwrap(), engine.job("a").unwrap().build().unwrap());
    first.start().unwrap();
    second.start().unwrap();
    let (first, second) = (first.wait().await, second.wait().await);
    assert_eq!(second.outcome, Outcome::SUCCESS);
    assert!(first.usage.queue_seconds < 0.01, "{:?}", first.usage);
    assert!(second.usage.queue_seconds > 0.01 && second.usage.run_seconds > 0.01, "{:?}", second.usage);
}

#[tokio::test]
async fn events_of_handler_and_job_are_published_in_order() {
    let engine = engine();
    let mut events = engine.events().after(0);
    engine.put(HandlerName::new("a").unwrap(), exits(3), Timestamp::now(), &Precondition::None).unwrap();
    run(&engine, "a").await;
    engine.wait_until_idle().await;
    engine.remove("a", &Precondition::None).unwrap();
    let items: Vec<_> = std::iter::from_fn(|| events.try_next()).collect();
    let published: Vec<_> = items.iter().map(|item| serde_json::to_value(event(item)).unwrap()).collect();
    let names: Vec<_> = published.iter().map(|event| event["event"].as_str().unwrap()).collect();
    assert_eq!(names, ["handler.put", "job.start", "job.end", "handler.remove"]);
    assert_eq!((&published[2]["outcome"], &published[2]["exit_code"]), (&"exited".into(), &3.into()));
    assert_eq!(published[1]["job"], published[2]["job"]);
}

fn event(item: &crate::events::Item) -> &crate::events::Event {
    match item {
        crate::events::Item::Event(event) => event,
        gap => panic!("{gap:?}"),
    }
}

#[tokio::test]
async fn streams_reach_handler_and_are_closed_at_its_end() {
    let engine = engine();
    let cat = Native::work("cat", |mut call: Call| async move {
        tokio::io::copy(&mut call.stdin, &mut call.stdout).await.unwrap();
        Outcome::SUCCESS
    });
    engine.register("cat", cat).unwrap();
    let (mut write, stdin) = stream::pipe(64);
    let (stdout, mut read) = stream::pipe(64);
    let job = engine.job("cat").unwrap().stdin(stdin).stdout(stdout).build().unwrap();
    job.start().unwrap();
    let feed = async {
        write.write_all(&[b'x'; 10_000]).await.unwrap();
        drop(write);
    };
    let mut out = Vec::new();
    let (_, _, end) = tokio::join!(feed, read.read_to_end(&mut out), job.wait());
    assert_eq!((out.len(), end.outcome.clone()), (10_000, Outcome::SUCCESS));
}

#[test]
fn build_with_nul_or_too_large_arguments_fails() {
    let engine = engine();
    engine.register("a", exits(0)).unwrap();
    let job = |args: Vec<String>| engine.job("a").unwrap().args(args).build();
    assert_eq!(job(vec!["a".into(), "b\0".into()]).unwrap_err(), JobBuildError::ArgContainsNul(1));
    assert!(matches!(job(vec!["x".repeat(10 << 20)]).unwrap_err(), JobBuildError::TooLarge(_)));
    let mut env = Env::new();
    env.set("A", "x".repeat(10 << 20)).unwrap();
    assert!(matches!(engine.job("a").unwrap().env(&env).build().unwrap_err(), JobBuildError::TooLarge(_)));
}

/// A log writer that stores the log in memory.
#[derive(Clone, Default)]
struct LogBuffer(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for LogBuffer {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn job_log_has_lines_of_the_ancestor_and_ids_as_fields() {
    let lines = LogBuffer::default();
    let writer = lines.clone();
    let subscriber =
        tracing_subscriber::fmt().with_writer(move || writer.clone()).with_ansi(false).without_time().finish();
    let _log = tracing::subscriber::set_default(subscriber);
    job_log::wait_until_captured(&lines).await;

    let engine = engine();
    engine.register("x", exits(0)).unwrap();
    engine.register("y", exits(3)).unwrap();
    let job = engine.job("x").unwrap().args(["a", "b\nc"]).stdout(Sink::discard()).build().unwrap();
    job.start().unwrap();
    job.wait().await;
    engine.register("z", children::starts(&engine, "y")).unwrap();
    let parent = engine.job("z").unwrap().build().unwrap();
    parent.start().unwrap();
    parent.wait().await;
    engine.wait_until_idle().await;

    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 6, "{text}");
    assert!(lines[0].contains("+job x(a, b\\nc)") && lines[0].contains(&format!("id={}", job.id())), "{text}");
    assert!(lines[1].contains("-job x(a, b\\nc) = OK (0)") && lines[1].contains("seconds="), "{text}");
    assert!(lines[3].contains("+job y()") && lines[3].contains(&format!("parent={}", parent.id())), "{text}");
    assert!(lines[4].contains("-job y() = ERR (3)") && lines[4].contains("outcome=exited 3"), "{text}");
}
