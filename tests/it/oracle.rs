//! What must hold after every bad input: the same daemon still answers and still runs jobs.

use capstan_tests::{Daemon, guests};

/// Pings the daemon, and pushes and runs a program that is known to be good.
///
/// # Panics
/// If the daemon has ended, does not answer, or does not run what it should.
pub(crate) async fn still_answers(daemon: &mut Daemon) {
    assert!(daemon.is_alive(), "the daemon has ended");
    let client = daemon.client();
    let ping = client.get("/v1/_ping").send().await;
    assert_eq!(ping.status, 200, "{ping:?}");
    client.push("oracle-hello", guests::run::HELLO).await;
    let reply = client.run("oracle-hello").send().await;
    reply.ended("exited", 0);
    assert_eq!(reply.text(), "hello\n");
    let log = daemon.log();
    assert!(!log.contains("panicked at"), "something panicked in the daemon:\n{log}");
}
