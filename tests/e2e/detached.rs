//! `capstan run -d`: jobs that run on the daemon without a client.

use capstan_tests::{Daemon, Setup, guests};

use crate::{CAPSTAN, command_for, serving, submit};

#[tokio::test]
async fn detached_run_prints_only_the_id_of_the_job() {
    let daemon = serving("cat", guests::run::CAT).await;
    let submitted = command_for(&daemon).args(["run", "-d", "cat"]).stdin("some input").run().await.assert_exit_code(0);
    let id = submitted.text().strip_suffix('\n').unwrap();
    assert!(id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{submitted:?}");
    assert_eq!(submitted.stderr, "");
    assert_eq!(command_for(&daemon).args(["wait", id]).run().await.assert_exit_code(0).text(), "0\n");
    assert_eq!(command_for(&daemon).args(["logs", id]).run().await.assert_exit_code(0).text(), "some input");
}

#[tokio::test]
async fn detached_run_passes_args_env_and_limits() {
    let daemon = serving("show", guests::run::ARGS_AND_ENV).await;
    daemon.client().push("spin", guests::limits::LOOP_IN_START).await;
    let id = submit(&daemon, &["--env", "A=1", "show", "--top", "", "-d"]).await;
    command_for(&daemon).args(["wait", &id]).run().await.assert_exit_code(0);
    assert_eq!(
        command_for(&daemon).args(["logs", &id]).run().await.assert_exit_code(0).text(),
        "show\0--top\0\0-d\0\nA=1\0"
    );

    let id = submit(&daemon, &["--timeout", "200ms", "--memory", "1MiB", "spin"]).await;
    assert_eq!(command_for(&daemon).args(["wait", &id]).run().await.assert_exit_code(124).text(), "124\n");
    let job = command_for(&daemon).args(["inspect", &id]).run().await.assert_exit_code(0).json();
    assert_eq!(job["outcome"]["kind"], "timed_out");
    assert_eq!((&job["policy"]["timeout"], &job["policy"]["memory"]), (&0.2.into(), &(1 << 20).into()));
}

#[tokio::test]
async fn detached_run_rejects_stdin_over_the_limit_without_submitting_a_job() {
    let daemon = Setup::new(CAPSTAN).config("[compile]\nupload = \"2MiB\"").start();
    daemon.client().push("cat", guests::run::CAT.to_vec()).await;
    let most = vec![0xff; 2 << 20];
    let submitted = command_for(&daemon).args(["run", "-d", "cat"]).stdin(most.clone()).run().await.assert_exit_code(0);
    let id = submitted.text().trim();
    command_for(&daemon).args(["wait", id]).run().await.assert_exit_code(0);
    let job = command_for(&daemon).args(["inspect", id]).run().await.assert_exit_code(0).json();
    assert_eq!(job["usage"]["stdin_bytes"], most.len());

    let refused = command_for(&daemon)
        .args(["run", "-d", "cat"])
        .stdin([most, vec![0]].concat())
        .run()
        .await
        .assert_exit_code(125);
    assert!(refused.stderr.contains("2097152 bytes") && refused.stdout.is_empty(), "{refused:?}");
    let all = command_for(&daemon).args(["ps", "-aq"]).run().await.assert_exit_code(0);
    assert_eq!(all.text(), format!("{id}\n"));
}

#[tokio::test]
async fn detached_run_of_a_file_registers_no_lasting_handler() {
    let daemon = Daemon::start(CAPSTAN);
    let run = command_for(&daemon).file("hello.wasm", guests::run::HELLO).args(["run", "-d", "./hello.wasm"]);
    let submitted = run.run().await.assert_exit_code(0);
    let id = submitted.text().trim();
    assert_eq!(command_for(&daemon).args(["wait", id]).run().await.assert_exit_code(0).text(), "0\n");
    assert_eq!(command_for(&daemon).args(["logs", id]).run().await.assert_exit_code(0).text(), "hello\n");
    let handlers = command_for(&daemon).args(["handlers"]).run().await.assert_exit_code(0);
    assert!(!handlers.text().contains("run-"), "{handlers:?}");
}

#[tokio::test]
async fn detached_run_rejects_unknown_handlers_services_and_local_flags() {
    let daemon = serving("hello", guests::run::HELLO).await;
    for (args, code) in [
        (&["nobody"] as &[&str], 127),
        (&["serveapi"], 125),
        (&["--dir", "/tmp::/data", "hello"], 125),
        (&["--outcome", "o.json", "hello"], 125),
        (&["./nowhere.wasm"], 125),
    ] {
        let refused = command_for(&daemon).args(["run", "-d"]).args(args).run().await.assert_exit_code(code);
        assert!(!refused.stderr.is_empty() && refused.stdout.is_empty(), "{refused:?}");
    }
    assert_eq!(command_for(&daemon).args(["ps", "-aq"]).run().await.assert_exit_code(0).text(), "");
}
