//! The API over real sockets, with native handlers: misbehaving clients, a shut gate and a draining engine.

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
use capstan_engine::job_store::MemoryJobStore;
use capstan_engine::queue::{Queue, QueueConfig};
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

struct TestServer {
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

impl TestServer {
    /// Serves an API behind a shut gate, on a unix socket and on TCP.
    async fn shut() -> Self {
        Self::shut_with(StartupPolicy::Hold, HttpLimits::default()).await
    }

    async fn shut_with(policy: StartupPolicy, http_limits: HttpLimits) -> Self {
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
            max_upload: 1 << 20,
            max_files: 1 << 20,
            spill_folder: folder.path().to_owned(),
            debug: None,
            tasks: Tasks::default(),
            policy,
            http_limits,
            allowed_hosts: Arc::default(),
            access_log: None,
        };
        let api = std::sync::Arc::new(Api::new(engine.clone(), gate.clone(), settings));
        let store = std::sync::Arc::new(MemoryJobStore::default());
        api.set_queue(Queue::new(engine.clone(), store, QueueConfig::default()), &[7; 32]);
        let (stop, stopped) = oneshot::channel();
        let mut server = JoinSet::new();
        server.spawn(serve(api.clone(), Listeners { api: listeners, ..Listeners::default() }, stopped));
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

async fn send(connection: &mut Box<dyn Connection>, request: &str) {
    connection.write_all(request.as_bytes()).await.unwrap();
}

fn run_request(handler: &str, version: &str) -> String {
    format!("POST /handlers/{handler}/run HTTP/{version}\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")
}

/// Reads everything until the connection ends, and returns whether it ended with a reset.
async fn read_to_end(connection: &mut Box<dyn Connection>) -> (String, bool) {
    let mut read = Vec::new();
    let reset = connection.read_to_end(&mut read).await.is_err();
    (String::from_utf8(read).unwrap(), reset)
}

async fn wait_idle(engine: &Engine) {
    tokio::time::timeout(Duration::from_secs(20), engine.wait_until_idle()).await.expect("the run has not ended");
}

async fn wait_running(engine: &Engine) {
    while engine.counts().running == 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn half_closed_client_gets_response() {
    let served = TestServer::open().await;
    for mut connection in served.both().await {
        send(&mut connection, &run_request("pause", "1.1")).await;
        connection.shutdown().await.unwrap();
        let (response, reset) = read_to_end(&mut connection).await;
        assert!(!reset && response.starts_with("HTTP/1.1 200 "), "{response}");
        let body = response.split_once("\r\n\r\n").unwrap().1;
        // Over TCP the length of the chunk starts with the zero that was sent as a probe.
        assert_eq!(body.trim_start_matches('0'), "7\r\nat last\r\n0\r\n\r\n");
    }
}

#[tokio::test]
async fn run_is_cancelled_when_client_disconnects() {
    let served = TestServer::open().await;
    for mut connection in served.both().await {
        send(&mut connection, &run_request("wait", "1.1")).await;
        wait_running(&served.engine).await;
        drop(connection);
        wait_idle(&served.engine).await;
    }
    // The response so far has been read here, so that closing the connection sends no reset.
    for mut connection in served.both().await {
        send(&mut connection, &run_request("wait", "1.1")).await;
        let mut head = [0; 12];
        connection.read_exact(&mut head).await.unwrap();
        assert_eq!(&head, b"HTTP/1.1 200");
        drop(connection);
        wait_idle(&served.engine).await;
    }
}

#[tokio::test]
async fn cut_response_contains_all_output() {
    let served = TestServer::open().await;
    for mut connection in served.both().await {
        send(&mut connection, &run_request("fail", "1.1")).await;
        let (response, reset) = read_to_end(&mut connection).await;
        assert!(!reset && !response.ends_with("0\r\n\r\n"), "it was not cut");
        assert_eq!(response.matches('x').count(), 1 << 20, "something was lost");
    }
}

#[tokio::test]
async fn failed_run_over_http10_has_its_outcome_in_the_head() {
    let served = TestServer::open().await;
    for mut connection in served.both().await {
        send(&mut connection, &run_request("fail", "1.0")).await;
        let (response, _) = read_to_end(&mut connection).await;
        let (head, body) = response.split_once("\r\n\r\n").unwrap();
        assert!(head.contains("capstan-exit-code: 3\r\n"), "{head}");
        assert_eq!(body.len(), 1 << 20, "something was lost");
    }
}

#[tokio::test]
async fn run_rejects_service() {
    let served = TestServer::open().await;
    served.engine.register("service", Native::service("Waits", wait)).unwrap();
    let mut connection = served.unix().await;
    send(&mut connection, &run_request("service", "1.0")).await;
    let (response, _) = read_to_end(&mut connection).await;
    assert!(response.starts_with("HTTP/1.0 403 ") && response.contains("\"service\""), "{response}");
}

#[tokio::test]
async fn connections_held_by_kernel_get_reason_when_gate_fails() {
    let mut served = TestServer::shut().await;
    let mut held = Vec::new();
    for _ in 0..5 {
        held.extend(served.both().await);
    }
    for connection in &mut held {
        send(connection, &run_request("wait", "1.1")).await;
    }
    served.gate.fail("no engine today");
    for mut connection in held {
        let (response, _) = read_to_end(&mut connection).await;
        assert!(response.starts_with("HTTP/1.1 503 ") && response.contains("\"starting\""), "{response}");
        assert!(response.contains("no engine today") && response.contains("retry-after: 1"), "{response}");
    }
    served.stop().await;
    assert!(!served.path.exists());
}

/// Reads until the input ends with `needle`, on a connection that stays open.
async fn read_until(connection: &mut Box<dyn Connection>, needle: &str) -> String {
    let mut read = Vec::new();
    while !read.ends_with(needle.as_bytes()) {
        read.push(connection.read_u8().await.unwrap());
    }
    String::from_utf8(read).unwrap()
}

#[tokio::test]
async fn connection_answered_behind_shut_gate_is_served_after_gate_opens() {
    let served = TestServer::shut_with(StartupPolicy::Answer, HttpLimits::default()).await;
    served.gate.set_phase(StartupPhase::Installing);
    let mut connections = served.both().await;
    for connection in &mut connections {
        send(connection, "GET /v1/_ready HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
        let response = read_until(connection, "}}\n").await;
        assert!(response.starts_with("HTTP/1.1 503 ") && response.contains("retry-after: 1"), "{response}");
        assert!(response.contains("\"starting\"") && response.contains("\"phase\":\"installing\""), "{response}");
        send(connection, &run_request("pause", "1.1")).await;
    }
    while served.api.waiting() != Some(2) {
        tokio::task::yield_now().await;
    }
    assert_eq!(served.engine.counts().started, 0, "nothing runs before the gate opens");
    served.gate.open();
    for connection in &mut connections {
        let response = read_until(connection, "\r\n0\r\n\r\n").await;
        assert!(response.starts_with("HTTP/1.1 200 ") && response.contains("at last"), "{response}");
        send(connection, "GET /_ping HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
        assert!(read_until(connection, "OK\n").await.starts_with("HTTP/1.1 200 "));
    }
    assert_eq!(served.api.waiting(), Some(0));
}

#[tokio::test]
async fn queued_requests_get_reason_when_gate_fails() {
    let mut served = TestServer::shut_with(StartupPolicy::Answer, HttpLimits::default()).await;
    let mut held = served.both().await;
    for connection in &mut held {
        send(connection, &run_request("wait", "1.1")).await;
    }
    while served.api.waiting() != Some(2) {
        tokio::task::yield_now().await;
    }
    served.gate.fail("no engine today");
    served.stop().await;
    for mut connection in held {
        let (response, reset) = read_to_end(&mut connection).await;
        assert!(!reset && response.starts_with("HTTP/1.1 503 ") && response.contains("no engine today"), "{response}");
    }
    assert!(!served.path.exists());
}

#[tokio::test]
async fn server_behind_shut_gate_stops_at_once() {
    let mut served = TestServer::shut().await;
    let _held = served.both().await;
    tokio::time::timeout(Duration::from_secs(10), served.stop()).await.expect("the server waits for its gate");
    assert!(!served.path.exists());
    assert!(TcpStream::connect(("127.0.0.1", served.port)).await.is_err());
}

#[tokio::test]
async fn draining_server_answers_existing_connections_only() {
    let mut served = TestServer::open().await;
    let [mut running, mut idle] = served.both().await;
    send(&mut running, &run_request("pause", "1.1")).await;
    // One response shows that the server has accepted the connection.
    send(&mut idle, "GET /_ready HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    let mut head = [0; 12];
    idle.read_exact(&mut head).await.unwrap();
    wait_running(&served.engine).await;

    let engine = served.engine.clone();
    let (report, (), ()) = tokio::join!(engine.shutdown(Duration::from_secs(30)), served.stop(), async {
        send(&mut idle, &run_request("pause", "1.1")).await;
        send(&mut idle, "GET /_ready HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
        let (responses, _) = read_to_end(&mut idle).await;
        assert_eq!(responses.matches("HTTP/1.1 503 ").count(), 2, "{responses}");
        assert_eq!(responses.matches("\"draining\"").count(), 2, "{responses}");
        let (response, _) = read_to_end(&mut running).await;
        assert!(response.ends_with("at last\r\n0\r\n\r\n"), "{response}");
    });
    assert!(report.unfinished.is_empty() && report.cancelled.is_empty(), "{report:?}");
    assert!(!served.path.exists());
}
