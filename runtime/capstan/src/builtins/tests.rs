//! The two services that are the daemon's life, in every order.

use std::path::Path;

use capstan_api::{HttpLimits, Settings};
use capstan_core::policy::Ceiling;
use capstan_core::stream;
use capstan_engine::engine::{self, DEFAULT_QUEUE};
use capstan_engine::job::Job;
use capstan_engine::tasks::Tasks;
use capstan_listen::listenbuffer::{Phase, Policy};
use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixStream;

use super::*;

fn daemon(folder: &Path) -> Arc<Daemon> {
    let engine = Engine::new(engine::Config { ceiling: Ceiling::default(), runs: 1, queue: DEFAULT_QUEUE });
    let gate = Gate::new();
    let settings = Settings {
        max_upload: 1,
        spill_folder: folder.to_owned(),
        debug: None,
        tasks: Tasks::default(),
        policy: Policy::Hold,
        http_limits: HttpLimits::default(),
        allowed_hosts: Arc::default(),
    };
    let daemon = Arc::new(Daemon {
        api: Arc::new(Api::new(engine.clone(), gate.clone(), settings)),
        engine,
        gate,
        listening: listener::Options::default(),
        tls: None,
        inherited: Inherited::none(),
        held_at_opening: OnceLock::new(),
        sandbox: OnceLock::new(),
        confined_compiler: OnceLock::new(),
        facts: Facts {
            data: folder.display().to_string(),
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
    daemon.engine.install(bundle(&daemon)).unwrap();
    daemon
}

async fn opened(daemon: &Daemon) -> Outcome {
    let job = daemon.engine.job("acceptconnections").unwrap().build().unwrap();
    job.start().unwrap();
    job.wait().await.outcome
}

/// Starts the job that serves, and gives it once it listens.
async fn served(daemon: &Daemon, path: &Path) -> Job {
    let (stdout, mut printed) = stream::pipe(1024);
    let job = daemon.engine.job("serveapi").unwrap().args([format!("unix://{}", path.display())]).stdout(stdout);
    let job = job.build().unwrap();
    job.start().unwrap();
    let mut addresses = String::new();
    printed.read_to_string(&mut addresses).await.unwrap();
    assert_eq!(addresses, format!("unix://{}\n", path.display()));
    job
}

async fn answer(path: &Path) -> String {
    let mut connection = UnixStream::connect(path).await.unwrap();
    connection.write_all(b"GET /_ping HTTP/1.0\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn the_gate_may_be_opened_before_the_api_is_served_and_more_than_once() {
    let folder = tempfile::tempdir().unwrap();
    let (daemon, path) = (daemon(folder.path()), folder.path().join("s"));
    for _ in 0..2 {
        assert_eq!(opened(&daemon).await, Outcome::SUCCESS);
    }
    let _serving = served(&daemon, &path).await;
    assert_eq!(opened(&daemon).await, Outcome::SUCCESS);
    assert!(answer(&path).await.starts_with("HTTP/1.0 200 "));
    assert!(daemon.engine.shutdown(std::time::Duration::ZERO).await.unfinished.is_empty());
    assert!(!path.exists());
}

#[tokio::test]
async fn a_gate_that_has_failed_is_not_opened() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = daemon(folder.path());
    daemon.gate.fail("no engine");
    assert_eq!(opened(&daemon).await, Outcome::Exited { code: 1 });
}

#[tokio::test]
async fn two_daemons_in_one_process_have_a_gate_each() {
    let folder = tempfile::tempdir().unwrap();
    let (one, other) = (daemon(folder.path()), daemon(folder.path()));
    let _serving = (served(&one, &folder.path().join("1")).await, served(&other, &folder.path().join("2")).await);
    assert_eq!(opened(&one).await, Outcome::SUCCESS);
    assert!(answer(&folder.path().join("1")).await.starts_with("HTTP/1.0 200 "));
    assert_eq!(other.gate.state(), GateState::Shut(Phase::Binding));
    for daemon in [one, other] {
        daemon.engine.shutdown(std::time::Duration::ZERO).await;
    }
}
