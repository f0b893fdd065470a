//! `capstan commands`, error messages of failed jobs, and the difference between an unknown handler and a guest that exits with 127.

use capstan_tests::{Daemon, guests};
use serde_json::Value;

use crate::{CAPSTAN, command_for, serving, submit};

#[tokio::test]
async fn commands_lists_the_same_sorted_names_as_the_builtin() {
    let daemon = serving("zebra", guests::run::HELLO).await;
    daemon.client().push("ant", guests::run::HELLO).await;
    let listed = command_for(&daemon).args(["commands"]).stdin("not taken").run().await.assert_exit_code(0);
    let names: Vec<_> = listed.text().lines().collect();
    assert!(names.is_sorted() && names.contains(&"ant") && names.contains(&"commands"), "{names:?}");
    assert_eq!(daemon.client().run("commands").send().await.text(), listed.text());
    let table = command_for(&daemon).args(["handlers", "ls"]).run().await.assert_exit_code(0);
    let tabled: Vec<_> = table.text().lines().skip(1).filter_map(|row| row.split(' ').next()).collect();
    assert_eq!(tabled, names);
}

#[tokio::test]
async fn commands_in_json_contain_source_digest_and_usage() {
    let daemon = serving("hello", guests::run::HELLO).await;
    let json = command_for(&daemon).args(["commands", "--json"]).run().await.assert_exit_code(0).json();
    assert_eq!(json, daemon.client().get("/v1/handlers").send().await.json());
    let of = |name: &str| -> Value {
        json["handlers"].as_array().unwrap().iter().find(|handler| handler["name"] == name).unwrap().clone()
    };
    let (hello, commands) = (of("hello"), of("commands"));
    assert_eq!((&hello["source"], &hello["kind"]), (&"pushed".into(), &"module".into()));
    assert!(hello["digest"].as_str().unwrap().starts_with("sha256:"), "{hello}");
    assert_eq!((&commands["source"], &commands["kind"]), (&"builtin".into(), &"native".into()));
    assert_eq!(commands["usage"], "commands [--json]");
    assert!(commands["description"].as_str().is_some_and(|text| !text.is_empty()) && commands["digest"].is_null());
}

#[tokio::test]
async fn commands_with_unknown_arguments_prints_usage() {
    let daemon = Daemon::start(CAPSTAN);
    for args in [&["--colour"] as &[&str], &["--json", "--json"], &["x"]] {
        let refused =
            command_for(&daemon).args(["run", "commands"]).args(args).stdin("").run().await.assert_exit_code(125);
        assert_eq!((refused.text(), refused.stderr.as_str()), ("", "usage: commands [--json]\n"));
    }
}

#[tokio::test]
async fn wait_ps_and_inspect_report_why_a_job_failed() {
    let daemon = serving("both", guests::run::BOTH_STREAMS).await;
    let id = submit(&daemon, &["both"]).await;
    let waited = command_for(&daemon).args(["wait", &id]).run().await.assert_exit_code(3);
    assert_eq!(
        (waited.text(), waited.stderr.as_str()),
        ("3\n", format!("capstan: both {}: err\n", &id[..12]).as_str())
    );
    let table = command_for(&daemon).args(["ps", "-a"]).run().await.assert_exit_code(0);
    assert!(table.text().lines().nth(1).unwrap().ends_with("  err"), "{}", table.text());
    let job = command_for(&daemon).args(["inspect", &id]).run().await.assert_exit_code(0).json();
    assert_eq!(job["error"], "err");
    let run =
        command_for(&daemon).args(["run", "--outcome", "o.json", "both"]).stdin("").run().await.assert_exit_code(3);
    let outcome: Value = serde_json::from_slice(&run.read("o.json")).unwrap();
    assert_eq!(outcome["error"], "err");
}

#[tokio::test]
async fn guest_exit_code_127_differs_from_unknown_handler() {
    let daemon = serving("exit", guests::run::EXIT).await;
    let run =
        |name: &'static str| command_for(&daemon).args(["run", "--outcome", "o.json", name, "127"]).stdin("").run();
    let guest = run("exit").await.assert_exit_code(127);
    let outcome: Value = serde_json::from_slice(&guest.read("o.json")).unwrap();
    assert_eq!((guest.stderr.as_str(), &outcome["outcome"]), ("", &serde_json::json!({"kind": "exited", "code": 127})));
    let unknown = run("nobody").await.assert_exit_code(127);
    let outcome: Value = serde_json::from_slice(&unknown.read("o.json")).unwrap();
    assert_eq!((&outcome["outcome"]["kind"], &outcome["job"]), (&"refused".into(), &Value::Null));
    assert!(unknown.stderr.contains("no handler nobody"), "{unknown:?}");

    let reply = daemon.client().run("exit").arg("127").send().await;
    reply.assert_outcome("exited", 127);
    daemon.client().run("nobody").send().await.error(404, "unknown_handler");
}
