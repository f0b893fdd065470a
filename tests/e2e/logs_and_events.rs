//! Subcommands that follow live data: `logs` and `events`.

use capstan_tests::{Daemon, Setup, eventually, guests};
use rustix::process::Signal;
use serde_json::Value;

use crate::{CAPSTAN, command_for, serving, submit};

/// Prints `started`, then sleeps until the end of time.
const PRINT_THEN_SLEEP: &str = r#"(module
  (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll_oneoff (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 16) "\40\00\00\00\08\00\00\00")
  (data (i32.const 64) "started\n")
  (func (export "_start")
    (drop (call $fd_write (i32.const 1) (i32.const 16) (i32.const 1) (i32.const 8)))
    (i64.store (i32.const 280) (i64.const -1))
    (loop $forever
      (drop (call $poll_oneoff (i32.const 256) (i32.const 512) (i32.const 1) (i32.const 8)))
      (br $forever))))"#;

#[tokio::test]
async fn logs_print_each_stream_to_its_own_stream() {
    let daemon = serving("both", guests::run::BOTH_STREAMS).await;
    let id = submit(&daemon, &["both"]).await;
    command_for(&daemon).args(["wait", &id]).run().await.assert_exit_code(3);
    for (flags, stdout, stderr) in [
        (&[] as &[&str], "out\n", "err\n"),
        (&["--stdout"], "out\n", ""),
        (&["--stderr"], "", "err\n"),
        (&["--stdout", "--stderr"], "out\n", "err\n"),
        (&["--stdout", "--tail", "0"], "", ""),
        (&["--since", "1h"], "out\n", "err\n"),
        (&["--since", "2999-01-01T00:00:00Z"], "", ""),
        // The job has ended, so following its logs ends too, whatever its exit code.
        (&["-f"], "out\n", "err\n"),
    ] {
        let logs = command_for(&daemon).args(["logs"]).args(flags).args([&id]).run().await.assert_exit_code(0);
        assert_eq!((logs.text(), logs.stderr.as_str()), (stdout, stderr), "{flags:?}");
    }
    let logs = command_for(&daemon).args(["logs", "-t", "--stdout", &id]).run().await.assert_exit_code(0);
    let (time, line) = logs.text().split_once(' ').unwrap();
    assert!(time.ends_with('Z') && time.contains('T') && line == "out\n", "{logs:?}");
}

#[tokio::test]
async fn logs_report_output_that_was_not_kept() {
    let daemon = Setup::new(CAPSTAN).config("[policy]\nstdout = \"4MiB\"\n[jobs]\noutput = \"1MiB\"").start();
    daemon.client().push("flood", guests::limits::FLOOD_STDOUT).await;
    let id = submit(&daemon, &["flood"]).await;
    command_for(&daemon).args(["wait", &id]).run().await.assert_exit_code(137);
    let logs = command_for(&daemon).args(["logs", &id]).run().await.assert_exit_code(0);
    assert!(!logs.stdout.is_empty() && logs.stdout.len() < 4 << 20, "{} bytes arrived", logs.stdout.len());
    assert!(logs.stderr.contains("bytes of output are missing here"), "{}", logs.stderr);
}

#[tokio::test]
async fn logs_follow_ends_with_the_job() {
    let daemon = Daemon::start(CAPSTAN);
    let push = command_for(&daemon).file("slow.wat", PRINT_THEN_SLEEP.as_bytes()).args(["push", "slow.wat"]);
    push.run().await.assert_exit_code(0);
    let id = submit(&daemon, &["slow"]).await;
    let mut following = command_for(&daemon).args(["logs", "-f", &id]).spawn();
    following.read_until("started\n").await;
    let now = command_for(&daemon).args(["logs", &id]).run().await.assert_exit_code(0);
    assert_eq!(now.text(), "started\n", "without -f, logs prints the output so far and exits");
    command_for(&daemon).args(["kill", &id]).run().await.assert_exit_code(0);
    assert_eq!(following.finish().await.assert_exit_code(0).text(), "started\n");
}

#[tokio::test]
async fn events_prints_live_and_past_events() {
    let daemon = serving("exit", guests::run::EXIT).await;
    let mut live = command_for(&daemon).args(["events", "--since", "0"]).spawn();
    live.read_until("handler.put     exit").await;
    let id = submit(&daemon, &["exit", "3"]).await;
    live.read_until("exited 3").await;
    live.signal(Signal::INT);
    let finished = live.finish().await;
    let reported: Vec<_> = finished.text().lines().collect();
    for event in ["job.start", "job.end"] {
        assert!(reported.iter().any(|line| line.contains(event) && line.contains(&id[..12])), "{event}: {reported:?}");
    }

    let past = ["events", "--since", "1h", "--until", "0s", "--json", "--filter", "event=job.end"];
    let past = command_for(&daemon).args(past).run().await.assert_exit_code(0);
    let events: Vec<Value> = past.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(events.len(), 1, "{events:?}");
    assert_eq!((&events[0]["job"], &events[0]["exit_code"]), (&id.into(), &3.into()));
}

#[tokio::test]
async fn events_goes_on_after_the_daemon_has_restarted() {
    let mut daemon = serving("exit", guests::run::EXIT).await;
    let mut live =
        command_for(&daemon).args(["events", "--filter", "event=job.end", "--filter", "event=daemon.stop"]).spawn();
    // It has no other sign that it is connected.
    eventually("the command to read events", async || {
        let page = daemon.client().get("/metrics").send().await;
        page.text().contains("capstan_event_subscribers 1").then_some(())
    })
    .await;
    submit(&daemon, &["exit", "3"]).await;
    live.read_until("exited 3").await;
    // An orderly stop loses nothing.
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.wait_exit().await.code(), Some(0));
    live.read_until("daemon.stop").await;
    let daemon = daemon.setup().start();
    submit(&daemon, &["exit", "4"]).await;
    live.read_until("exited 4").await;
    // After a crash, it says that something may be missing.
    let (daemon, _client) = daemon.kill_and_restart().await;
    submit(&daemon, &["exit", "5"]).await;
    live.read_until("exited 5").await;
    live.signal(Signal::INT);
    let finished = live.finish().await;
    let text = finished.text();
    let place = |part: &str| text.find(part).unwrap_or_else(|| panic!("{part}: {text}"));
    assert!(
        place("exited 4") < place("may be missing here") && place("may be missing here") < place("exited 5"),
        "{text}"
    );
    for part in ["exited 3", "exited 4", "exited 5", "may be missing"] {
        assert_eq!(text.matches(part).count(), 1, "{part}: {text}");
    }
    assert!(finished.stderr.contains("waiting for it to start again"), "{}", finished.stderr);
}

#[tokio::test]
async fn logs_and_events_reject_invalid_arguments() {
    let daemon = Daemon::start(CAPSTAN);
    for args in
        [&["events", "--filter", "x"] as &[&str], &["events", "--since", "soon"], &["logs", "--tail", "-1", "0000"]]
    {
        let refused = command_for(&daemon).args(args).run().await.assert_exit_code(125);
        assert!(!refused.stderr.is_empty(), "{refused:?}");
    }
}
