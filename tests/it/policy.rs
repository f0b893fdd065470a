//! The policy of a job: the ceiling of the operator, restricted by the manifest, restricted by the caller.

mod callers;
mod determinism;
mod features;
pub(crate) mod reload;
mod secrets;

use std::fs;

use capstan_tests::{Client, Daemon, Setup, guests};
use serde_json::{Value, json};

use crate::handlers::push_multipart;
use crate::{CAPSTAN, configured, oracle, serving};

/// Starts a daemon with the probe whose operator allows `data` for reading and `work` for writing, and passes on `GREETING`.
async fn daemon_with_mounts() -> (Daemon, Client) {
    let setup = Setup::new(CAPSTAN);
    for name in ["hay", "work"] {
        fs::create_dir(setup.folder().join(name)).unwrap();
    }
    fs::write(setup.folder().join("hay/hay"), "needle").unwrap();
    let toml = format!(
        "[policy]\npass_env = [\"GREETING\"]\n[mounts.data]\npath = \"{0}/hay\"\n[mounts.work]\npath = \"{0}/work\"\naccess = \"rw\"\n",
        setup.folder().display()
    );
    let daemon = setup.config(&toml).env("GREETING", "hi").start();
    let client = daemon.client();
    client.push("probe", guests::compiled("probe.p1")).await;
    (daemon, client)
}

fn policy(json: &Value) -> String {
    json.to_string()
}

#[tokio::test]
async fn run_over_its_cpu_limit_is_stopped() {
    let (mut daemon, client) = serving("spin", guests::limits::LOOP_IN_START).await;
    let call = client.run("spin").query("policy", &policy(&json!({"cpu": "200ms", "timeout": "60s"})));
    let framed = call.framed().send().await.frames();
    framed.assert_outcome("cpu_spent", 137);
    assert_eq!(framed.outcome()["limit"], 0.2);
    let cpu = framed.last["usage"]["cpu_seconds"].as_f64().unwrap();
    assert!((0.2..1.0).contains(&cpu), "the run used {cpu} s of processor time");
    oracle::still_answers(&mut daemon).await;
    assert_eq!(client.running().await, 0);
}

#[tokio::test]
async fn sleeping_uses_no_cpu_budget() {
    let (_daemon, client) = serving("sleep", guests::limits::SLEEP_FOR_EVER).await;
    let call = client.run("sleep").query("policy", &policy(&json!({"cpu": "100ms", "timeout": "500ms"})));
    call.framed().send().await.frames().assert_outcome("timed_out", 124);
}

#[tokio::test]
async fn operator_cpu_limit_is_a_ceiling() {
    let (_daemon, client) = configured("[policy]\ncpu = \"100ms\"", "spin", guests::limits::LOOP_IN_START).await;
    let call = client.run("spin").query("policy", &policy(&json!({"cpu": "1h"})));
    let framed = call.framed().send().await.frames();
    framed.assert_outcome("cpu_spent", 137);
    assert_eq!(framed.outcome()["limit"], 0.1);
}

#[tokio::test]
async fn mount_is_available_on_request_with_the_access_of_the_operator() {
    let (daemon, client) = daemon_with_mounts().await;
    let run = |requested: Value, args: &[&str]| {
        args.iter().fold(client.run("probe").query("policy", &policy(&requested)), |call, arg| call.arg(arg)).send()
    };
    let data = json!({"mounts": [{"name": "data"}]});
    let read = run(data.clone(), &["read", "/data/hay"]).await;
    assert_eq!(read.text(), "needle");
    run(json!({}), &["read", "/data/hay"]).await.assert_outcome("exited", 1);
    run(data, &["write", "/data/new", "x"]).await.assert_outcome("exited", 1);
    let work = json!({"mounts": [{"name": "work", "guest": "/out", "access": "rw"}]});
    run(work, &["write", "/out/new", "x"]).await.assert_outcome("exited", 0);
    assert_eq!(fs::read_to_string(daemon.setup().folder().join("work/new")).unwrap(), "x");
    assert!(!daemon.setup().folder().join("hay/new").exists());
}

#[tokio::test]
async fn denied_policy_names_the_rule_and_runs_nothing() {
    let (mut daemon, client) = daemon_with_mounts().await;
    for (requested, rule) in [
        (json!({"mounts": [{"name": "etc"}]}), "no mount of this name"),
        (json!({"mounts": [{"name": "data", "access": "rw"}]}), "for reading only"),
        (json!({"pass_env": ["PATH"]}), "does not pass it on"),
    ] {
        let job = json!({"handler": "probe", "args": ["name"], "policy": requested});
        for denied in [
            client.run("probe").arg("name").query("policy", &policy(&requested)).send().await,
            client.post("/v1/jobs").body(job.to_string()).send().await,
        ] {
            denied.error(403, "policy_denied");
            assert!(denied.text().contains(rule), "{}", denied.text());
        }
        let checked =
            client.post("/v1/policy/check").body(json!({"handler": "probe", "policy": requested}).to_string());
        let checked = checked.send().await.json();
        assert_eq!(checked["allowed"], false);
        assert!(checked["findings"][0]["rule"].as_str().unwrap().contains(rule), "{checked}");
    }
    let jobs = client.get("/v1/jobs").send().await.json();
    assert_eq!(jobs["jobs"].as_array().map(Vec::len), Some(0), "{jobs}");
    oracle::still_answers(&mut daemon).await;
}

#[tokio::test]
async fn daemon_variable_is_passed_on_if_operator_and_caller_agree() {
    let (_daemon, client) = daemon_with_mounts().await;
    let env = async |requested: Value| {
        client.run("probe").arg("env").query("policy", &policy(&requested)).send().await.text().to_owned()
    };
    assert_eq!(env(json!({"pass_env": ["GREETING"]})).await, "GREETING=hi\n");
    assert_eq!(env(json!({})).await, "");
}

#[tokio::test]
async fn effective_policy_is_kept_with_the_job() {
    let (_daemon, client) = daemon_with_mounts().await;
    let requested = json!({"memory": "32MiB", "cpu": 2, "mounts": [{"name": "data", "guest": "/in"}]});
    let job = json!({"handler": "probe", "args": ["name"], "policy": requested}).to_string();
    let id = client.post("/v1/jobs").body(job).send().await.json()["id"].as_str().unwrap().to_owned();
    let reported = client.get(&format!("/v1/jobs/{id}")).send().await.json();
    assert_eq!((&reported["policy"]["memory"], &reported["policy"]["cpu"]), (&json!(32 << 20), &json!(2.0)));
    assert_eq!(reported["policy"]["mounts"], json!([{"name": "data", "guest": "/in", "access": "ro"}]));
    assert_eq!(reported["policy"]["timeout"], json!(3600.0));
}

#[tokio::test]
async fn policy_check_reports_clamped_values() {
    let (_daemon, client) = daemon_with_mounts().await;
    let requested = json!({"handler": "probe", "policy": {"memory": "1GiB", "timeout": "1s"}});
    let checked = client.post("/v1/policy/check").body(requested.to_string()).send().await.json();
    assert_eq!((&checked["allowed"], &checked["policy"]["memory"]), (&json!(true), &json!(256 << 20)));
    let finding = &checked["findings"][0];
    assert_eq!(finding["key"], "memory");
    assert_eq!((&finding["by"], &finding["verdict"]), (&json!("caller"), &json!("clamped")));
    client.post("/v1/policy/check").body(r#"{"handler":"nobody"}"#).send().await.error(404, "unknown_handler");
    let wrong = client.post("/v1/policy/check").body(r#"{"handler":"probe","policy":{"memroy":1}}"#).send().await;
    wrong.error(400, "bad_request");
    assert!(wrong.text().contains("did you mean `memory`?"), "{}", wrong.text());
}

#[tokio::test]
async fn invalid_operator_policy_prevents_the_start() {
    for (toml, code, named) in [
        ("[mounts.data]\npath = \"/nowhere/at/all\"", 1, "cannot open mount data"),
        ("[mounts.data]\npath = \"/dev/null\"", 1, "cannot open mount data"),
        ("[mounts.data]\naccess = \"rw\"", 125, "path"),
        ("[mounts.data]\npath = \"/tmp\"\nacces = \"rw\"", 125, "did you mean `access`?"),
        ("[policy]\nmemory = 0", 125, "no room"),
        ("[policy]\nmemroy = 1", 125, "did you mean `memory`?"),
        ("[policy]\nmounts = []", 125, "[mounts.NAME]"),
    ] {
        let refused = Setup::new(CAPSTAN).config(toml).start_must_fail();
        assert_eq!(refused.status.code(), Some(code), "{toml}: {refused:?}");
        assert!(refused.stderr.contains(named), "{toml}: {refused:?}");
    }
}

#[tokio::test]
async fn excessive_manifest_is_reported_or_rejected_at_push() {
    let manifest = b"[policy]\nmemory = \"1GiB\"\n[[policy.mounts]]\nname = \"data\"\n";
    let parts: &[(&str, &[u8])] = &[("module", guests::run::HELLO), ("manifest", manifest)];
    let (daemon, _) = configured("", "other", guests::run::HELLO).await;
    let pushed = push_multipart(&daemon, parts).await;
    assert_eq!(pushed.status, 201);
    let findings = pushed.json()["findings"].clone();
    let keys: Vec<_> = findings.as_array().unwrap().iter().map(|finding| finding["key"].as_str().unwrap()).collect();
    assert_eq!(keys, ["memory", "mounts"], "{findings}");
    assert_eq!((&findings[0]["verdict"], &findings[0]["granted"]), (&json!("clamped"), &json!("256.0 MiB")));
    let (daemon, client) = configured("[manifests]\nexcess = \"refuse\"\n", "other", guests::run::HELLO).await;
    let refused = push_multipart(&daemon, parts).await;
    refused.error(403, "policy_denied");
    assert!(refused.text().contains("the operator's memory is 256.0 MiB"), "{}", refused.text());
    client.get("/v1/handlers/guest").send().await.error(404, "unknown_handler");
}

#[tokio::test]
async fn handler_totals_add_up_the_usage_of_its_jobs() {
    let (_daemon, client) = serving("cat", guests::run::CAT).await;
    let totals = async || client.get("/v1/handlers/cat").send().await.json()["totals"].clone();
    assert_eq!(totals().await["jobs"], 0);
    for body in ["a", "bc", "def"] {
        client.run("cat").body(body).send().await.assert_outcome("exited", 0);
    }
    let (call, _open) = client.run("cat").query("timeout", "1ms").streaming_body();
    call.send().await.assert_outcome("timed_out", 124);
    let reported = totals().await;
    assert_eq!((&reported["jobs"], &reported["failed"]), (&json!(4), &json!(1)), "{reported}");
    assert_eq!((&reported["stdin_bytes"], &reported["stdout_bytes"]), (&json!(6), &json!(6)), "{reported}");
    assert!(
        reported["run_seconds"].as_f64().unwrap() > 0.0 && reported["memory_peak"].as_u64().unwrap() > 0,
        "{reported}"
    );
    // The totals survive a replacement of the program, and are deleted with the handler.
    client.push("cat", guests::run::HELLO).await;
    assert_eq!(totals().await["jobs"], 4);
    client.delete("/v1/handlers/cat").send().await;
    client.push("cat", guests::run::CAT).await;
    assert_eq!(totals().await["jobs"], 0);
}
