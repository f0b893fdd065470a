//! Snapshots: programs that are initialised once, at their push.

use capstan_tests::{Client, Daemon, Reply, Setup, foreach_guest, guests};
use serde_json::Value;

use crate::handlers::persistence::{files, restart_after_crash};
use crate::handlers::push_multipart;
use crate::{CAPSTAN, oracle};

foreach_guest!(snapshots, tested);

/// Pushes `wasm` as the handler `guest`.
async fn push(daemon: &Daemon, wasm: &[u8], manifest: &str) -> Reply {
    push_multipart(daemon, &[("module", wasm), ("manifest", manifest.as_bytes())]).await
}

async fn push_ok(daemon: &Daemon, wasm: &[u8], manifest: &str) {
    let reply = push(daemon, wasm, manifest).await;
    assert!(matches!(reply.status, 200 | 201), "{reply:?}");
}

/// Pushes `wasm` and returns the message of the error with `code`.
async fn push_error(daemon: &Daemon, wasm: &[u8], manifest: &str, code: &str) -> String {
    let reply = push(daemon, wasm, manifest).await;
    let message = reply.error(422, code);
    daemon.client().get("/v1/handlers/guest").send().await.error(404, "unknown_handler");
    message
}

async fn run(client: &Client) -> String {
    client.run("guest").send().await.text().to_owned()
}

#[tokio::test]
async fn count() {
    let daemon = Daemon::start(CAPSTAN);
    let client = daemon.client();
    push_ok(&daemon, guests::snapshots::COUNT, "").await;
    assert_eq!(run(&client).await, "01\n01\n", "without a snapshot, nothing is initialised");
    push_ok(&daemon, guests::snapshots::COUNT, "snapshot = true").await;
    for _ in 0..3 {
        assert_eq!(run(&client).await, "41\n03\n", "each run starts from the image");
    }
    push_ok(&daemon, guests::snapshots::COUNT, "snapshot = false").await;
    assert_eq!(run(&client).await, "01\n01\n");
}

#[tokio::test]
async fn run_with_fuel_starts_from_the_image() {
    let daemon = Daemon::start(CAPSTAN);
    push_ok(&daemon, guests::snapshots::COUNT, "snapshot = true\n[policy]\nfuel = 1000").await;
    assert_eq!(run(&daemon.client()).await, "41\n03\n");
}

#[tokio::test]
async fn stored_program_is_the_pushed_one_and_its_snapshot_survives_a_restart() {
    let mut daemon = Daemon::start(CAPSTAN);
    push_ok(&daemon, guests::snapshots::COUNT, "snapshot = true").await;
    let wasm = daemon.client().get("/v1/handlers/guest/wasm").send().await;
    assert_eq!(wasm.body, guests::snapshots::COUNT);
    daemon = restart_after_crash(daemon);
    assert_eq!(run(&daemon.client()).await, "41\n03\n", "from the stored code");
    for artifact in files(&daemon, "artifacts") {
        std::fs::write(artifact, "damaged").unwrap();
    }
    daemon = restart_after_crash(daemon);
    assert_eq!(run(&daemon.client()).await, "41\n03\n", "from the stored program");
}

#[tokio::test]
async fn resume() {
    let daemon = Daemon::start(CAPSTAN);
    let manifest = "argv0 = \"a0\"\n[snapshot]\nargs = [\"b\", \"c d\"]\n[env]\nHOME = \"/\"";
    push_ok(&daemon, guests::snapshots::RESUME, manifest).await;
    assert_eq!(daemon.client().run("guest").arg("late").send().await.text(), "a0\0b\0c d\0");
    // Without the snapshot it has no entry point.
    push_ok(&daemon, guests::snapshots::RESUME, "").await;
    daemon.client().run("guest").send().await.assert_outcome("refused", 125);
}

#[tokio::test]
async fn clock() {
    let daemon = Daemon::start(CAPSTAN);
    push_ok(&daemon, guests::snapshots::CLOCK, "snapshot = true").await;
    daemon.client().run("guest").send().await.assert_outcome("exited", 0);
}

#[tokio::test]
async fn random() {
    let daemon = Daemon::start(CAPSTAN);
    let message = push_error(&daemon, guests::snapshots::RANDOM, "snapshot = true", "snapshot_random").await;
    assert!(message.contains("random = \"once\""), "{message}");
    push_ok(&daemon, guests::snapshots::RANDOM, "[snapshot]\nrandom = \"once\"").await;
    let client = daemon.client();
    let (first, second) = (client.run("guest").send().await.body, client.run("guest").send().await.body);
    assert_eq!(first[..8], second[..8], "the bytes of the initialisation are those of the image");
    assert_ne!(first[8..], second[8..], "those of a run are its own");
    assert_ne!(first[..8], first[8..]);
}

#[tokio::test]
async fn open_file() {
    let setup = Setup::new(CAPSTAN);
    let folder = setup.folder_with_mode("mounted", 0o755);
    let daemon = setup.config(&format!("[mounts.data]\npath = {folder:?}")).start();
    push_ok(&daemon, guests::snapshots::OPEN_FILE, "snapshot = true\n[policy]\nmounts = [{ name = \"data\" }]").await;
    daemon.client().run("guest").send().await.assert_outcome("exited", 0);
}

#[tokio::test]
async fn trap() {
    let mut daemon = Daemon::start(CAPSTAN);
    let message = push_error(&daemon, guests::snapshots::TRAP, "snapshot = true", "snapshot_failed").await;
    assert!(message.contains("trapped unreachable") && message.ends_with("\nalas"), "{message}");
    oracle::still_answers(&mut daemon).await;
}

#[tokio::test]
async fn exit() {
    let daemon = Daemon::start(CAPSTAN);
    let message = push_error(&daemon, guests::snapshots::EXIT, "snapshot = true", "snapshot_failed").await;
    assert!(message.contains("it exited with code 0"), "{message}");
}

#[tokio::test]
async fn spin() {
    spin_ends(guests::snapshots::SPIN).await;
}

#[tokio::test]
async fn spin_in_start_function() {
    spin_ends(guests::snapshots::SPIN_IN_START_FUNCTION).await;
}

async fn spin_ends(wasm: &[u8]) {
    let mut daemon = Daemon::start(CAPSTAN);
    let manifest = "snapshot = true\n[policy]\ncpu = \"200ms\"";
    let message = push_error(&daemon, wasm, manifest, "snapshot_failed").await;
    assert!(message.contains("cpu budget of 0.2 s spent"), "{message}");
    oracle::still_answers(&mut daemon).await;
}

#[tokio::test]
async fn grow() {
    let mut daemon = Daemon::start(CAPSTAN);
    let manifest = "snapshot = true\n[policy]\nmemory = \"4MiB\"";
    let message = push_error(&daemon, guests::snapshots::GROW, manifest, "snapshot_failed").await;
    assert!(message.contains("more memory than 4194304 bytes"), "{message}");
    oracle::still_answers(&mut daemon).await;
}

#[tokio::test]
async fn flood() {
    let daemon = Daemon::start(CAPSTAN);
    push_ok(&daemon, guests::snapshots::FLOOD, "snapshot = true").await;
    assert_eq!(run(&daemon.client()).await, "", "the output of the initialisation is not that of a run");
}

#[tokio::test]
async fn set_table() {
    let daemon = Daemon::start(CAPSTAN);
    let message = push_error(&daemon, guests::snapshots::SET_TABLE, "snapshot = true", "snapshot_unsupported").await;
    assert!(message.contains("table.set"), "{message}");
}

#[tokio::test]
async fn wrong_type() {
    let daemon = Daemon::start(CAPSTAN);
    push_error(&daemon, guests::snapshots::WRONG_TYPE, "snapshot = true", "snapshot_failed").await;
}

#[tokio::test]
async fn program_without_initialisation_and_component_are_rejected() {
    let daemon = Daemon::start(CAPSTAN);
    let message = push_error(&daemon, guests::run::HELLO, "snapshot = true", "snapshot_unsupported").await;
    assert!(message.contains("`wizer-initialize`"), "{message}");
    let component = guests::compiled("hello.p2");
    let message = push_error(&daemon, &component, "snapshot = true", "snapshot_unsupported").await;
    assert!(message.contains("component"), "{message}");
}

#[tokio::test]
async fn invalid_settings_are_rejected_with_the_key() {
    let daemon = Daemon::start(CAPSTAN);
    for (manifest, expected) in [("snapshot = 1", "snapshot"), ("[snapshot]\nmodules = []", "modules")] {
        let message = push_error(&daemon, guests::snapshots::COUNT, manifest, "invalid_manifest").await;
        assert!(message.contains(expected), "{message}");
    }
}

/// Two runs of C and Rust programs from their snapshots have their own arguments, variables and random numbers.
#[tokio::test]
async fn runs_of_compiled_languages_share_neither_arguments_nor_random_numbers() {
    let daemon = Daemon::start(CAPSTAN);
    for program in ["primed", "lookup.p1"] {
        push_ok(&daemon, &guests::compiled(program), "snapshot = true").await;
        let client = daemon.client();
        let mut lines = Vec::new();
        for number in ["1", "2"] {
            let line: Value = client.run("guest").arg(number).env("NUMBER", number).send().await.json();
            assert_eq!(line["entries"], 20_000, "{program}");
            assert_eq!(line["argument"], number, "{program}");
            assert_eq!(line["variable"], number, "{program}");
            lines.push(line["random"].to_string());
        }
        assert_ne!(lines[0], lines[1], "{program}");
    }
}
