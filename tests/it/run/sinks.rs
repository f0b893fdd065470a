//! The output streams of a job inside the engine: several sinks per stream, sinks that fail or block, and decoders.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use capstan_core::manifest::Manifest;
use capstan_core::outcome::{Outcome, OutputStream};
use capstan_core::policy::{Ceiling, PolicyRequest};
use capstan_core::stream::{self, Evicted, FanOut, LagPolicy, Piece, Sink, Source, Tail, decode};
use capstan_engine::engine::JobBuilder;
use capstan_engine::engine::{Config, Engine};
use capstan_engine::handler::{Call, Native};
use capstan_engine::job::{Job, JobOptions};
use capstan_engine::output_log::Piece as Logged;
use capstan_engine::tasks::Tasks;
use capstan_sandbox::{CompileLimits, Metering, Resolver, Sandbox};
use capstan_tests::guests;
use tokio::io::{AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use crate::CAPSTAN;

/// Creates an engine with the handler `says`. Its arguments are the text for stdout, the text for stderr, and the number of repetitions.
fn engine() -> Engine {
    let engine = Engine::new(Config { ceiling: Ceiling::default(), runs: 8, queue: 8 });
    engine.register("says", Native::work("Prints its arguments", says)).unwrap();
    engine
}

async fn says(mut call: Call) -> Outcome {
    let times = call.args.get(2).map_or(1, |times| times.parse().unwrap());
    for _ in 0..times {
        for (sink, text) in [&mut call.stdout, &mut call.stderr].into_iter().zip(&call.args) {
            let written = tokio::select! {
                written = sink.write_all(text.as_bytes()) => written,
                outcome = call.stop.requested() => return outcome,
            };
            if written.is_err() {
                return Outcome::Exited { code: 1 };
            }
        }
    }
    Outcome::Exited { code: 7 }
}

fn job(engine: &Engine, args: &[&str]) -> JobBuilder {
    engine.job("says").unwrap().args(args.iter().copied())
}

/// Starts a job and waits for its normal end.
async fn run_to_end(job: JobBuilder) -> Job {
    let job = job.build().unwrap();
    job.start().unwrap();
    assert_eq!(job.wait().await.outcome, Outcome::Exited { code: 7 });
    job
}

async fn read_text(mut source: Source) -> String {
    let mut text = String::new();
    source.read_to_string(&mut text).await.unwrap();
    text
}

/// A sink that accepts a number of bytes and then fails.
struct FullAfter(usize);

impl AsyncWrite for FullAfter {
    fn poll_write(mut self: Pin<&mut Self>, _cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let size = bytes.len().min(self.0);
        self.0 -= size;
        Poll::Ready(if size == 0 { Err(io::ErrorKind::StorageFull.into()) } else { Ok(size) })
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[tokio::test]
async fn logged_job_also_has_live_readers() {
    let engine = engine();
    let ((a, of_a), (b, of_b)) = (stream::pipe(64), stream::pipe(64));
    let job = run_to_end(job(&engine, &["out\n", "err\n"]).logged().stdout(a).stdout(b)).await;
    assert_eq!((read_text(of_a).await.as_str(), read_text(of_b).await.as_str()), ("out\n", "out\n"));
    let mut log = job.log().unwrap().follow();
    let mut logged = Vec::new();
    while let Some(piece) = log.next().await {
        let Logged::Output { stream, bytes, .. } = piece else { panic!("{piece:?}") };
        logged.push((stream, bytes));
    }
    assert_eq!(logged, [(OutputStream::Stdout, "out\n".into()), (OutputStream::Stderr, "err\n".into())]);
    assert_eq!(job.sink_errors(), []);
}

#[tokio::test]
async fn guest_output_reaches_all_sinks_despite_one_that_fails() {
    let config = capstan_sandbox::Config {
        ceiling: capstan_core::limits::Limits::default(),
        runs: 2,
        stack: capstan_sandbox::DEFAULT_STACK,
        compile: CompileLimits::default(),
        compiler: CAPSTAN.into(),
        confine: capstan_confinement::Mode::default(),
        artifacts: None,
        tasks: Tasks::default(),
        resolver: Resolver::default(),
        roots: capstan_sandbox::TrustedRoots::default(),
    };
    let sandbox = Sandbox::new(config).unwrap();
    let engine = engine();
    engine
        .register(
            "probe",
            sandbox.load(guests::compiled("probe.p1").into(), Manifest::default(), Metering::Off).await.unwrap(),
        )
        .unwrap();
    let (fan_out, stdout) = FanOut::new();
    let mut tap = fan_out.tap(LagPolicy::Drop, 100);
    let (live, of_live) = stream::pipe(64);
    let job = engine.job("probe").unwrap().args(["lines", "10000"]);
    let job = job.logged().stdout(Sink::new(FullAfter(5000))).stdout(live).stdout(stdout).build().unwrap();
    job.start().unwrap();
    let expected: String = (0..10_000).map(|line| format!("line {line}\n")).collect();
    assert!(read_text(of_live).await == expected);
    assert_eq!(job.wait().await.outcome, Outcome::SUCCESS);
    let errors: Vec<_> = job.sink_errors().into_iter().map(|(_, error)| (error.number, error.taken)).collect();
    assert_eq!(errors, [(1, 5000)], "the log is the last sink");
    let end = &expected.as_bytes()[expected.len() - 100..];
    let missed = expected.len() as u64 - 100;
    assert_eq!(tap.next().await, Ok(Some(Piece::Gap { missed })));
    assert_eq!(tap.next().await, Ok(Some(Piece::Bytes(end.to_vec().into()))));
    let mut log = job.log().unwrap().follow();
    let mut logged = Vec::new();
    while let Some(Logged::Output { bytes, .. }) = log.next().await {
        logged.extend(bytes);
    }
    assert!(logged == expected.as_bytes());
}

#[tokio::test]
async fn failed_and_closed_sinks_are_reported_with_the_job() {
    let engine = engine();
    let (left, reader) = stream::pipe(64);
    let (good, of_good) = stream::pipe(64);
    drop(reader);
    let job = job(&engine, &["hello", "err"]).stdout(Sink::new(FullAfter(2))).stdout(left).stdout(good);
    let job = run_to_end(job).await;
    assert_eq!(read_text(of_good).await, "hello");
    let errors: Vec<_> =
        job.sink_errors().into_iter().map(|(stream, error)| (stream, error.number, error.kind)).collect();
    assert_eq!(
        errors,
        [(OutputStream::Stdout, 1, io::ErrorKind::StorageFull), (OutputStream::Stdout, 2, io::ErrorKind::BrokenPipe)]
    );
    assert!(job.sink_errors()[0].1.to_string().starts_with("sink 1 failed after 2 bytes: "));
}

#[tokio::test(start_paused = true)]
async fn blocked_sink_ends_at_the_deadline_and_does_not_affect_others() {
    let engine = engine();
    let (stuck, _of_stuck) = stream::pipe(1);
    let (good, of_good) = stream::pipe(64);
    let asked = PolicyRequest { timeout: Some(Duration::from_secs(5)), ..PolicyRequest::default() };
    let job = job(&engine, &["hello"])
        .stdout(stuck)
        .stdout(good)
        .options(JobOptions { policy: asked, ..JobOptions::default() });
    let job = job.build().unwrap();
    job.start().unwrap();
    assert!(matches!(job.wait().await.outcome, Outcome::TimedOut { .. }));
    assert_eq!(read_text(of_good).await, "hello");
}

#[tokio::test]
async fn readers_that_do_not_read_do_not_delay_the_job() {
    let engine = engine();
    let (fan_out, stdout) = FanOut::new();
    let mut slow = fan_out.tap(LagPolicy::Drop, 1000);
    let mut evicted = fan_out.tap(LagPolicy::Evict, 1000);
    let line = "x".repeat(99) + "\n";
    run_to_end(job(&engine, &[&line, "", "100000"]).stdout(stdout)).await;
    let Ok(Some(Piece::Gap { missed })) = slow.next().await else { panic!("10 MB fit into 1 kB") };
    let Ok(Some(Piece::Bytes(rest))) = slow.next().await else { panic!("the last bytes must be kept") };
    assert_eq!((missed, rest.as_ref()), (9_999_000, line.repeat(10).as_bytes()));
    assert_eq!(slow.next().await, Ok(None));
    assert!(matches!(evicted.next().await, Ok(Some(Piece::Bytes(first))) if first.len() == 1000));
    assert_eq!(evicted.next().await, Err(Evicted));
}

#[tokio::test]
async fn output_is_decoded_up_to_the_first_invalid_byte() {
    let engine = engine();
    let garbage = format!("{{\"id\": 1}} {{\"id\": 2}} garbage {}", "x".repeat(1_000_000));
    let (stdout, printed) = stream::pipe(64);
    let decoding = decode::last_object(printed, decode::OBJECT_SIZE);
    let (_, decoded) = tokio::join!(run_to_end(job(&engine, &[&garbage]).stdout(stdout)), decoding);
    assert_eq!(decoded.value.unwrap()["id"], 2);
    assert_eq!(decoded.error.unwrap().to_string(), "byte 20: expected value");

    let (stdout, printed) = stream::pipe(64);
    let decoding = decode::table(printed, decode::TABLE_SIZE);
    let (_, decoded) = tokio::join!(run_to_end(job(&engine, &[&garbage]).stdout(stdout)), decoding);
    assert_eq!(decoded.value.lines(), "{\"id\":1}\n{\"id\":2}\n");
    assert_eq!(decoded.error.unwrap().to_string(), "byte 20: expected value");
}

#[tokio::test]
async fn tail_keeps_the_last_line_of_stderr() {
    let engine = engine();
    let tail = Tail::new(1, 1000);
    run_to_end(job(&engine, &["", "warning: a\nno such file\n\n", "50"]).stderr(tail.sink())).await;
    assert_eq!(tail.text(), "no such file");
}
