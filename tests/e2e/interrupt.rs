//! Signals to the command: Ctrl-C, SIGTERM and SIGKILL.

use capstan_tests::{eventually, guests};
use rustix::process::Signal;

use crate::{command, command_for, serving};

#[tokio::test]
async fn ctrl_c_cancels_the_run_on_the_daemon() {
    let daemon = serving("spin", guests::limits::LOOP_IN_START).await;
    let client = daemon.client();
    for signal in [Signal::INT, Signal::TERM] {
        let running = command_for(&daemon).args(["run", "spin"]).spawn();
        eventually("the run to start", async || (client.running().await == 1).then_some(())).await;
        running.signal(signal);
        let finished = running.finish().await;
        // For a shell, exit code 137 and death by the signal are the same.
        assert!(matches!(finished.code, Some(137) | None), "{signal:?}: {finished:?}");
        eventually("the run to be cancelled", async || (client.running().await == 0).then_some(())).await;
    }
}

#[tokio::test]
async fn ctrl_c_cancels_a_run_that_waits_for_stdin() {
    let daemon = serving("print", guests::run::PRINT_THEN_EXIT).await;
    let mut running = command_for(&daemon).args(["run", "-i", "print"]).spawn();
    running.read_until("started\n").await;
    running.signal(Signal::INT);
    running.finish().await.assert_exit_code(137);
    let client = daemon.client();
    eventually("the run to be cancelled", async || (client.running().await == 0).then_some(())).await;
}

#[tokio::test]
async fn ctrl_c_stops_a_run_in_process() {
    let mut running =
        command().file("print.wasm", guests::run::PRINT_THEN_EXIT).args(["run", "-i", "print.wasm"]).spawn();
    running.read_until("started\n").await;
    running.signal(Signal::INT);
    running.finish().await.assert_exit_code(137);
}

#[tokio::test]
async fn killed_command_cancels_its_run() {
    let daemon = serving("spin", guests::limits::LOOP_IN_START).await;
    let client = daemon.client();
    let running = command_for(&daemon).args(["run", "spin"]).spawn();
    eventually("the run to start", async || (client.running().await == 1).then_some(())).await;
    running.signal(Signal::KILL);
    assert_eq!(running.finish().await.code, None);
    eventually("the run to be cancelled", async || (client.running().await == 0).then_some(())).await;
}
