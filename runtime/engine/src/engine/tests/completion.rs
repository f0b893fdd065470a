//! What is true at the moment when the end of a job can be seen: everything is released, counted and recorded.

use std::sync::atomic::AtomicBool;
use std::task::Wake;

use futures_util::FutureExt as _;

use super::*;
use crate::events::Item;
use crate::job::JobId;

/// What an observer finds.
#[derive(Clone, Debug, PartialEq)]
struct Found {
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
    found: Mutex<Vec<Found>>,
}

/// Runs on the thread that publishes the end, in the middle of that: nothing that happens later can hide a wrong order.
impl Wake for Observer {
    fn wake(self: Arc<Self>) {
        let counts = self.engine.counts();
        let record = self.engine.records().find(self.job.id());
        let found = Found {
            running: counts.running,
            queued: counts.queued,
            free: counts.free,
            listed: self.engine.jobs().iter().filter(|job| job.id() == self.job.id()).count(),
            totals: self.job.resolved().totals().report().jobs,
            runs: self.engine.runs().outcomes.get(&[("outcome", "cancelled")]).get(),
            is_recorded: record.is_some_and(|record| record.job().is_none() && record.has_ended()),
            is_guard_dropped: self.is_guard_dropped.load(Ordering::SeqCst),
        };
        self.found.lock().unwrap().push(found);
    }
}

struct Guard(Arc<AtomicBool>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Cancels `job`, and gives what who waits for it finds when they are woken.
async fn found_at_the_end(engine: &Engine, job: &Job) -> Found {
    let is_guard_dropped = Arc::new(AtomicBool::new(false));
    job.hold_until_end(Guard(is_guard_dropped.clone()));
    let (engine, job) = (engine.clone(), job.clone());
    let observer = Arc::new(Observer { engine, job, is_guard_dropped, found: Mutex::default() });
    let waker = Waker::from(observer.clone());
    let mut end = std::pin::pin!(observer.job.wait());
    assert!(end.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    observer.job.cancel(CancelledBy::Client);
    observer.job.wait().await;
    assert!(end.now_or_never().is_some());
    let found = observer.found.lock().unwrap().clone();
    assert_eq!(found.len(), 1, "{found:?}");
    found[0].clone()
}

#[tokio::test]
async fn the_end_of_a_run_is_seen_after_it_is_released_counted_and_recorded() {
    let engine = engine();
    engine.register("a", obedient()).unwrap();
    for ended in 1..=3 {
        let job = engine.job("a").unwrap().build().unwrap();
        job.start().unwrap();
        let expected = Found {
            running: 0,
            queued: 0,
            free: 8,
            listed: 0,
            totals: ended,
            runs: ended,
            is_recorded: true,
            is_guard_dropped: true,
        };
        assert_eq!(found_at_the_end(&engine, &job).await, expected);
    }
}

#[tokio::test]
async fn the_end_of_a_job_in_the_queue_is_seen_after_its_place_is_free() {
    let engine = Engine::new(Config { ceiling: Ceiling::default(), runs: 1, queue: 1 });
    engine.register("a", obedient()).unwrap();
    let (first, second) = (engine.job("a").unwrap().build().unwrap(), engine.job("a").unwrap().build().unwrap());
    first.start().unwrap();
    second.start().unwrap();
    let found = found_at_the_end(&engine, &second).await;
    assert_eq!((found.running, found.queued, found.free, found.listed), (1, 0, 0, 0), "{found:?}");
    assert!(found.is_recorded && found.is_guard_dropped, "{found:?}");
    // It never ran.
    assert_eq!((found.totals, found.runs), (0, 0), "{found:?}");
}

#[tokio::test]
async fn a_guard_of_a_job_that_has_ended_is_dropped_at_once() {
    let engine = engine();
    engine.register("a", exits(0)).unwrap();
    let job = engine.job("a").unwrap().build().unwrap();
    job.start().unwrap();
    job.wait().await;
    let is_dropped = Arc::new(AtomicBool::new(false));
    job.hold_until_end(Guard(is_dropped.clone()));
    assert!(is_dropped.load(Ordering::SeqCst));
}

/// The jobs whose end is among the events.
fn ended(engine: &Engine) -> Vec<JobId> {
    let mut events = engine.events().after(0);
    let read = std::iter::from_fn(|| events.try_next());
    let end = |item| match item {
        Item::Event(event) => match event.what {
            EventKind::JobEnd { job, .. } => Some(job),
            _ => None,
        },
        Item::Gap { .. } => None,
    };
    read.filter_map(end).collect()
}

/// Whoever sees the end in one way finds it in the others: a thread that spins on the events and one that spins on the record look at
/// each job while it ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn event_record_and_state_show_the_end_together() {
    let engine = Engine::with(
        Config { ceiling: Ceiling::default(), runs: 8, queue: 8 },
        Arc::new(History::new(Bounds::default())),
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
        let spins = |sees: fn(&Engine, JobId) -> bool| {
            let (engine, job) = (engine.clone(), job.clone());
            tokio::task::spawn_blocking(move || {
                while !sees(&engine, job.id()) {
                    std::hint::spin_loop();
                }
                let record = engine.records().find(job.id()).unwrap();
                (ended(&engine).contains(&job.id()), record.has_ended(), job.resolved().totals().report().jobs)
            })
        };
        let totals = job.resolved().totals().report().jobs;
        let by_event = spins(|engine, job| ended(engine).contains(&job));
        let by_record = spins(|engine, job| engine.records().find(job).is_some_and(|record| record.has_ended()));
        job.start().unwrap();
        job.wait().await;
        assert!(ended(&engine).contains(&id));
        assert_eq!(by_event.await.unwrap(), (true, true, totals + 1));
        assert_eq!(by_record.await.unwrap(), (true, true, totals + 1));
    }
}
