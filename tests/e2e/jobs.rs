//! The subcommands that look after jobs: `ps`, `wait`, `cancel`, `kill`, `inspect`, `rm`, `stats`.

use capstan_tests::{Daemon, eventually, guests};
use serde_json::Value;

use crate::{serving, submit, told_of};

/// A daemon with programs that end, sleep, and compute for ever.
async fn busy() -> Daemon {
    let daemon = serving("exit", guests::run::EXIT).await;
    daemon.client().push("sleep", guests::limits::SLEEP_FOR_EVER).await;
    daemon.client().push("spin", guests::limits::LOOP_IN_START).await;
    daemon
}

/// What `capstan` prints that is called with `args` and must succeed.
async fn text(daemon: &Daemon, args: &[&str]) -> String {
    told_of(daemon).args(args).run().await.exited(0).text().to_owned()
}

async fn inspect(daemon: &Daemon, id: &str) -> Value {
    told_of(daemon).args(["inspect", id]).run().await.exited(0).json()
}

/// Waits until a job runs.
async fn running(daemon: &Daemon, id: &str) {
    eventually("the job to run", async || (inspect(daemon, id).await["state"] == "running").then_some(())).await;
}

#[tokio::test]
async fn what_goes_on_is_listed_and_what_has_ended_only_on_request() {
    let daemon = busy().await;
    let ended = submit(&daemon, &["exit", "3"]).await;
    told_of(&daemon).args(["wait", &ended]).run().await.exited(3);
    let sleeping = submit(&daemon, &["sleep"]).await;
    running(&daemon, &sleeping).await;

    let table = text(&daemon, &["ps"]).await;
    let row = table.lines().nth(1).unwrap();
    assert!(table.lines().count() == 2 && row.contains(&sleeping[..12]) && row.contains("running"), "{table}");
    let table = text(&daemon, &["ps", "--all"]).await;
    assert!(table.lines().any(|row| row.starts_with(&ended[..12]) && row.contains("exited 3")), "{table}");

    assert_eq!(text(&daemon, &["ps", "-aq"]).await, format!("{sleeping}\n{ended}\n"));
    assert_eq!(text(&daemon, &["ps", "-aq", "--limit", "1"]).await, format!("{sleeping}\n"));
    assert_eq!(text(&daemon, &["ps", "-aq", "--handler", "exit"]).await, format!("{ended}\n"));
    assert_eq!(text(&daemon, &["ps", "-q", "--handler", "exit"]).await, "");
    let json = told_of(&daemon).args(["ps", "--json"]).run().await.exited(0).json();
    assert_eq!((json["jobs"].as_array().unwrap().len(), &json["jobs"][0]["id"]), (1, &sleeping.clone().into()));
}

#[tokio::test]
async fn the_beginning_of_an_id_is_enough() {
    let daemon = busy().await;
    let id = submit(&daemon, &["exit"]).await;
    assert_eq!(text(&daemon, &["wait", &id[..12]]).await, "0\n");
    assert_eq!(inspect(&daemon, &id[..8]).await["id"], id);
    for nobody in ["", "abc", "exit", &"0".repeat(8), &"0".repeat(32)] {
        for command in ["logs", "wait", "cancel", "kill", "inspect", "rm"] {
            let refused = told_of(&daemon).args([command, nobody]).run().await.exited(125);
            assert!(!refused.stderr.is_empty() && refused.stdout.is_empty(), "{command}: {refused:?}");
        }
    }
}

#[tokio::test]
async fn waiting_prints_the_code_of_each_and_ends_with_that_of_the_last() {
    let daemon = busy().await;
    let (seven, none) = (submit(&daemon, &["exit", "7"]).await, submit(&daemon, &["exit"]).await);
    assert_eq!(told_of(&daemon).args(["wait", &none, &seven]).run().await.exited(7).text(), "0\n7\n");
    assert_eq!(told_of(&daemon).args(["wait", &seven, &none]).run().await.exited(0).text(), "7\n0\n");
    let finished = told_of(&daemon).args(["wait", &seven, &"0".repeat(32)]).run().await.exited(125);
    assert_eq!(finished.text(), "7\n");

    let sleeping = submit(&daemon, &["sleep"]).await;
    let given_up = told_of(&daemon).args(["wait", "--timeout", "100ms", &sleeping]).run().await.exited(125);
    assert!(given_up.stderr.contains(&sleeping) && given_up.stderr.contains("100 ms"), "{given_up:?}");
    assert_eq!(text(&daemon, &["ps", "-q"]).await, format!("{sleeping}\n"), "the job goes on");
}

#[tokio::test]
async fn a_job_is_ended_by_cancel_and_by_kill_once() {
    let daemon = busy().await;
    for (command, handler) in
        [(&["cancel"] as &[&str], "sleep"), (&["cancel", "--grace", "100ms"], "spin"), (&["kill"], "spin")]
    {
        let id = submit(&daemon, &[handler]).await;
        running(&daemon, &id).await;
        let ended = told_of(&daemon).args(command).args([&id]).run().await.exited(0);
        assert_eq!(ended.text(), format!("{id}\n"));
        assert_eq!(told_of(&daemon).args(["wait", &id]).run().await.exited(137).text(), "137\n");
        assert_eq!(inspect(&daemon, &id).await["outcome"]["kind"], "cancelled");
        let again = told_of(&daemon).args(command).args([&id]).run().await.exited(125);
        assert!(again.stdout.is_empty() && !again.stderr.is_empty(), "{again:?}");
    }
}

#[tokio::test]
async fn one_job_that_cannot_be_ended_does_not_keep_the_others() {
    let daemon = busy().await;
    let (first, second) = (submit(&daemon, &["sleep"]).await, submit(&daemon, &["spin"]).await);
    let nobody = "0".repeat(32);
    let finished = told_of(&daemon).args(["kill", &first, &nobody, &second]).run().await.exited(125);
    assert_eq!(finished.text(), format!("{first}\n{second}\n"));
    told_of(&daemon).args(["wait", &first, &second]).run().await.exited(137);
}

#[tokio::test]
async fn jobs_are_forgotten_when_they_have_ended_or_are_made_to() {
    let daemon = busy().await;
    let (ended, sleeping) = (submit(&daemon, &["exit"]).await, submit(&daemon, &["sleep"]).await);
    told_of(&daemon).args(["wait", &ended]).run().await.exited(0);
    running(&daemon, &sleeping).await;
    let refused = told_of(&daemon).args(["rm", &sleeping, &ended]).run().await.exited(125);
    assert_eq!(refused.text(), format!("{ended}\n"));
    told_of(&daemon).args(["inspect", &ended]).run().await.exited(125);

    let again = submit(&daemon, &["exit"]).await;
    told_of(&daemon).args(["wait", &again]).run().await.exited(0);
    assert_eq!(text(&daemon, &["rm", "-f", &sleeping, &again]).await, format!("{sleeping}\n{again}\n"));
    assert_eq!(text(&daemon, &["ps", "-aq"]).await, "");
}

#[tokio::test]
async fn what_running_jobs_use_is_shown() {
    let daemon = busy().await;
    let id = submit(&daemon, &["spin"]).await;
    running(&daemon, &id).await;
    let table = text(&daemon, &["stats", "--no-stream"]).await;
    assert!(table.lines().any(|row| row.starts_with(&id[..12]) && row.contains("spin")), "{table}");

    let mut stats = told_of(&daemon).args(["stats", "--json"]).spawn();
    stats.read_until("\n").await;
    stats.signal(rustix::process::Signal::INT);
    let finished = stats.finish().await;
    let line: Value = serde_json::from_str(finished.text().lines().next().unwrap()).unwrap();
    assert_eq!(line["jobs"][0]["id"], id);
    assert!(line["jobs"][0]["cpu_percent"].is_number(), "{line}");
}

#[tokio::test]
async fn what_the_jobs_of_each_handler_have_used_is_shown() {
    let daemon = busy().await;
    let id = submit(&daemon, &["exit"]).await;
    told_of(&daemon).args(["wait", &id]).run().await;
    let table = text(&daemon, &["stats", "--by-handler", "--no-stream"]).await;
    let rows: Vec<Vec<&str>> = table.lines().map(|row| row.split_whitespace().collect()).collect();
    assert_eq!(rows[0][..3], ["HANDLER", "JOBS", "FAILED"], "{table}");
    assert_eq!(rows[1][..2], ["exit", "1"], "{table}");
    assert_eq!(rows.len(), 2, "handlers that have had no jobs are left out: {table}");
    let json = text(&daemon, &["stats", "--by-handler", "--no-stream", "--json"]).await;
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json["handlers"][0]["name"], &json["handlers"][0]["totals"]["jobs"]), (&"exit".into(), &1.into()));
}
