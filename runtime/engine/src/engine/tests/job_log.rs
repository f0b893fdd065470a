//! The lines of the job log, byte by byte.

use super::*;

/// Waits until `lines` captures the lines of both callsites of the job log, and leaves it empty.
///
/// Other tests pass the same callsites at the same time without a subscriber. If such a test registers a callsite, tracing caches that nobody
/// is interested in it, until the cache is rebuilt. So both lines must be captured many times in a row.
pub(super) async fn wait_until_captured(lines: &LogBuffer) {
    let probe = engine();
    probe.register("probe", exits(0)).unwrap();
    let mut in_a_row = 0;
    while in_a_row < 50 {
        tracing::callsite::rebuild_interest_cache();
        run(&probe, "probe").await;
        probe.wait_until_idle().await;
        let text = String::from_utf8(std::mem::take(&mut *lines.0.lock().unwrap())).unwrap();
        let both = text.contains("+job probe()") && text.contains("-job probe() = OK (0)");
        in_a_row = if both { in_a_row + 1 } else { 0 };
        std::thread::yield_now();
    }
}

/// Returns the lines of the job log during `work`, without their fields.
async fn logged(work: impl Future<Output = ()>) -> Vec<String> {
    let lines = LogBuffer::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(move || writer.clone())
        .with_ansi(false)
        .with_level(false)
        .with_target(false)
        .without_time()
        .finish();
    let _log = tracing::subscriber::set_default(subscriber);
    wait_until_captured(&lines).await;
    work.await;
    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    text.lines().map(|line| line.split(" id=").next().unwrap().to_owned()).collect()
}

async fn call(engine: &Engine, name: &str, args: &[&str]) {
    let job = engine.job(name).unwrap().args(args.iter().copied()).build().unwrap();
    job.start().unwrap();
    job.wait().await;
    engine.wait_until_idle().await;
}

#[tokio::test]
async fn job_log_lines_are_those_of_the_ancestor() {
    let engine = engine();
    engine.register("ok", exits(0)).unwrap();
    engine.register("fails", exits(3)).unwrap();
    engine.register("own-127", exits(127)).unwrap();
    let lines = logged(async {
        call(&engine, "ok", &[]).await;
        call(&engine, "ok", &["a", "b"]).await;
        call(&engine, "ok", &["", "100%d", "{}", "c d", "ü"]).await;
        call(&engine, "fails", &["x"]).await;
        call(&engine, "own-127", &[]).await;
    });
    let expected = [
        "+job ok()",
        "-job ok() = OK (0)",
        "+job ok(a, b)",
        "-job ok(a, b) = OK (0)",
        "+job ok(, 100%d, {}, c d, ü)",
        "-job ok(, 100%d, {}, c d, ü) = OK (0)",
        "+job fails(x)",
        "-job fails(x) = ERR (3)",
        "+job own-127()",
        "-job own-127() = ERR (127)",
    ];
    assert_eq!(lines.await, expected);
}

/// The ancestor's line had no status if a job was not found, and there was no line if it was rejected.
#[tokio::test]
async fn every_job_has_an_end_line_however_it_ends() {
    let engine = Engine::new(Config { ceiling: Ceiling::default(), runs: 1, queue: 1 });
    engine.register("panics", Native::work("panics", |_call| async { panic!("on purpose") })).unwrap();
    let trapped = Outcome::Trapped { trap: "unreachable".into(), message: "m".into(), backtrace: vec![] };
    engine.register("traps", Native::work("traps", move |_call| std::future::ready(trapped.clone()))).unwrap();
    engine.register("waits", runs_until_stopped()).unwrap();
    let lines = logged(async {
        call(&engine, "panics", &[]).await;
        call(&engine, "traps", &[]).await;
        let [running, queued, refused] = [(); 3].map(|()| engine.job("waits").unwrap().build().unwrap());
        running.start().unwrap();
        queued.start().unwrap();
        queued.cancel(CancelledBy::Client);
        queued.wait().await;
        running.cancel(CancelledBy::Operator);
        running.wait().await;
        engine.shutdown(Duration::ZERO).await;
        assert_eq!(refused.start(), Err(StartError::ShuttingDown));
        assert_eq!(refused.start(), Err(StartError::AlreadyStarted));
    });
    let expected = [
        "+job panics()",
        "-job panics() = ERR (125)",
        "+job traps()",
        "-job traps() = ERR (134)",
        "+job waits()",
        "-job waits() = ERR (137)",
        "-job waits() = ERR (137)",
        "-job waits() = ERR (125)",
    ];
    assert_eq!(lines.await, expected);
}
