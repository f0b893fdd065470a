//! Shutdown on a paused clock, so that the measured seconds are exactly the timeouts.

use super::*;

/// The ancestor's case: shutdown ends even though a job hangs.
#[tokio::test(start_paused = true)]
async fn shutdown_waits_for_grace_and_then_cancels() {
    let engine = engine();
    engine.register("obedient", runs_until_stopped()).unwrap();
    engine.register("hung", ignores_stop()).unwrap();
    let obedient = engine.job("obedient").unwrap().build().unwrap();
    let hung = engine.job("hung").unwrap().build().unwrap();
    obedient.start().unwrap();
    hung.start().unwrap();

    let before = Instant::now();
    let report = engine.shutdown(Duration::from_secs(5)).await;
    assert_eq!(before.elapsed().as_secs(), 10);
    assert_eq!(obedient.wait().await.outcome.clone(), Outcome::Cancelled { by: CancelledBy::Shutdown });
    assert_eq!(report.cancelled.len(), 2);
    assert_eq!(report.unfinished, [Unfinished::Job { id: hung.id(), handler: HandlerName::new("hung").unwrap() }]);
}

#[tokio::test(start_paused = true)]
async fn concurrent_shutdowns_return_the_same_report() {
    let engine = engine();
    engine.register("hung", ignores_stop()).unwrap();
    engine.job("hung").unwrap().build().unwrap().start().unwrap();
    let before = Instant::now();
    let (first, second) = tokio::join!(engine.shutdown(Duration::from_secs(5)), engine.shutdown(Duration::ZERO));
    assert_eq!(first, second);
    assert_eq!(before.elapsed().as_secs(), 10);
}

#[tokio::test(start_paused = true)]
async fn services_are_not_work_in_flight() {
    let engine = engine();
    let service = Native::service("serves", |call: Call| async move { call.stop.requested().await });
    engine.register("serveapi", service).unwrap();
    let job = engine.job("serveapi").unwrap().build().unwrap();
    job.start().unwrap();
    assert_eq!(engine.counts().running, 0);
    let before = Instant::now();
    assert_eq!(engine.shutdown(Duration::from_secs(5)).await, &ShutdownReport::default());
    assert!(before.elapsed() < Duration::from_secs(1));
    assert_eq!(job.wait().await.outcome.clone(), Outcome::Cancelled { by: CancelledBy::Shutdown });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn start_during_shutdown_is_counted_or_refused() {
    for _ in 0..2500 {
        let engine = engine();
        engine.register("a", exits(0)).unwrap();
        let jobs: Vec<_> = (0..4).map(|_| engine.job("a").unwrap().build().unwrap()).collect();
        let starts: Vec<_> = jobs.iter().cloned().map(|job| tokio::task::spawn_blocking(move || job.start())).collect();
        let report = engine.shutdown(Duration::from_secs(5)).await.clone();
        assert_eq!(report, ShutdownReport::default());
        for (job, start) in jobs.iter().zip(starts) {
            let refused = start.await.unwrap() == Err(StartError::ShuttingDown);
            let end = job.wait().await.outcome.clone();
            assert_eq!(refused, matches!(end, Outcome::Refused { .. }), "{end}");
        }
        assert_eq!(engine.counts().running, 0);
    }
}

/// Registers a hook that appends its name to `order` and then takes `takes`, or hangs if that is `None`.
fn hook(engine: &Engine, order: &Arc<Mutex<Vec<&'static str>>>, name: &'static str, takes: Option<Duration>) {
    let order = order.clone();
    let work = async move {
        order.lock().unwrap().push(name);
        match takes {
            Some(takes) => tokio::time::sleep(takes).await,
            None => std::future::pending().await,
        }
    };
    engine.on_shutdown(name, work).unwrap();
}

/// The ancestor's three cases: a job that runs longer than the grace period, a hook that hangs, and both.
#[tokio::test(start_paused = true)]
async fn shutdown_takes_five_seconds_for_jobs_and_ten_for_hooks() {
    for (with_job, with_hook, seconds) in [(true, false, 5), (false, true, 10), (true, true, 15)] {
        let engine = engine();
        engine.register("obedient", runs_until_stopped()).unwrap();
        if with_job {
            engine.job("obedient").unwrap().build().unwrap().start().unwrap();
        }
        if with_hook {
            hook(&engine, &Arc::default(), "hangs", None);
        }
        let before = Instant::now();
        let report = engine.shutdown(Duration::from_secs(5)).await;
        let took = before.elapsed();
        assert!(took >= Duration::from_secs(seconds) && took < Duration::from_millis(seconds * 1000 + 10), "{took:?}");
        assert_eq!(report.cancelled.len(), usize::from(with_job));
        let hung = if with_hook { vec![Unfinished::Hook("hangs")] } else { Vec::new() };
        assert_eq!(report.unfinished, hung);
    }
}

#[tokio::test(start_paused = true)]
async fn hooks_run_once_and_last_registered_first() {
    let engine = engine();
    let order = Arc::default();
    for name in ["lock", "store", "listeners"] {
        hook(&engine, &order, name, Some(Duration::from_secs(1)));
    }
    let before = Instant::now();
    assert_eq!(engine.shutdown(Duration::ZERO).await, &ShutdownReport::default());
    assert_eq!(engine.shutdown(Duration::ZERO).await, &ShutdownReport::default());
    assert_eq!(before.elapsed().as_secs(), 3);
    assert_eq!(*order.lock().unwrap(), ["listeners", "store", "lock"]);
}

#[tokio::test(start_paused = true)]
async fn hanging_hook_is_skipped_and_others_run() {
    let engine = engine();
    let order = Arc::default();
    for (name, takes) in [("lock", Some(1)), ("hung", None), ("quick", Some(0)), ("hung too", None)] {
        hook(&engine, &order, name, takes.map(Duration::from_secs));
    }
    let before = Instant::now();
    let report = engine.shutdown(Duration::ZERO).await;
    assert!(before.elapsed() <= Duration::from_secs(10), "{:?}", before.elapsed());
    assert_eq!(*order.lock().unwrap(), ["hung too", "quick", "hung", "lock"]);
    assert_eq!(report.unfinished, [Unfinished::Hook("hung too"), Unfinished::Hook("hung")]);
}

#[tokio::test]
async fn panicking_hook_is_reported_and_others_run() {
    let engine = engine();
    let order = Arc::default();
    hook(&engine, &order, "lock", Some(Duration::ZERO));
    engine.on_shutdown("panics", async { panic!("on purpose") }).unwrap();
    assert_eq!(engine.shutdown(Duration::ZERO).await.unfinished, [Unfinished::Panicked("panics")]);
    assert_eq!(*order.lock().unwrap(), ["lock"]);
}

#[tokio::test(start_paused = true)]
async fn hook_registered_after_shutdown_started_is_rejected() {
    let engine = engine();
    let order = Arc::default();
    let late = engine.clone();
    engine
        .on_shutdown(
            "first",
            async move { assert_eq!(late.on_shutdown("late", async {}), Err(ShutdownStarted("late"))) },
        )
        .unwrap();
    hook(&engine, &order, "second", Some(Duration::from_secs(1)));
    let stopping = engine.shutdown(Duration::from_secs(5));
    let registering = async {
        while !engine.is_shutting_down() {
            tokio::task::yield_now().await;
        }
        engine.on_shutdown("during", async {})
    };
    let (report, refused) = tokio::join!(stopping, registering);
    assert_eq!((report, refused), (&ShutdownReport::default(), Err(ShutdownStarted("during"))));
    assert_eq!(engine.on_shutdown("after", async {}), Err(ShutdownStarted("after")));
    assert_eq!(*order.lock().unwrap(), ["second"]);
}

#[tokio::test(start_paused = true)]
async fn hooks_run_after_jobs_and_services() {
    let engine = engine();
    let order = Arc::<Mutex<Vec<&str>>>::default();
    let noting = |name: &'static str, takes: u64| {
        let order = order.clone();
        move |call: Call| {
            let order = order.clone();
            async move {
                let outcome = call.stop.requested().await;
                tokio::time::sleep(Duration::from_secs(takes)).await;
                order.lock().unwrap().push(name);
                outcome
            }
        }
    };
    engine.register("job", Native::work("ends slowly", noting("job", 2))).unwrap();
    engine.register("service", Native::service("ends slowly", noting("service", 8))).unwrap();
    for name in ["job", "service"] {
        engine.job(name).unwrap().build().unwrap().start().unwrap();
    }
    hook(&engine, &order, "hook", Some(Duration::ZERO));
    assert_eq!(engine.shutdown(Duration::from_secs(1)).await.unfinished, []);
    assert_eq!(*order.lock().unwrap(), ["job", "service", "hook"]);
}

#[tokio::test(start_paused = true)]
async fn service_that_does_not_end_is_reported() {
    let engine = engine();
    engine.register("deaf", Native::service("hangs", |_call| std::future::pending())).unwrap();
    engine.job("deaf").unwrap().build().unwrap().start().unwrap();
    let before = Instant::now();
    let report = engine.shutdown(Duration::from_secs(5)).await;
    assert_eq!(report.unfinished, [Unfinished::Service(HandlerName::new("deaf").unwrap())]);
    assert_eq!(before.elapsed().as_secs(), 10);
}

#[tokio::test(start_paused = true)]
async fn dropped_shutdown_continues() {
    let engine = engine();
    let order = Arc::default();
    hook(&engine, &order, "slow", Some(Duration::from_secs(4)));
    let before = Instant::now();
    let result = tokio::time::timeout(Duration::from_secs(1), engine.shutdown(Duration::ZERO)).await;
    assert!(result.is_err());
    assert_eq!(engine.shutdown(Duration::from_secs(60)).await, &ShutdownReport::default());
    assert_eq!((before.elapsed().as_secs(), order.lock().unwrap().len()), (4, 1));
}

#[tokio::test(start_paused = true)]
async fn change_is_completed_or_reported() {
    for (takes, unfinished) in [(3, vec![]), (60, vec![Unfinished::Changes(1)])] {
        let engine = engine();
        let change = engine.run_to_completion(tokio::time::sleep(Duration::from_secs(takes)));
        // The caller stops waiting.
        assert!(tokio::time::timeout(Duration::from_secs(1), change).await.is_err());
        assert_eq!(engine.shutdown(Duration::ZERO).await.unfinished, unfinished);
    }
}

#[tokio::test]
async fn queued_and_running_jobs_are_cancelled() {
    let engine = Engine::new(Config { ceiling: Ceiling::default(), runs: 1, queue: 1 });
    engine.register("a", runs_until_stopped()).unwrap();
    let jobs = [(); 2].map(|()| engine.job("a").unwrap().build().unwrap());
    jobs.iter().for_each(|job| job.start().unwrap());
    let report = engine.shutdown(Duration::ZERO).await;
    assert_eq!((report.cancelled.len(), report.unfinished.len()), (2, 0));
    for job in jobs {
        assert_eq!(job.wait().await.outcome.clone(), Outcome::Cancelled { by: CancelledBy::Shutdown });
    }
}

/// The ancestor had a variable that any caller could set to start a job during shutdown.
#[tokio::test(start_paused = true)]
async fn caller_input_cannot_start_job_after_shutdown() {
    let engine = engine();
    engine.register("a", exits(0)).unwrap();
    let mut env = Env::new();
    env.set("overrideShutdown", "1").unwrap();
    let job = engine.job("a").unwrap().args(["overrideShutdown=1"]).env(&env).build().unwrap();
    engine.shutdown(Duration::ZERO).await;
    assert_eq!(job.start(), Err(StartError::ShuttingDown));
    assert_eq!(job.start(), Err(StartError::AlreadyStarted));
    assert!(matches!(job.wait().await.outcome.clone(), Outcome::Refused { .. }));
}
