//! `capstan attach`: joining a job that is there already, and leaving it.

use capstan_tests::{Cli, Daemon, guests};
use rustix::process::Signal;

use crate::{CAPSTAN, serving, submit, told_of};

/// The command, told of the daemon over TCP.
fn told_over_tcp(daemon: &Daemon) -> Cli {
    Cli::new(CAPSTAN).args(["-H", &format!("tcp://{}", daemon.addr())])
}

#[tokio::test]
async fn streams_and_exit_code_are_those_of_the_job() {
    let daemon = serving("cat", guests::run::CAT).await;
    daemon.client().push("print", guests::run::PRINT_THEN_EXIT).await;
    for command in [told_of, told_over_tcp] {
        let id = submit(&daemon, &["-i", "cat"]).await;
        let input = b"any bytes \0\xff\n".repeat(10_000);
        let attached = command(&daemon).args(["attach", &id]).stdin(input.clone()).run().await.exited(0);
        assert!(attached.stdout == input, "{} of {} bytes came", attached.stdout.len(), input.len());
        assert_eq!(attached.stderr, "");

        let id = submit(&daemon, &["-i", "print", "7"]).await;
        let attached = command(&daemon).args(["attach", "--logs", &id[..12]]).run().await.exited(7);
        assert_eq!(attached.text(), "started\nended\n");
    }
}

#[tokio::test]
async fn a_job_that_has_ended_is_told_again() {
    let daemon = serving("both", guests::run::BOTH_STREAMS).await;
    let id = submit(&daemon, &["both"]).await;
    told_of(&daemon).args(["wait", &id]).run().await.exited(3);
    let attached = told_of(&daemon).args(["attach", "--logs", "--no-stdin", &id]).run().await.exited(3);
    assert_eq!((attached.text(), attached.stderr.as_str()), ("out\n", "err\n"));
    assert_eq!(told_of(&daemon).args(["attach", "--no-stdin", &id]).run().await.exited(3).text(), "");
}

#[tokio::test]
async fn ctrl_c_leaves_the_job_and_its_stdin_to_the_next() {
    let daemon = serving("print", guests::run::PRINT_THEN_EXIT).await;
    for (command, signal) in
        [(told_of as fn(&Daemon) -> Cli, Signal::INT), (told_over_tcp, Signal::INT), (told_over_tcp, Signal::KILL)]
    {
        let id = submit(&daemon, &["-i", "print", "7"]).await;
        let mut attached = command(&daemon).args(["attach", "--logs", &id]).spawn();
        attached.read_until("started\n").await;
        attached.feed(b"some").await;
        let refused = told_of(&daemon).args(["attach", &id]).run().await.exited(125);
        assert!(refused.stderr.contains("--no-stdin"), "{refused:?}");
        let mut watching = told_of(&daemon).args(["attach", "--no-stdin", "--logs", &id]).spawn();
        watching.read_until("started\n").await;
        attached.signal(signal);
        assert_eq!(attached.finish().await.code, None);

        let next = capstan_tests::eventually("its stdin to be open again", async || {
            let next = told_of(&daemon).args(["attach", "--logs", &id]).run().await;
            (next.code != Some(125)).then_some(next)
        });
        assert_eq!(next.await.exited(7).text(), "started\nended\n");
        let watched = watching.finish().await.exited(7);
        assert_eq!(watched.text(), "started\nended\n");
    }
}

#[tokio::test]
async fn what_cannot_be_attached_to_is_an_error() {
    let daemon = serving("spin", guests::limits::LOOP_IN_START).await;
    let unknown = told_of(&daemon).args(["attach", &"0".repeat(32)]).run().await.exited(125);
    assert!(unknown.stderr.contains("no job 0000"), "{unknown:?}");
    told_of(&daemon).args(["run", "-i", "spin"]).run().await.exited(125);
    let id = submit(&daemon, &["spin"]).await;
    told_of(&daemon).args(["attach", &id]).run().await.exited(125);
    let watching = told_of(&daemon).args(["attach", "--no-stdin", &id]).spawn();
    told_of(&daemon).args(["kill", &id]).run().await.exited(0);
    let stopped = watching.finish().await.exited(137);
    assert_eq!(stopped.stderr, "capstan: spin was stopped\n");
}
