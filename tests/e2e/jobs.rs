//! The subcommands that manage jobs: `ps`, `wait`, `cancel`, `kill`, `inspect`, `rm`, `stats`.

use capstan_tests::{Daemon, eventually, guests};
use serde_json::Value;

use crate::{command_for, serving, submit};

/// Starts a daemon with handlers that exit, sleep, and compute forever.
async fn daemon_with_handlers() -> Daemon {
    let daemon = serving("exit", guests::run::EXIT).await;
    daemon.client().push("sleep", guests::limits::SLEEP_FOR_EVER).await;
    daemon.client().push("spin", guests::limits::LOOP_IN_START).await;
    daemon
}

/// Runs the command with `args`, which must succeed, and returns its stdout.
async fn stdout_of(daemon: &Daemon, args: &[&str]) -> String {
    command_for(daemon).args(args).run().await.assert_exit_code(0).text().to_owned()
}

async fn inspect(daemon: &Daemon, id: &str) -> Value {
    command_for(daemon).args(["inspect", id]).run().await.assert_exit_code(0).json()
}

/// Waits until a job runs.
async fn wait_until_running(daemon: &Daemon, id: &str) {
    eventually("the job to run", async || (inspect(daemon, id).await["state"] == "running").then_some(())).await;
}

#[tokio::test]
async fn ps_lists_running_jobs_and_ended_jobs_only_with_all() {
    let daemon = daemon_with_handlers().await;
    let ended = submit(&daemon, &["exit", "3"]).await;
    command_for(&daemon).args(["wait", &ended]).run().await.assert_exit_code(3);
    let sleeping = submit(&daemon, &["sleep"]).await;
    wait_until_running(&daemon, &sleeping).await;

    let table = stdout_of(&daemon, &["ps"]).await;
    let row = table.lines().nth(1).unwrap();
    assert!(table.lines().count() == 2 && row.contains(&sleeping[..12]) && row.contains("running"), "{table}");
    let table = stdout_of(&daemon, &["ps", "--all"]).await;
    assert!(table.lines().any(|row| row.starts_with(&ended[..12]) && row.contains("exited 3")), "{table}");

    assert_eq!(stdout_of(&daemon, &["ps", "-aq"]).await, format!("{sleeping}\n{ended}\n"));
    assert_eq!(stdout_of(&daemon, &["ps", "-aq", "--limit", "1"]).await, format!("{sleeping}\n"));
    assert_eq!(stdout_of(&daemon, &["ps", "-aq", "--handler", "exit"]).await, format!("{ended}\n"));
    assert_eq!(stdout_of(&daemon, &["ps", "-q", "--handler", "exit"]).await, "");
    let json = command_for(&daemon).args(["ps", "--json"]).run().await.assert_exit_code(0).json();
    assert_eq!((json["jobs"].as_array().unwrap().len(), &json["jobs"][0]["id"]), (1, &sleeping.clone().into()));
}

#[tokio::test]
async fn unique_prefix_of_an_id_selects_the_job() {
    let daemon = daemon_with_handlers().await;
    let id = submit(&daemon, &["exit"]).await;
    assert_eq!(stdout_of(&daemon, &["wait", &id[..12]]).await, "0\n");
    assert_eq!(inspect(&daemon, &id[..8]).await["id"], id);
    for nobody in ["", "abc", "exit", &"0".repeat(8), &"0".repeat(32)] {
        for command in ["logs", "wait", "cancel", "kill", "inspect", "rm"] {
            let refused = command_for(&daemon).args([command, nobody]).run().await.assert_exit_code(125);
            assert!(!refused.stderr.is_empty() && refused.stdout.is_empty(), "{command}: {refused:?}");
        }
    }
}

#[tokio::test]
async fn wait_prints_every_exit_code_and_returns_that_of_the_last_job() {
    let daemon = daemon_with_handlers().await;
    let (seven, none) = (submit(&daemon, &["exit", "7"]).await, submit(&daemon, &["exit"]).await);
    assert_eq!(command_for(&daemon).args(["wait", &none, &seven]).run().await.assert_exit_code(7).text(), "0\n7\n");
    assert_eq!(command_for(&daemon).args(["wait", &seven, &none]).run().await.assert_exit_code(0).text(), "7\n0\n");
    let finished = command_for(&daemon).args(["wait", &seven, &"0".repeat(32)]).run().await.assert_exit_code(125);
    assert_eq!(finished.text(), "7\n");

    let sleeping = submit(&daemon, &["sleep"]).await;
    let given_up =
        command_for(&daemon).args(["wait", "--timeout", "100ms", &sleeping]).run().await.assert_exit_code(125);
    assert!(given_up.stderr.contains(&sleeping) && given_up.stderr.contains("100 ms"), "{given_up:?}");
    assert_eq!(stdout_of(&daemon, &["ps", "-q"]).await, format!("{sleeping}\n"), "the job keeps running");
}

#[tokio::test]
async fn cancel_and_kill_stop_a_job_only_once() {
    let daemon = daemon_with_handlers().await;
    for (command, handler) in
        [(&["cancel"] as &[&str], "sleep"), (&["cancel", "--grace", "100ms"], "spin"), (&["kill"], "spin")]
    {
        let id = submit(&daemon, &[handler]).await;
        wait_until_running(&daemon, &id).await;
        let ended = command_for(&daemon).args(command).args([&id]).run().await.assert_exit_code(0);
        assert_eq!(ended.text(), format!("{id}\n"));
        assert_eq!(command_for(&daemon).args(["wait", &id]).run().await.assert_exit_code(137).text(), "137\n");
        assert_eq!(inspect(&daemon, &id).await["outcome"]["kind"], "cancelled");
        let again = command_for(&daemon).args(command).args([&id]).run().await.assert_exit_code(125);
        assert!(again.stdout.is_empty() && !again.stderr.is_empty(), "{again:?}");
    }
}

#[tokio::test]
async fn kill_with_an_unknown_id_still_stops_the_other_jobs() {
    let daemon = daemon_with_handlers().await;
    let (first, second) = (submit(&daemon, &["sleep"]).await, submit(&daemon, &["spin"]).await);
    let nobody = "0".repeat(32);
    let finished = command_for(&daemon).args(["kill", &first, &nobody, &second]).run().await.assert_exit_code(125);
    assert_eq!(finished.text(), format!("{first}\n{second}\n"));
    command_for(&daemon).args(["wait", &first, &second]).run().await.assert_exit_code(137);
}

#[tokio::test]
async fn rm_removes_ended_jobs_and_running_jobs_with_force() {
    let daemon = daemon_with_handlers().await;
    let (ended, sleeping) = (submit(&daemon, &["exit"]).await, submit(&daemon, &["sleep"]).await);
    command_for(&daemon).args(["wait", &ended]).run().await.assert_exit_code(0);
    wait_until_running(&daemon, &sleeping).await;
    let refused = command_for(&daemon).args(["rm", &sleeping, &ended]).run().await.assert_exit_code(125);
    assert_eq!(refused.text(), format!("{ended}\n"));
    command_for(&daemon).args(["inspect", &ended]).run().await.assert_exit_code(125);

    let again = submit(&daemon, &["exit"]).await;
    command_for(&daemon).args(["wait", &again]).run().await.assert_exit_code(0);
    assert_eq!(stdout_of(&daemon, &["rm", "-f", &sleeping, &again]).await, format!("{sleeping}\n{again}\n"));
    assert_eq!(stdout_of(&daemon, &["ps", "-aq"]).await, "");
}

#[tokio::test]
async fn stats_shows_the_usage_of_running_jobs() {
    let daemon = daemon_with_handlers().await;
    let id = submit(&daemon, &["spin"]).await;
    wait_until_running(&daemon, &id).await;
    let table = stdout_of(&daemon, &["stats", "--no-stream"]).await;
    assert!(table.lines().any(|row| row.starts_with(&id[..12]) && row.contains("spin")), "{table}");

    let mut stats = command_for(&daemon).args(["stats", "--json"]).spawn();
    stats.read_until("\n").await;
    stats.signal(rustix::process::Signal::INT);
    let finished = stats.finish().await;
    let line: Value = serde_json::from_str(finished.text().lines().next().unwrap()).unwrap();
    assert_eq!(line["jobs"][0]["id"], id);
    assert!(line["jobs"][0]["cpu_percent"].is_number(), "{line}");
}

#[tokio::test]
async fn stats_by_handler_shows_totals_of_each_handler() {
    let daemon = daemon_with_handlers().await;
    let id = submit(&daemon, &["exit"]).await;
    command_for(&daemon).args(["wait", &id]).run().await;
    let table = stdout_of(&daemon, &["stats", "--by-handler", "--no-stream"]).await;
    let rows: Vec<Vec<&str>> = table.lines().map(|row| row.split_whitespace().collect()).collect();
    assert_eq!(rows[0][..3], ["HANDLER", "JOBS", "FAILED"], "{table}");
    assert_eq!(rows[1][..2], ["exit", "1"], "{table}");
    assert_eq!(rows.len(), 2, "handlers without jobs are omitted: {table}");
    let json = stdout_of(&daemon, &["stats", "--by-handler", "--no-stream", "--json"]).await;
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json["handlers"][0]["name"], &json["handlers"][0]["totals"]["jobs"]), (&"exit".into(), &1.into()));
}

#[tokio::test]
async fn queue_drain_waits_until_no_job_runs_and_keeps_those_that_wait() {
    let daemon = daemon_with_handlers().await;
    let running = submit(&daemon, &["sleep"]).await;
    wait_until_running(&daemon, &running).await;
    let late = command_for(&daemon).args(["queue", "drain", "--timeout", "100ms", "sleep"]).run().await;
    assert!(late.assert_exit_code(125).stderr.contains("jobs of sleep still run after 100 ms"));
    let waiting = submit(&daemon, &["sleep"]).await;
    stdout_of(&daemon, &["kill", &running]).await;
    assert_eq!(stdout_of(&daemon, &["queue", "drain", "sleep"]).await, "sleep\n");
    assert_eq!(inspect(&daemon, &waiting).await["state"], "queued");
    assert!(stdout_of(&daemon, &["queue", "show", "sleep"]).await.contains("the queue to be resumed"));
}
