//! When the end of a job can be seen, everything is released, counted and recorded.

use std::sync::atomic::AtomicBool;
use std::task::Wake;

use futures_util::FutureExt as _;

use super::*;
use crate::events::{EventKind, Item};
use crate::job::JobId;

/// What an observer reads when it is woken.
#[derive(Clone, Debug, PartialEq)]
struct Observation {
    running: usize,
    queued: usize,
    free: usize,
    listed: usize,
    totals: u64,
    runs: u64,
    is_recorded: bool,
    is_guard_dropped: bool,
}

struct Observer {
    engine: Engine,
    job: Job,
    is_guard_dropped: Arc<AtomicBool>,
    observations: Mutex<Vec<Observation>>,
}

/// Runs on the thread that publishes the end, while it does so. Nothing that happens later can hide a wrong order.
impl Wake for Observer {
    fn wake(self: Arc<Self>) {
        let counts = self.engine.counts();
        let record = self.engine.history().find(self.job.id());
        let observation = Observation {
            running: counts.running,
            queued: counts.queued,
            free: counts.free,
            listed: self.engine.jobs().iter().filter(|job| job.id() == self.job.id()).count(),
            totals: self.job.resolved().totals().report().jobs,
            runs: self.engine.run_metrics().outcomes.get(&[("outcome", "cancelled")]).get(),
            is_recorded: record.is_some_and(|record| record.job().is_none() && record.has_ended()),
            is_guard_dropped: self.is_guard_dropped.load(Ordering::SeqCst),
        };
        self.observations.lock().unwrap().push(observation);
    }
}

struct Guard(Arc<AtomicBool>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Cancels `job` and returns what a caller that waits for it reads when it is woken.
async fn observe_end(engine: &Engine, job: &Job) -> Observation {
    let is_guard_dropped = Arc::new(AtomicBool::new(false));
    job.hold_until_end(Guard(is_guard_dropped.clone()));
    let (engine, job) = (engine.clone(), job.clone());
    let observer = Arc::new(Observer { engine, job, is_guard_dropped, observations: Mutex::default() });
    let waker = Waker::from(observer.clone());
    let mut end = std::pin::pin!(observer.job.wait());
    assert!(end.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    observer.job.cancel(CancelledBy::Client);
    observer.job.wait().await;
    assert!(end.now_or_never().is_some());
    let observations = observer.observations.lock().unwrap().clone();
    assert_eq!(observations.len(), 1, "{observations:?}");
    observations[0].clone()
}

#[tokio::test]
async fn end_of_run_is_published_after_release_count_and_record() {
    let engine = engine();
    engine.register("a", runs_until_stopped()).unwrap();
    for ended in 1..=3 {
        let job = engine.job("a").unwrap().build().unwrap();
        job.start().unwrap();
        let expected = Observation {
            running: 0,
            queued: 0,
            free: 8,
            listed: 0,
            totals: ended,
            runs: ended,
            is_recorded: true,
            is_guard_dropped: true,
        };
        assert_eq!(observe_end(&engine, &job).await, expected);
    }
}

#[tokio::test]
async fn end_of_queued_job_is_published_after_its_position_is_free() {
    let engine = Engine::new(Config { ceiling: Ceiling::default(), runs: 1, queue: 1 });
    engine.register("a", runs_until_stopped()).unwrap();
    let (first, second) = (engine.job("a").unwrap().build().unwrap(), engine.job("a").unwrap().build().unwrap());
    first.start().unwrap();
    second.start().unwrap();
    let observed = observe_end(&engine, &second).await;
    assert_eq!((observed.running, observed.queued, observed.free, observed.listed), (1, 0, 0, 0), "{observed:?}");
    assert!(observed.is_recorded && observed.is_guard_dropped, "{observed:?}");
    // It did not run.
    assert_eq!((observed.totals, observed.runs), (0, 0), "{observed:?}");
}

#[tokio::test]
async fn guard_of_ended_job_is_dropped_at_once() {
    let engine = engine();
    engine.register("a", exits(0)).unwrap();
    let job = engine.job("a").unwrap().build().unwrap();
    job.start().unwrap();
    job.wait().await;
    let is_dropped = Arc::new(AtomicBool::new(false));
    job.hold_until_end(Guard(is_dropped.clone()));
    assert!(is_dropped.load(Ordering::SeqCst));
}

/// Returns the jobs whose end was published as an event.
fn ended(engine: &Engine) -> Vec<JobId> {
    let mut events = engine.events().after(0);
    let read = std::iter::from_fn(|| events.try_next());
    let end = |item| match item {
        Item::Event(event) => match event.kind {
            EventKind::JobEnd { job, .. } => Some(job),
            _ => None,
        },
        Item::Gap { .. } | Item::Restart { .. } => None,
    };
    read.filter_map(end).collect()
}

/// A caller that sees the end in one way finds it in the others. A thread that polls the events and one that polls the record look at each
/// job while it ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn event_record_and_state_publish_end_together() {
    let engine = Engine::with(
        Config { ceiling: Ceiling::default(), runs: 8, queue: 8 },
        Arc::new(MemoryHistory::new(HistoryLimits::default())),
        Events::new(8),
    );
    let yields = Native::work("yields", |_call| async {
        tokio::task::yield_now().await;
        Outcome::SUCCESS
    });
    engine.register("a", yields).unwrap();
    for _ in 0..500 {
        let job = engine.job("a").unwrap().build().unwrap();
        let id = job.id();
        let poll = |sees: fn(&Engine, JobId) -> bool| {
            let (engine, job) = (engine.clone(), job.clone());
            tokio::task::spawn_blocking(move || {
                while !sees(&engine, job.id()) {
                    std::hint::spin_loop();
                }
                let record = engine.history().find(job.id()).unwrap();
                (ended(&engine).contains(&job.id()), record.has_ended(), job.resolved().totals().report().jobs)
            })
        };
        let totals = job.resolved().totals().report().jobs;
        let by_event = poll(|engine, job| ended(engine).contains(&job));
        let by_record = poll(|engine, job| engine.history().find(job).is_some_and(|record| record.has_ended()));
        job.start().unwrap();
        job.wait().await;
        assert!(ended(&engine).contains(&id));
        assert_eq!(by_event.await.unwrap(), (true, true, totals + 1));
        assert_eq!(by_record.await.unwrap(), (true, true, totals + 1));
    }
}
