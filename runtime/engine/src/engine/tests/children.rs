//! Jobs that start other jobs.

use capstan_core::stream::SharedSink;
use tokio::io::AsyncReadExt as _;
use tokio::sync::mpsc;

use super::*;
use crate::events::EventKind;
use crate::job::MAX_DEPTH;

/// Returns a handler that starts `name` as its child and ends with the outcome of the child.
pub(super) fn starts(engine: &Engine, name: &'static str) -> Arc<Native> {
    let engine = engine.clone();
    Native::work("starts another", move |call: Call| {
        let engine = engine.clone();
        async move {
            let child = engine.job(name).unwrap().child_of(&call.as_parent).build().unwrap();
            match child.start() {
                Ok(()) => child.wait().await.outcome.clone(),
                Err(error) => Outcome::Refused { why: error.to_string() },
            }
        }
    })
}

/// Returns a handler that starts `name` as its child, sends the child to `out`, and runs until it is stopped.
fn starts_and_waits(engine: &Engine, name: &'static str, out: mpsc::UnboundedSender<Job>) -> Arc<Native> {
    let engine = engine.clone();
    Native::work("keeps a child", move |call: Call| {
        let (engine, out) = (engine.clone(), out.clone());
        async move {
            let child = engine.job(name).unwrap().child_of(&call.as_parent).build().unwrap();
            child.start().unwrap();
            out.send(child).unwrap();
            call.stop.requested().await
        }
    })
}

fn prints(text: &'static str) -> Arc<Native> {
    Native::work("prints", move |mut call: Call| async move {
        call.stdout.write_all(text.as_bytes()).await.unwrap();
        Outcome::SUCCESS
    })
}

#[tokio::test]
async fn child_writes_to_lent_stdout_and_does_not_close_it() {
    let engine = engine();
    engine.register("inner", prints("inner ")).unwrap();
    let inside = engine.clone();
    let outer = Native::work("prints around another", move |call: Call| {
        let engine = inside.clone();
        async move {
            let mut stdout = SharedSink::new(call.stdout);
            stdout.write_all(b"outer1 ").await.unwrap();
            let child = engine.job("inner").unwrap().child_of(&call.as_parent).stdout(stdout.lend()).build().unwrap();
            child.start().unwrap();
            child.wait().await;
            stdout.write_all(b"outer2").await.unwrap();
            Outcome::SUCCESS
        }
    });
    engine.register("outer", outer).unwrap();
    let (stdout, mut printed) = stream::pipe(4);
    let job = engine.job("outer").unwrap().stdout(stdout).build().unwrap();
    job.start().unwrap();
    let mut text = String::new();
    printed.read_to_string(&mut text).await.unwrap();
    assert_eq!((text.as_str(), job.wait().await.outcome.clone()), ("outer1 inner outer2", Outcome::SUCCESS));
}

#[tokio::test]
async fn records_and_events_of_child_name_its_parent() {
    let engine = engine();
    engine.register("child", exits(4)).unwrap();
    engine.register("parent", starts(&engine, "child")).unwrap();
    let mut events = engine.events().after(0);
    let parent = engine.job("parent").unwrap().build().unwrap();
    parent.start().unwrap();
    assert_eq!(parent.wait().await.outcome.clone(), Outcome::Exited { code: 4 });
    let records = engine.history().list(&crate::history::Filter::default(), None, 10).records;
    let recorded: Vec<_> = records.iter().map(|record| (record.spec.handler.as_str(), record.spec.parent)).collect();
    assert_eq!(recorded, [("child", Some(parent.id())), ("parent", None)]);
    let published: Vec<_> = std::iter::from_fn(|| events.try_next()).map(|item| event(&item).kind.clone()).collect();
    assert!(
        matches!(&published[1], EventKind::JobStart { handler, parent: Some(id), .. } if **handler == *"child" && *id == parent.id()),
        "{published:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn cancel_parent_cancels_children_and_grandchildren() {
    for timeout in [None, Some(Duration::from_secs(1))] {
        let engine = engine();
        let (out, mut children) = mpsc::unbounded_channel();
        engine.register("grandchild", runs_until_stopped()).unwrap();
        engine.register("child", starts_and_waits(&engine, "grandchild", out.clone())).unwrap();
        engine.register("parent", starts_and_waits(&engine, "child", out)).unwrap();
        let asked = PolicyRequest { timeout, ..PolicyRequest::default() };
        let parent = engine
            .job("parent")
            .unwrap()
            .options(JobOptions { policy: asked, ..JobOptions::default() })
            .build()
            .unwrap();
        parent.start().unwrap();
        let descendants = [children.recv().await.unwrap(), children.recv().await.unwrap()];
        if timeout.is_none() {
            parent.cancel(CancelledBy::Client);
        }
        for job in descendants {
            assert_eq!(job.wait().await.outcome.clone(), Outcome::Cancelled { by: CancelledBy::Parent });
        }
        let kind = if timeout.is_none() { "cancelled" } else { "timed_out" };
        assert_eq!(parent.wait().await.outcome.kind(), kind);
        assert_eq!(engine.shutdown(Duration::ZERO).await, &ShutdownReport::default());
    }
}

#[tokio::test]
async fn cancel_child_does_not_cancel_parent() {
    let engine = engine();
    let (out, mut children) = mpsc::unbounded_channel();
    engine.register("child", runs_until_stopped()).unwrap();
    engine.register("parent", starts_and_waits(&engine, "child", out)).unwrap();
    let parent = engine.job("parent").unwrap().build().unwrap();
    parent.start().unwrap();
    let child = children.recv().await.unwrap();
    child.cancel(CancelledBy::Operator);
    assert_eq!(child.wait().await.outcome.clone(), Outcome::Cancelled { by: CancelledBy::Operator });
    assert_eq!(parent.state(), JobState::Running);
    parent.cancel(CancelledBy::Client);
    parent.wait().await;
}

#[tokio::test]
async fn child_ends_when_parent_ends() {
    let engine = engine();
    let (out, mut children) = mpsc::unbounded_channel();
    engine.register("child", runs_until_stopped()).unwrap();
    let inside = engine.clone();
    let leaves = Native::work("leaves its child behind", move |call: Call| {
        let child = inside.job("child").unwrap().child_of(&call.as_parent).build().unwrap();
        child.start().unwrap();
        out.send(child).unwrap();
        async { Outcome::SUCCESS }
    });
    engine.register("parent", leaves).unwrap();
    assert_eq!(run(&engine, "parent").await, Outcome::SUCCESS);
    let child = children.recv().await.unwrap();
    assert_eq!(child.wait().await.outcome.clone(), Outcome::Cancelled { by: CancelledBy::Parent });
}

#[tokio::test]
async fn parents_that_hold_all_slots_lend_them_to_the_deepest_child() {
    let engine = Engine::new(Config { ceiling: Ceiling::default(), runs: 1, queue: 0 });
    let names: Vec<&'static str> = vec!["0", "1", "2", "3", "4", "5", "6", "7", "8"];
    assert_eq!(names.len(), MAX_DEPTH + 1);
    for pair in names.windows(2) {
        engine.register(pair[0], starts(&engine, pair[1])).unwrap();
    }
    engine.register("8", exits(5)).unwrap();
    assert_eq!(run(&engine, "0").await, Outcome::Exited { code: 5 });
    engine.wait_until_idle().await;
    assert_eq!((engine.counts().free, engine.counts().started), (1, 9));
}

#[tokio::test]
async fn job_that_starts_itself_ends_at_depth_limit() {
    let engine = engine();
    let inside = engine.clone();
    let endless = Native::work("starts itself", move |call: Call| {
        let engine = inside.clone();
        async move {
            match engine.job("a").unwrap().child_of(&call.as_parent).build() {
                Err(error) => {
                    assert_eq!(error, JobBuildError::TooDeep);
                    Outcome::Exited { code: 77 }
                }
                Ok(child) => {
                    child.start().unwrap();
                    child.wait().await.outcome.clone()
                }
            }
        }
    });
    engine.register("a", endless).unwrap();
    assert_eq!(run(&engine, "a").await, Outcome::Exited { code: 77 });
    assert_eq!(engine.counts().started, MAX_DEPTH as u64 + 1);
}

#[tokio::test]
async fn slot_is_lent_to_one_child_at_a_time() {
    let engine = Engine::new(Config { ceiling: Ceiling::default(), runs: 1, queue: 2 });
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (running, peak) = (now.clone(), most.clone());
    let counted = Native::work("counts those beside it", move |_call| {
        let (running, peak) = (running.clone(), peak.clone());
        async move {
            peak.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
            running.fetch_sub(1, Ordering::SeqCst);
            Outcome::SUCCESS
        }
    });
    engine.register("child", counted).unwrap();
    let inside = engine.clone();
    let parent = Native::work("starts four", move |call: Call| {
        let engine = inside.clone();
        async move {
            let children = [(); 4].map(|()| engine.job("child").unwrap().child_of(&call.as_parent).build().unwrap());
            let started: Vec<_> = children.iter().map(Job::start).collect();
            // One child has the slot, two wait for it, and the queue has no room for the fourth.
            assert_eq!(started, [Ok(()), Ok(()), Ok(()), Err(StartError::Busy { runs: 1, queue: 2 })]);
            for child in &children[..3] {
                assert_eq!(child.wait().await.outcome.clone(), Outcome::SUCCESS);
            }
            Outcome::SUCCESS
        }
    });
    engine.register("parent", parent).unwrap();
    assert_eq!(run(&engine, "parent").await, Outcome::SUCCESS);
    assert_eq!((now.load(Ordering::SeqCst), most.load(Ordering::SeqCst)), (0, 1));
}

#[tokio::test]
async fn query_without_slot_lends_none() {
    let engine = Engine::new(Config { ceiling: Ceiling::default(), runs: 1, queue: 0 });
    engine.register("waits", runs_until_stopped()).unwrap();
    let inside = engine.clone();
    let asks = Native::query("starts a child", move |call: Call| {
        let child = inside.job("waits").unwrap().child_of(&call.as_parent).build().unwrap();
        let started = child.start();
        async move {
            assert_eq!(started, Err(StartError::Busy { runs: 1, queue: 0 }));
            Outcome::SUCCESS
        }
    });
    engine.register("asks", asks).unwrap();
    let busy = engine.job("waits").unwrap().build().unwrap();
    busy.start().unwrap();
    assert_eq!(run(&engine, "asks").await, Outcome::SUCCESS);
    busy.cancel(CancelledBy::Client);
    busy.wait().await;
}

/// A job that finishes may need another job for it. The ancestor had a flag for this case.
#[tokio::test(start_paused = true)]
async fn job_in_grace_period_may_start_children_and_other_jobs_may_not_start() {
    let engine = engine();
    engine.register("child", exits(6)).unwrap();
    let inside = engine.clone();
    let (out, mut late) = mpsc::unbounded_channel();
    let finishing = Native::work("starts a child late", move |call: Call| {
        let (engine, out) = (inside.clone(), out.clone());
        async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            assert!(engine.is_shutting_down());
            let child = || engine.job("child").unwrap().child_of(&call.as_parent).build().unwrap();
            let (now, later) = (child(), child());
            now.start().unwrap();
            out.send(later).unwrap();
            now.wait().await.outcome.clone()
        }
    });
    engine.register("parent", finishing).unwrap();
    let parent = engine.job("parent").unwrap().build().unwrap();
    parent.start().unwrap();
    assert_eq!(engine.shutdown(Duration::from_secs(5)).await, &ShutdownReport::default());
    assert_eq!(parent.wait().await.outcome.clone(), Outcome::Exited { code: 6 });
    assert_eq!(late.recv().await.unwrap().start(), Err(StartError::ShuttingDown), "its parent has ended");
    assert_eq!(engine.job("child").unwrap().build().unwrap().start(), Err(StartError::ShuttingDown));
}
