//! `capstan schedule`.

use capstan_tests::{Daemon, eventually, guests};
use serde_json::json;

use crate::{CAPSTAN, command_for, serving};

#[tokio::test]
async fn schedule_is_put_shown_and_removed() {
    let daemon = serving("cat", guests::run::CAT).await;
    let call = async |args: &[&str]| command_for(&daemon).args(["schedule"]).args(args).run().await;
    let put = call(&["put", "nightly", "--cron", "30 2 * * *", "--time-zone", "Europe/Berlin", "cat", "-v"]).await;
    let times = put.assert_exit_code(0).text().to_owned();
    assert!(times.lines().count() == 5 && times.lines().all(|time| time.contains(":30:00Z")), "{times}");
    let table = call(&[]).await.assert_exit_code(0).text().to_owned();
    let row = table.lines().nth(1).unwrap();
    assert!(row.starts_with("nightly  30 2 * * * (Europe/Berlin)  cat") && row.contains("active"), "{table}");
    let shown = call(&["inspect", "nightly"]).await.assert_exit_code(0).text().to_owned();
    assert!(shown.contains("definition.job.args") && shown.contains("-v"), "{shown}");
    assert_eq!(call(&["pause", "nightly"]).await.assert_exit_code(0).text(), "nightly\n");
    assert!(call(&["ls"]).await.assert_exit_code(0).text().contains("paused"));
    assert_eq!(call(&["resume", "nightly"]).await.assert_exit_code(0).text(), times);
    let json = call(&["ls", "--json"]).await.assert_exit_code(0).json();
    assert_eq!(json["schedules"][0]["definition"]["cron"], "30 2 * * *");
    assert_eq!(call(&["rm", "nightly", "none"]).await.assert_exit_code(125).text(), "nightly\n");
    assert_eq!(call(&["inspect", "nightly"]).await.assert_exit_code(125).text(), "");
}

#[tokio::test]
async fn schedule_of_a_file_submits_its_job() {
    let daemon = serving("cat", guests::run::CAT).await;
    let definition = json!({"every": "1s", "job": {"handler": "cat", "stdin": "tick\n"}}).to_string();
    let put = command_for(&daemon).file("s.json", definition.as_bytes());
    put.args(["schedule", "put", "often", "--file", "s.json"]).run().await.assert_exit_code(0);
    let client = daemon.client();
    eventually("a job of the schedule", async || {
        let jobs = client.get("/v1/jobs?label=capstan.schedule=often&state=done").send().await.json();
        (jobs["jobs"].as_array().unwrap().len() > 1).then_some(())
    })
    .await;
    let id = command_for(&daemon).args(["schedule", "run", "often"]).run().await.assert_exit_code(0).text().to_owned();
    command_for(&daemon).args(["wait", id.trim()]).run().await.assert_exit_code(0);
    let logs = command_for(&daemon).args(["logs", id.trim()]).run().await.assert_exit_code(0);
    assert_eq!(logs.text(), "tick\n");
}

#[tokio::test]
async fn schedule_of_a_manifest_comes_with_a_push_and_is_shown_as_such() {
    let daemon = Daemon::start(CAPSTAN);
    let push = async |manifest: &str| {
        let command = command_for(&daemon).file("cat.wasm", guests::run::CAT).file("job.toml", manifest.as_bytes());
        command.args(["push", "cat.wasm", "--manifest", "job.toml"]).run().await
    };
    push("[[schedule]]\ncron = \"30 2 * * *\"\n").await.assert_exit_code(0);
    let schedule = async |args: &[&str]| command_for(&daemon).args(["schedule"]).args(args).run().await;
    schedule(&["put", "other", "--every", "1h", "cat"]).await.assert_exit_code(0);
    let table = schedule(&[]).await.assert_exit_code(0).text().to_owned();
    let words = |line: usize| table.lines().nth(line).unwrap().split_whitespace().collect::<Vec<_>>();
    assert_eq!((words(0)[3], words(1)[7], words(2)[4]), ("FROM", "manifest", "request"), "{table}");
    for args in [&["rm", "cat"][..], &["put", "cat", "--every", "1h", "cat"]] {
        let refused = schedule(args).await.assert_exit_code(125);
        assert!(refused.stderr.contains("comes from the manifest of the handler \"cat\""), "{}", refused.stderr);
    }
    let wrong = push("name = \"cat\"\n[[schedule]]\ncron = \"0 0 31 2 *\"\n").await.assert_exit_code(125);
    assert!(wrong.stderr.contains("line 3: in [[schedule]]: cron is"), "{}", wrong.stderr);
}

#[tokio::test]
async fn wrong_schedule_is_explained() {
    let daemon = serving("cat", guests::run::CAT).await;
    for (args, part) in [
        (&["put", "s", "--cron", "0 0 31 2 *", "cat"][..], "never fires"),
        (&["put", "s", "--every", "soon", "cat"], "every: \"soon\" is not a duration"),
        (&["put", "s", "--every", "1h", "--overlap", "forbid", "cat"], "overlap: unknown variant `forbid`"),
        (&["put", "S", "--every", "1h", "cat"], "is not a name of a schedule"),
        (&["put", "s", "--file", "absent.json"], "absent.json"),
        (&["run", "none"], "no schedule \"none\""),
        (&["put", "s", "cat"], "--cron"),
    ] {
        let finished = command_for(&daemon).args(["schedule"]).args(args).run().await.assert_exit_code(125);
        assert!(finished.stderr.contains(part), "{args:?}: {}", finished.stderr);
    }
}
