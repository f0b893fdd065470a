//! The API over real sockets, with native handlers: what only a client without manners, a shut gate or a draining engine can show.

mod children;
mod routes;
mod stopping;

use std::path::PathBuf;
use std::time::Duration;

use capstan_core::outcome::{CancelledBy, Outcome};
use capstan_core::policy::Ceiling;
use capstan_engine::engine;
use capstan_engine::engine::Engine;
use capstan_engine::handler::{Call, Native};
use capstan_engine::tasks::Tasks;
use capstan_listen::listenbuffer::StartupPhase;
use capstan_listen::listenbuffer::{Gate, StartupPolicy};
use capstan_listen::listener::{self, Address, InheritedSockets};
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::*;

struct Served {
    engine: Engine,
    gate: Gate,
    api: std::sync::Arc<Api>,
    port: u16,
    path: PathBuf,
    stop: Option<oneshot::Sender<()>>,
    server: JoinSet<()>,
    _folder: tempfile::TempDir,
}

trait Connection: AsyncRead + AsyncWrite + Unpin + Send {}
impl<C: AsyncRead + AsyncWrite + Unpin + Send> Connection for C {}

impl Served {
    /// An API behind a shut gate, on a unix socket and on TCP.
    async fn shut() -> Self {
        Self::shut_and(StartupPolicy::Hold, Bounds::default()).await
    }

    async fn shut_and(policy: StartupPolicy, http: Bounds) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s.sock");
        let engine = Engine::new(engine::Config { ceiling: Ceiling::default(), runs: 8, queue: 0 });
        engine.register("wait", Native::work("Waits to be stopped", wait)).unwrap();
        engine.register("pause", Native::work("Prints a line after a while", pause)).unwrap();
        engine.register("fail", Native::work("Prints 1 MiB, then fails", fail)).unwrap();
        let gate = Gate::new();
        let addresses = [Address::Unix(path.clone()), "tcp://127.0.0.1:0".parse().unwrap()];
        let listeners =
            listener::bind(&addresses.map(Into::into), listener::Options::default(), None, &InheritedSockets::none())
                .await
                .unwrap();
        let Address::Tcp { port, .. } = *listeners[1].address() else { panic!("the second is TCP") };
        let settings = Settings {
            upload: 1 << 20,
            spill: folder.path().to_owned(),
            debug: None,
            tasks: Tasks::default(),
            policy,
            http,
            callers: Arc::default(),
        };
        let api = std::sync::Arc::new(Api::new(engine.clone(), gate.clone(), settings));
        let (stop, stopped) = oneshot::channel();
        let mut server = JoinSet::new();
        server.spawn(serve(api.clone(), listeners, stopped));
        Self { engine, gate, api, port, path, stop: Some(stop), server, _folder: folder }
    }

    async fn open() -> Self {
        let served = Self::shut().await;
        served.gate.open();
        served
    }

    async fn unix(&self) -> Box<dyn Connection> {
        Box::new(UnixStream::connect(&self.path).await.unwrap())
    }

    async fn tcp(&self) -> Box<dyn Connection> {
        Box::new(TcpStream::connect(("127.0.0.1", self.port)).await.unwrap())
    }

    async fn both(&self) -> [Box<dyn Connection>; 2] {
        [self.unix().await, self.tcp().await]
    }

    async fn stop(&mut self) {
        self.stop.take();
        self.server.join_next().await.unwrap().unwrap();
    }
}

async fn wait(call: Call) -> Outcome {
    call.stop.requested().await
}

async fn pause(mut call: Call) -> Outcome {
    tokio::time::sleep(Duration::from_millis(700)).await;
    call.stdout.write_all(b"at last").await.unwrap();
    Outcome::SUCCESS
}

async fn fail(mut call: Call) -> Outcome {
    match call.stdout.write_all(&[b'x'; 1 << 20]).await {
        Ok(()) => Outcome::Exited { code: 3 },
        Err(_) => Outcome::Cancelled { by: CancelledBy::Client },
    }
}

async fn ask(connection: &mut Box<dyn Connection>, request: &str) {
    connection.write_all(request.as_bytes()).await.unwrap();
}

fn run(handler: &str, version: &str) -> String {
    format!("POST /handlers/{handler}/run HTTP/{version}\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")
}

/// All that comes until the end, and whether that was a reset.
async fn rest(connection: &mut Box<dyn Connection>) -> (String, bool) {
    let mut read = Vec::new();
    let reset = connection.read_to_end(&mut read).await.is_err();
    (String::from_utf8(read).unwrap(), reset)
}

async fn idle(engine: &Engine) {
    tokio::time::timeout(Duration::from_secs(20), engine.idle()).await.expect("the run has not ended");
}

async fn running(engine: &Engine) {
    while engine.counts().running == 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn who_has_said_all_and_closed_that_half_gets_the_answer() {
    let served = Served::open().await;
    for mut connection in served.both().await {
        ask(&mut connection, &run("pause", "1.1")).await;
        connection.shutdown().await.unwrap();
        let (answer, reset) = rest(&mut connection).await;
        assert!(!reset && answer.starts_with("HTTP/1.1 200 "), "{answer}");
        let body = answer.split_once("\r\n\r\n").unwrap().1;
        // Over TCP the length of the chunk is led by the zero that asked whether anyone is there.
        assert_eq!(body.trim_start_matches('0'), "7\r\nat last\r\n0\r\n\r\n");
    }
}

#[tokio::test]
async fn who_leaves_takes_the_run_along() {
    let served = Served::open().await;
    for mut connection in served.both().await {
        ask(&mut connection, &run("wait", "1.1")).await;
        running(&served.engine).await;
        drop(connection);
        idle(&served.engine).await;
    }
    // What was answered already has been read here, so that nothing is left over which a reset could be sent.
    for mut connection in served.both().await {
        ask(&mut connection, &run("wait", "1.1")).await;
        let mut head = [0; 12];
        connection.read_exact(&mut head).await.unwrap();
        assert_eq!(&head, b"HTTP/1.1 200");
        drop(connection);
        idle(&served.engine).await;
    }
}

#[tokio::test]
async fn a_cut_comes_after_all_that_was_printed() {
    let served = Served::open().await;
    for mut connection in served.both().await {
        ask(&mut connection, &run("fail", "1.1")).await;
        let (answer, reset) = rest(&mut connection).await;
        assert!(!reset && !answer.ends_with("0\r\n\r\n"), "it was not cut");
        assert_eq!(answer.matches('x').count(), 1 << 20, "something was lost");
    }
}

#[tokio::test]
async fn a_cut_without_chunks_is_a_reset() {
    let served = Served::open().await;
    let mut connection = served.tcp().await;
    ask(&mut connection, &run("fail", "1.0")).await;
    assert!(rest(&mut connection).await.1, "a client of HTTP/1.0 takes this for the end");
}

#[tokio::test]
async fn a_service_is_not_run() {
    let served = Served::open().await;
    served.engine.register("service", Native::service("Waits", wait)).unwrap();
    let mut connection = served.unix().await;
    ask(&mut connection, &run("service", "1.0")).await;
    let (answer, _) = rest(&mut connection).await;
    assert!(answer.starts_with("HTTP/1.0 403 ") && answer.contains("\"service\""), "{answer}");
}

#[tokio::test]
async fn who_was_held_is_told_why_the_gate_stays_shut() {
    let mut served = Served::shut().await;
    let mut held = Vec::new();
    for _ in 0..5 {
        held.extend(served.both().await);
    }
    for connection in &mut held {
        ask(connection, &run("wait", "1.1")).await;
    }
    served.gate.fail("no engine today");
    for mut connection in held {
        let (answer, _) = rest(&mut connection).await;
        assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("\"starting\""), "{answer}");
        assert!(answer.contains("no engine today") && answer.contains("retry-after: 1"), "{answer}");
    }
    served.stop().await;
    assert!(!served.path.exists());
}

/// What is answered until `needle` has come, on a connection that stays.
async fn until(connection: &mut Box<dyn Connection>, needle: &str) -> String {
    let mut read = Vec::new();
    while !read.ends_with(needle.as_bytes()) {
        read.push(connection.read_u8().await.unwrap());
    }
    String::from_utf8(read).unwrap()
}

#[tokio::test]
async fn who_is_answered_while_the_gate_is_shut_is_served_on_the_same_connection_after_it_has_opened() {
    let served = Served::shut_and(StartupPolicy::Answer, Bounds::default()).await;
    served.gate.set_phase(StartupPhase::Installing);
    let mut connections = served.both().await;
    for connection in &mut connections {
        ask(connection, "GET /v1/_ready HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
        let answer = until(connection, "}}\n").await;
        assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("retry-after: 1"), "{answer}");
        assert!(answer.contains("\"starting\"") && answer.contains("\"phase\":\"installing\""), "{answer}");
        ask(connection, &run("pause", "1.1")).await;
    }
    while served.api.held() != Some(2) {
        tokio::task::yield_now().await;
    }
    assert_eq!(served.engine.counts().started, 0, "nothing runs before the gate opens");
    served.gate.open();
    for connection in &mut connections {
        let answer = until(connection, "\r\n0\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("at last"), "{answer}");
        ask(connection, "GET /_ping HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
        assert!(until(connection, "OK\n").await.starts_with("HTTP/1.1 200 "));
    }
    assert_eq!(served.api.held(), Some(0));
}

#[tokio::test]
async fn who_was_held_by_the_server_is_told_why_the_gate_stays_shut() {
    let mut served = Served::shut_and(StartupPolicy::Answer, Bounds::default()).await;
    let mut held = served.both().await;
    for connection in &mut held {
        ask(connection, &run("wait", "1.1")).await;
    }
    while served.api.held() != Some(2) {
        tokio::task::yield_now().await;
    }
    served.gate.fail("no engine today");
    served.stop().await;
    for mut connection in held {
        let (answer, reset) = rest(&mut connection).await;
        assert!(!reset && answer.starts_with("HTTP/1.1 503 ") && answer.contains("no engine today"), "{answer}");
    }
    assert!(!served.path.exists());
}

#[tokio::test]
async fn a_server_behind_a_shut_gate_stops_at_once() {
    let mut served = Served::shut().await;
    let _held = served.both().await;
    tokio::time::timeout(Duration::from_secs(10), served.stop()).await.expect("the server waits for its gate");
    assert!(!served.path.exists());
    assert!(TcpStream::connect(("127.0.0.1", served.port)).await.is_err());
}

#[tokio::test]
async fn a_draining_server_accepts_nobody_and_answers_whom_it_has() {
    let mut served = Served::open().await;
    let [mut runs, mut waits] = served.both().await;
    ask(&mut runs, &run("pause", "1.1")).await;
    // Answered once, so that the server has it.
    ask(&mut waits, "GET /_ready HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    let mut head = [0; 12];
    waits.read_exact(&mut head).await.unwrap();
    running(&served.engine).await;

    let engine = served.engine.clone();
    let (report, (), ()) = tokio::join!(engine.shutdown(Duration::from_secs(30)), served.stop(), async {
        ask(&mut waits, &run("pause", "1.1")).await;
        ask(&mut waits, "GET /_ready HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
        let (answers, _) = rest(&mut waits).await;
        assert_eq!(answers.matches("HTTP/1.1 503 ").count(), 2, "{answers}");
        assert_eq!(answers.matches("\"draining\"").count(), 2, "{answers}");
        let (answer, _) = rest(&mut runs).await;
        assert!(answer.ends_with("at last\r\n0\r\n\r\n"), "{answer}");
    });
    assert!(report.unfinished.is_empty() && report.cancelled.is_empty(), "{report:?}");
    assert!(!served.path.exists());
}
