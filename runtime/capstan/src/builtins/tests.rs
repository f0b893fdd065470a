//! Tests of `serveapi` and `acceptconnections`, in every order.

use std::path::Path;
use std::sync::OnceLock;

use capstan_api::{Api, HttpLimits, Settings};
use capstan_confinement::{ConfinementReport, Mode};
use capstan_core::policy::Ceiling;
use capstan_core::stream;
use capstan_engine::engine::{self, DEFAULT_QUEUE, Engine};
use capstan_engine::job::Job;
use capstan_engine::tasks::Tasks;
use capstan_listen::listenbuffer::{Gate, GateState, StartupPhase, StartupPolicy};
use capstan_listen::listener::{self, InheritedSockets};
use capstan_sandbox::CompileLimits;
use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixStream;

use super::*;

fn daemon(directory: &Path) -> Arc<DaemonState> {
    let engine = Engine::new(engine::Config { ceiling: Ceiling::default(), runs: 1, queue: DEFAULT_QUEUE });
    let gate = Gate::new();
    let settings = Settings {
        max_upload: 1,
        max_files: 1,
        spill_folder: directory.to_owned(),
        debug: None,
        tasks: Tasks::default(),
        policy: StartupPolicy::Hold,
        http_limits: HttpLimits::default(),
        allowed_hosts: Arc::default(),
        access_log: None,
    };
    let daemon = Arc::new(DaemonState {
        api: Arc::new(Api::new(engine.clone(), gate.clone(), settings)),
        engine,
        gate,
        listening: listener::Options::default(),
        tls: None,
        inherited: InheritedSockets::none(),
        held_at_opening: OnceLock::new(),
        sandbox: OnceLock::new(),
        confined_compiler: OnceLock::new(),
        webhooks: Arc::default(),
        info: DaemonInfo {
            data: directory.display().to_string(),
            runs: 1,
            runs_ceiling: 1,
            stack: 512 << 10,
            compile: CompileLimits::default(),
            upload: 1,
            confine: Mode::Off,
            confined: ConfinementReport::inherited(),
            started: jiff::Timestamp::now(),
            log_lines_dropped: || 0,
        },
    });
    daemon.engine.install(all(&daemon)).unwrap();
    daemon
}

/// Opens the gate.
async fn accept_connections(daemon: &DaemonState) -> Outcome {
    let job = daemon.engine.job("acceptconnections").unwrap().build().unwrap();
    job.start().unwrap();
    job.wait().await.outcome.clone()
}

/// Starts the job `serveapi`, and returns it once it listens.
async fn serve_api(daemon: &DaemonState, path: &Path) -> Job {
    let (stdout, mut printed) = stream::pipe(1024);
    let job = daemon.engine.job("serveapi").unwrap().args([format!("unix://{}", path.display())]).stdout(stdout);
    let job = job.build().unwrap();
    job.start().unwrap();
    let mut addresses = String::new();
    printed.read_to_string(&mut addresses).await.unwrap();
    assert_eq!(addresses, format!("unix://{}\n", path.display()));
    job
}

async fn ping(path: &Path) -> String {
    let mut connection = UnixStream::connect(path).await.unwrap();
    connection.write_all(b"GET /_ping HTTP/1.0\r\n\r\n").await.unwrap();
    let mut response = String::new();
    connection.read_to_string(&mut response).await.unwrap();
    response
}

#[tokio::test]
async fn acceptconnections_works_before_serveapi_and_more_than_once() {
    let directory = tempfile::tempdir().unwrap();
    let (daemon, path) = (daemon(directory.path()), directory.path().join("s"));
    for _ in 0..2 {
        assert_eq!(accept_connections(&daemon).await, Outcome::SUCCESS);
    }
    let _serving = serve_api(&daemon, &path).await;
    assert_eq!(accept_connections(&daemon).await, Outcome::SUCCESS);
    assert!(ping(&path).await.starts_with("HTTP/1.0 200 "));
    assert!(daemon.engine.shutdown(std::time::Duration::ZERO).await.unfinished.is_empty());
    assert!(!path.exists());
}

#[tokio::test]
async fn acceptconnections_of_a_failed_gate_exits_with_1() {
    let directory = tempfile::tempdir().unwrap();
    let daemon = daemon(directory.path());
    daemon.gate.fail("no engine");
    assert_eq!(accept_connections(&daemon).await, Outcome::Exited { code: 1 });
}

#[tokio::test]
async fn two_daemons_in_one_process_have_separate_gates() {
    let directory = tempfile::tempdir().unwrap();
    let (one, other) = (daemon(directory.path()), daemon(directory.path()));
    let _serving =
        (serve_api(&one, &directory.path().join("1")).await, serve_api(&other, &directory.path().join("2")).await);
    assert_eq!(accept_connections(&one).await, Outcome::SUCCESS);
    assert!(ping(&directory.path().join("1")).await.starts_with("HTTP/1.0 200 "));
    assert_eq!(other.gate.state(), GateState::Shut(StartupPhase::Binding));
    for daemon in [one, other] {
        daemon.engine.shutdown(std::time::Duration::ZERO).await;
    }
}
