//! `capstan attach`: attaching to a running or finished job, and detaching.

use capstan_tests::{Cli, Daemon, guests};
use rustix::process::Signal;

use crate::{CAPSTAN, command_for, serving, submit};

/// Returns the command with the daemon's TCP address.
fn command_over_tcp(daemon: &Daemon) -> Cli {
    Cli::new(CAPSTAN).args(["-H", &format!("tcp://{}", daemon.addr())])
}

#[tokio::test]
async fn attach_forwards_streams_and_exit_code() {
    let daemon = serving("cat", guests::run::CAT).await;
    daemon.client().push("print", guests::run::PRINT_THEN_EXIT).await;
    for command in [command_for, command_over_tcp] {
        let id = submit(&daemon, &["-i", "cat"]).await;
        let input = b"any bytes \0\xff\n".repeat(10_000);
        let attached = command(&daemon).args(["attach", &id]).stdin(input.clone()).run().await.assert_exit_code(0);
        assert!(attached.stdout == input, "{} of {} bytes arrived", attached.stdout.len(), input.len());
        assert_eq!(attached.stderr, "");

        let id = submit(&daemon, &["-i", "print", "7"]).await;
        let attached = command(&daemon).args(["attach", "--logs", &id[..12]]).run().await.assert_exit_code(7);
        assert_eq!(attached.text(), "started\nended\n");
    }
}

#[tokio::test]
async fn attach_to_ended_job_replays_its_output() {
    let daemon = serving("both", guests::run::BOTH_STREAMS).await;
    let id = submit(&daemon, &["both"]).await;
    command_for(&daemon).args(["wait", &id]).run().await.assert_exit_code(3);
    let attached = command_for(&daemon).args(["attach", "--logs", "--no-stdin", &id]).run().await.assert_exit_code(3);
    assert_eq!((attached.text(), attached.stderr.as_str()), ("out\n", "err\n"));
    assert_eq!(command_for(&daemon).args(["attach", "--no-stdin", &id]).run().await.assert_exit_code(3).text(), "");
}

#[tokio::test]
async fn ctrl_c_detaches_and_leaves_job_and_stdin_to_the_next_client() {
    let daemon = serving("print", guests::run::PRINT_THEN_EXIT).await;
    for (command, signal) in [
        (command_for as fn(&Daemon) -> Cli, Signal::INT),
        (command_over_tcp, Signal::INT),
        (command_over_tcp, Signal::KILL),
    ] {
        let id = submit(&daemon, &["-i", "print", "7"]).await;
        let mut attached = command(&daemon).args(["attach", "--logs", &id]).spawn();
        attached.read_until("started\n").await;
        attached.feed(b"some").await;
        let refused = command_for(&daemon).args(["attach", &id]).run().await.assert_exit_code(125);
        assert!(refused.stderr.contains("--no-stdin"), "{refused:?}");
        let mut watching = command_for(&daemon).args(["attach", "--no-stdin", "--logs", &id]).spawn();
        watching.read_until("started\n").await;
        attached.signal(signal);
        assert_eq!(attached.finish().await.code, None);

        let next = capstan_tests::eventually("stdin to accept a client again", async || {
            let next = command_for(&daemon).args(["attach", "--logs", &id]).run().await;
            (next.code != Some(125)).then_some(next)
        });
        assert_eq!(next.await.assert_exit_code(7).text(), "started\nended\n");
        let watched = watching.finish().await.assert_exit_code(7);
        assert_eq!(watched.text(), "started\nended\n");
    }
}

#[tokio::test]
async fn attach_to_unknown_job_or_closed_stdin_fails() {
    let daemon = serving("spin", guests::limits::LOOP_IN_START).await;
    let unknown = command_for(&daemon).args(["attach", &"0".repeat(32)]).run().await.assert_exit_code(125);
    assert!(unknown.stderr.contains("no job 0000"), "{unknown:?}");
    let id = submit(&daemon, &["spin"]).await;
    command_for(&daemon).args(["attach", &id]).run().await.assert_exit_code(125);
    let watching = command_for(&daemon).args(["attach", "--no-stdin", &id]).spawn();
    command_for(&daemon).args(["kill", &id]).run().await.assert_exit_code(0);
    let stopped = watching.finish().await.assert_exit_code(137);
    assert_eq!(stopped.stderr, "capstan: spin was stopped\n");
}
