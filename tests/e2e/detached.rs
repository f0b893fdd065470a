//! `capstan run -d`: a job that is left to the daemon, and what becomes of it.

use capstan_tests::{Daemon, guests};

use crate::{CAPSTAN, serving, submit, told_of};

#[tokio::test]
async fn the_id_alone_is_printed_and_all_else_can_be_had_by_it() {
    let daemon = serving("cat", guests::run::CAT).await;
    let submitted = told_of(&daemon).args(["run", "-d", "cat"]).stdin("some input").run().await.exited(0);
    let id = submitted.text().strip_suffix('\n').unwrap();
    assert!(id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{submitted:?}");
    assert_eq!(submitted.stderr, "");
    assert_eq!(told_of(&daemon).args(["wait", id]).run().await.exited(0).text(), "0\n");
    assert_eq!(told_of(&daemon).args(["logs", id]).run().await.exited(0).text(), "some input");
}

#[tokio::test]
async fn args_env_and_limits_go_with_it() {
    let daemon = serving("show", guests::run::ARGS_AND_ENV).await;
    daemon.client().push("spin", guests::limits::LOOP_IN_START).await;
    let id = submit(&daemon, &["--env", "A=1", "show", "--top", "", "-d"]).await;
    told_of(&daemon).args(["wait", &id]).run().await.exited(0);
    assert_eq!(told_of(&daemon).args(["logs", &id]).run().await.exited(0).text(), "show\0--top\0\0-d\0\nA=1\0");

    let id = submit(&daemon, &["--timeout", "200ms", "--memory", "1MiB", "spin"]).await;
    assert_eq!(told_of(&daemon).args(["wait", &id]).run().await.exited(124).text(), "124\n");
    let job = told_of(&daemon).args(["inspect", &id]).run().await.exited(0).json();
    assert_eq!(job["outcome"]["kind"], "timed_out");
    assert_eq!((&job["policy"]["timeout"], &job["policy"]["memory"]), (&0.2.into(), &(1 << 20).into()));
}

#[tokio::test]
async fn as_much_stdin_as_may_be_sent_arrives_and_more_is_refused_before_anything_is_submitted() {
    let daemon = serving("cat", guests::run::CAT).await;
    let most = vec![0xff; 1 << 20];
    let submitted = told_of(&daemon).args(["run", "-d", "cat"]).stdin(most.clone()).run().await.exited(0);
    let id = submitted.text().trim();
    told_of(&daemon).args(["wait", id]).run().await.exited(0);
    let job = told_of(&daemon).args(["inspect", id]).run().await.exited(0).json();
    assert_eq!(job["usage"]["stdin_bytes"], most.len());

    let refused = told_of(&daemon).args(["run", "-d", "cat"]).stdin([most, vec![0]].concat()).run().await.exited(125);
    assert!(refused.stderr.contains("without -d") && refused.stdout.is_empty(), "{refused:?}");
    let all = told_of(&daemon).args(["ps", "-aq"]).run().await.exited(0);
    assert_eq!(all.text(), format!("{id}\n"));
}

#[tokio::test]
async fn a_file_is_there_for_its_job_only() {
    let daemon = Daemon::start(CAPSTAN);
    let run = told_of(&daemon).file("hello.wasm", guests::run::HELLO).args(["run", "-d", "./hello.wasm"]);
    let submitted = run.run().await.exited(0);
    let id = submitted.text().trim();
    assert_eq!(told_of(&daemon).args(["wait", id]).run().await.exited(0).text(), "0\n");
    assert_eq!(told_of(&daemon).args(["logs", id]).run().await.exited(0).text(), "hello\n");
    let handlers = told_of(&daemon).args(["handlers"]).run().await.exited(0);
    assert!(!handlers.text().contains("run-"), "{handlers:?}");
}

#[tokio::test]
async fn what_cannot_be_left_to_a_daemon_is_refused() {
    let daemon = serving("hello", guests::run::HELLO).await;
    for (args, code) in [
        (&["nobody"] as &[&str], 127),
        (&["serveapi"], 125),
        (&["--dir", "/tmp::/data", "hello"], 125),
        (&["--outcome", "o.json", "hello"], 125),
        (&["./nowhere.wasm"], 125),
    ] {
        let refused = told_of(&daemon).args(["run", "-d"]).args(args).run().await.exited(code);
        assert!(!refused.stderr.is_empty() && refused.stdout.is_empty(), "{refused:?}");
    }
    assert_eq!(told_of(&daemon).args(["ps", "-aq"]).run().await.exited(0).text(), "");
}
