//! Persistence: handlers survive a stop and a crash, and damaged files are detected without affecting other handlers.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::Instant;

use capstan_tests::{Client, Daemon, Setup, eventually, guests, modules};
use rustix::process::Signal;
use serde_json::Value;
use tokio::task::JoinSet;

use crate::CAPSTAN;
use crate::metrics::metric_value;

/// Starts a daemon with two handlers of different programs.
async fn daemon_with_two_handlers() -> Daemon {
    let daemon = Daemon::start(CAPSTAN);
    daemon.client().push("hello", guests::run::HELLO).await;
    daemon.client().push("print", guests::run::PRINT_THEN_EXIT).await;
    daemon
}

/// Kills a daemon and starts another one on its data directory.
pub(crate) fn restart_after_crash(daemon: Daemon) -> Daemon {
    let setup = daemon.setup();
    drop(daemon);
    setup.start()
}

fn folder(daemon: &Daemon, name: &str) -> PathBuf {
    daemon.setup().folder().join("data").join(name)
}

pub(crate) fn files(daemon: &Daemon, name: &str) -> Vec<PathBuf> {
    fs::read_dir(folder(daemon, name)).unwrap().map(|entry| entry.unwrap().path()).collect()
}

/// Returns the list entries of the pushed handlers.
async fn pushed_handlers(daemon: &Daemon) -> Vec<Value> {
    let list = daemon.client().get("/handlers").send().await.json();
    list["handlers"].as_array().unwrap().iter().filter(|handler| handler["source"] == "pushed").cloned().collect()
}

/// Returns the path of the stored program of a handler.
async fn program_path(daemon: &Daemon, handler: &str) -> PathBuf {
    let etag = daemon.client().get(&format!("/handlers/{handler}")).send().await.json()["digest"].clone();
    folder(daemon, "programs").join(etag.as_str().unwrap().trim_start_matches("sha256:"))
}

async fn assert_hello_runs(client: &Client) {
    let reply = client.run("hello").send().await;
    reply.assert_outcome("exited", 0);
    assert_eq!(reply.text(), "hello\n");
}

async fn assert_run_is_refused(client: &Client, handler: &str) {
    let framed = client.run(handler).framed().send().await.frames();
    framed.assert_outcome("refused", 125);
    let why = framed.last["outcome"]["why"].as_str().unwrap();
    assert!(why.contains("damaged") && why.contains("push it again"), "{why}");
}

#[tokio::test]
async fn handlers_survive_a_stop_and_a_crash() {
    let mut daemon = daemon_with_two_handlers().await;
    let before = pushed_handlers(&daemon).await;
    assert_eq!(before.len(), 2);
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.wait_exit().await.code(), Some(0));
    let daemon = restart_after_crash(daemon);
    assert_eq!(pushed_handlers(&daemon).await, before);
    let daemon = restart_after_crash(daemon);
    assert_eq!(pushed_handlers(&daemon).await, before);
    assert_hello_runs(&daemon.client()).await;
    let wasm = daemon.client().get("/handlers/hello/wasm").send().await;
    assert_eq!(wasm.body, guests::run::HELLO);
}

#[tokio::test]
async fn removed_handler_is_absent_after_a_crash() {
    let daemon = daemon_with_two_handlers().await;
    assert_eq!(daemon.client().delete("/handlers/hello").send().await.status, 204);
    let daemon = restart_after_crash(daemon);
    daemon.client().run("hello").send().await.error(404, "unknown_handler");
    eventually("the daemon to remove what nobody uses", async || {
        let counts = ["programs", "handlers", "artifacts"].map(|folder| files(&daemon, folder).len());
        (counts == [1, 1, 1]).then_some(())
    })
    .await;
}

/// A compiler with almost no memory always fails, so only stored code can run. The program is one of a toolchain: that of the other tests is
/// compiled before the limit is compared again.
#[tokio::test]
async fn restart_recompiles_only_damaged_code() {
    let daemon = daemon_with_two_handlers().await;
    daemon.client().push("hello", guests::compiled("hello.p1")).await;
    let setup = daemon.setup();
    drop(daemon);
    let daemon = setup.clone().config("[compile]\nmemory = \"16MiB\"").start();
    assert_hello_runs(&daemon.client()).await;

    for artifact in files(&daemon, "artifacts") {
        let mut code = fs::read(&artifact).unwrap();
        let middle = code.len() / 2;
        code[middle] ^= 1;
        fs::write(&artifact, code).unwrap();
    }
    let daemon = restart_after_crash(daemon);
    let framed = daemon.client().run("hello").framed().send().await.frames();
    framed.assert_outcome("refused", 125);
    daemon.until_logged(&["has no valid seal"]).await;

    drop(daemon);
    assert_hello_runs(&setup.start().client()).await;
}

#[tokio::test]
async fn damaged_program_affects_only_its_handler_until_the_next_push() {
    let mut daemon = daemon_with_two_handlers().await;
    let (hello, print) = (program_path(&daemon, "hello").await, program_path(&daemon, "print").await);
    let (whole, other) = (fs::read(&hello).unwrap(), fs::read(&print).unwrap());
    for damaged in [Some(&whole[..whole.len() / 2]), Some(&other[..]), None] {
        match damaged {
            Some(bytes) => fs::write(&hello, bytes).unwrap(),
            None => fs::remove_file(&hello).unwrap(),
        }
        // A daemon continues to use the code that it has loaded.
        assert_hello_runs(&daemon.client()).await;
        daemon = restart_after_crash(daemon);
        assert_run_is_refused(&daemon.client(), "hello").await;
        daemon.client().get("/handlers/hello/wasm").send().await.error(500, "damaged");
        daemon.client().run("print").send().await.assert_outcome("exited", 0);
        daemon.client().push("hello", guests::run::HELLO).await;
        assert_hello_runs(&daemon.client()).await;
    }
    assert_hello_runs(&restart_after_crash(daemon).client()).await;
}

#[tokio::test]
async fn damaged_record_removes_only_its_handler() {
    let daemon = daemon_with_two_handlers().await;
    fs::write(folder(&daemon, "handlers/print"), "{\"about\":").unwrap();
    let daemon = restart_after_crash(daemon);
    assert_hello_runs(&daemon.client()).await;
    daemon.client().run("print").send().await.error(404, "unknown_handler");
    daemon.until_logged(&["print", "a stored handler is skipped"]).await;
}

#[tokio::test]
async fn stored_handler_with_the_name_of_a_builtin_is_skipped() {
    let daemon = daemon_with_two_handlers().await;
    fs::rename(folder(&daemon, "handlers/hello"), folder(&daemon, "handlers/webhook")).unwrap();
    let daemon = restart_after_crash(daemon);
    daemon.until_logged(&["because a builtin has its name"]).await;
    let webhook = daemon.client().get("/v1/handlers/webhook").send().await.json();
    assert_eq!(webhook["source"], "builtin");
    assert_eq!(pushed_handlers(&daemon).await.len(), 1);
}

#[tokio::test]
async fn concurrent_pushes_to_one_name_leave_the_same_program_in_memory_and_on_disk() {
    let mut daemon = Daemon::start(CAPSTAN);
    for _ in 0..5 {
        let client = daemon.client();
        let (hello, print) =
            (client.put("/handlers/x", guests::run::HELLO), client.put("/handlers/x", guests::run::CAT));
        let (first, second) = tokio::join!(hello.send(), print.send());
        assert!(first.status < 300 && second.status < 300, "{first:?} {second:?}");
        let now = client.get("/handlers/x").send().await.json();
        daemon = restart_after_crash(daemon);
        assert_eq!(daemon.client().get("/handlers/x").send().await.json(), now);
        assert_eq!(files(&daemon, "programs").len(), 1);
    }
}

#[tokio::test]
async fn program_pushed_64_times_concurrently_is_compiled_once() {
    let daemon = Daemon::start(CAPSTAN);
    let client = daemon.client();
    let wasm = modules::slow_to_compile(1, 20_000);
    let mut pushes = JoinSet::new();
    for number in 0..64 {
        pushes.spawn(client.put(&format!("/handlers/p{number}"), wasm.clone()).send());
    }
    let replies = pushes.join_all().await;
    for reply in &replies {
        assert_eq!(reply.status, 201, "{reply:?}");
        assert_eq!(reply.json()["digest"], replies[0].json()["digest"]);
    }
    let compiled = metric_value(&client, "capstan_compiles_total{result=\"compiled\"}").await;
    assert!((compiled - 1.0).abs() < 0.5, "it was compiled {compiled} times");
    assert_eq!(files(&daemon, "programs").len(), 1);
}

/// Crashes the daemon 200 times while it processes pushes. After each start, all listed handlers must be complete.
#[tokio::test]
async fn crash_during_a_push_leaves_a_consistent_store() {
    let setup = Setup::new(CAPSTAN);
    let mut begun = 0;
    // How long a push takes on this machine, in its present state.
    let daemon = setup.clone().start();
    let began = Instant::now();
    daemon.client().push("n0", guests::run::HELLO.to_vec()).await;
    let mut duration = began.elapsed();
    drop(daemon);
    for crash in 0..200_u32 {
        let daemon = setup.clone().start();
        let client = daemon.client();
        for handler in pushed_handlers(&daemon).await {
            let name = handler["name"].as_str().unwrap();
            let wasm = client.get(&format!("/handlers/{name}/wasm")).send().await;
            assert_eq!(wasm.status, 200, "crash {crash}: {}", wasm.text());
            assert_eq!(wasm.body.len() as u64, handler["size"], "crash {crash}: {name}");
        }
        let program = if crash % 2 == 0 { guests::run::HELLO } else { guests::run::CAT };
        let push = tokio::spawn({
            let (client, name) = (daemon.client(), format!("/handlers/n{}", crash % 3));
            async move { client.put(&name, program).try_open().await.is_ok() }
        });
        // The moment of the crash ranges from before the daemon reads the program until after it has stored it and responded.
        let until = Instant::now() + duration * (crash % 50) / 25;
        while Instant::now() < until && !push.is_finished() {
            tokio::task::yield_now().await;
        }
        drop(daemon);
        let has_response = push.await.unwrap();
        begun += usize::from(has_response);
        if crash % 50 == 49 && !has_response {
            // The machine has become slower.
            duration *= 2;
        }
    }
    assert!((1..200).contains(&begun), "{begun} of 200 pushes got a response: all crashes came too early or too late");
}

#[tokio::test]
async fn thousand_stored_handlers_are_listed_and_run() {
    let daemon = daemon_with_two_handlers().await;
    let record = fs::read(folder(&daemon, "handlers/hello")).unwrap();
    for number in 0..1000 {
        fs::write(folder(&daemon, &format!("handlers/h{number}")), &record).unwrap();
    }
    let daemon = restart_after_crash(daemon);
    assert_eq!(pushed_handlers(&daemon).await.len(), 1002);
    for name in ["h0", "h999"] {
        daemon.client().run(name).send().await.assert_outcome("exited", 0);
    }
}

/// Several hundred handlers, changed behind the index of the daemon in each way that a crash or a restored backup can.
#[tokio::test]
async fn stored_handlers_are_what_their_records_say_whatever_the_index_says() {
    let daemon = daemon_with_two_handlers().await;
    let path = |name: &str| folder(&daemon, &format!("handlers/{name}"));
    let (hello, print) = (fs::read(path("hello")).unwrap(), fs::read(path("print")).unwrap());
    for number in 0..400 {
        fs::write(path(&format!("h{number}")), &hello).unwrap();
    }
    let daemon = restart_after_crash(daemon);
    assert_eq!(pushed_handlers(&daemon).await.len(), 402);
    let client = daemon.client();
    client.push("h1", guests::run::CAT).await;
    assert_eq!(client.delete("/handlers/h2").send().await.status, 204);

    let path = |name: &str| folder(&daemon, &format!("handlers/{name}"));
    let index = folder(&daemon, "index/handlers");
    let old_index = fs::read(&index).unwrap();
    client.push("h3", guests::run::CAT).await;
    assert_eq!(client.delete("/handlers/h4").send().await.status, 204);
    fs::write(path("h5"), "{").unwrap();
    fs::write(path("h6"), &print).unwrap();
    fs::remove_file(path("h7")).unwrap();
    let names = |handlers: Vec<Value>| -> Vec<(String, Value)> {
        handlers
            .iter()
            .map(|handler| (handler["name"].as_str().unwrap().to_owned(), handler["digest"].clone()))
            .collect()
    };
    let mut daemon = daemon;
    // With the index as it was before the last changes, with the current one, without one, and with a damaged one.
    for index_file in [Some(&old_index[..]), None, Some(b"garbage\n"), Some(&old_index[..old_index.len() / 2])] {
        match index_file {
            Some(bytes) => fs::write(&index, bytes).unwrap(),
            None => fs::remove_file(&index).unwrap(),
        }
        daemon = restart_after_crash(daemon);
        let listed = names(pushed_handlers(&daemon).await);
        assert_eq!(listed.len(), 398);
        let digest = |name: &str| listed.iter().find(|(listed, _)| listed == name).map(|(_, digest)| digest);
        for removed in ["h2", "h4", "h5", "h7"] {
            assert_eq!(digest(removed), None, "{removed}");
        }
        assert_eq!(digest("h1"), digest("h3"));
        assert_ne!(digest("h1"), digest("h0"));
        assert_eq!(digest("h6"), digest("print"));
        daemon.until_logged(&["h5", "a stored handler is skipped"]).await;
        let cat = daemon.client().run("h3").body("cat").send().await;
        assert_eq!(cat.text(), "cat");
        assert_hello_runs(&daemon.client()).await;
    }
}

#[tokio::test]
async fn handlers_change_while_others_are_used_for_the_first_time() {
    let daemon = daemon_with_two_handlers().await;
    let record = fs::read(folder(&daemon, "handlers/hello")).unwrap();
    for number in 0..200 {
        fs::write(folder(&daemon, &format!("handlers/h{number}")), &record).unwrap();
    }
    let daemon = restart_after_crash(daemon);
    let client = daemon.client();
    let mut first_uses = JoinSet::new();
    for number in 0..200 {
        first_uses.spawn(client.run(&format!("h{number}")).send());
        first_uses.spawn(client.run("hello").send());
    }
    for number in 0..50 {
        client.push(&format!("new{number}"), guests::run::HELLO).await;
        client.push("print", if number % 2 == 0 { guests::run::CAT } else { guests::run::HELLO }).await;
        assert_eq!(client.delete(&format!("/handlers/new{number}")).send().await.status, 204);
    }
    for reply in first_uses.join_all().await {
        reply.assert_outcome("exited", 0);
        assert_eq!(reply.text(), "hello\n");
    }
    // However many used it first, the code was loaded once for each handler, and nothing was compiled but the new program.
    let compiled = metric_value(&client, "capstan_compiles_total{result=\"compiled\"}").await;
    assert!(compiled <= 1.5, "{compiled} programs were compiled");
    let before = pushed_handlers(&daemon).await;
    let daemon = restart_after_crash(daemon);
    let digests = |handlers: &[Value]| handlers.iter().map(|handler| handler["digest"].clone()).collect::<Vec<_>>();
    assert_eq!(digests(&pushed_handlers(&daemon).await), digests(&before));
}

#[tokio::test]
async fn data_folder_accessible_to_others_is_rejected() {
    let setup = Setup::new(CAPSTAN);
    let data = setup.folder().join("data");
    fs::create_dir(&data).unwrap();
    fs::set_permissions(&data, fs::Permissions::from_mode(0o755)).unwrap();
    let refused = setup.clone().start_must_fail();
    assert_eq!(refused.status.code(), Some(1));
    assert!(refused.stderr.contains("chmod 700"), "{}", refused.stderr);
    fs::set_permissions(&data, fs::Permissions::from_mode(0o700)).unwrap();
    let daemon = setup.start();
    eventually("a response", async || (daemon.client().get("/_ping").send().await.status == 200).then_some(())).await;
}
