//! The jobs API: submit, wait, cancel, kill, feed stdin, and idempotency keys.

use std::time::{Duration, Instant};

use capstan_tests::{Client, Raw, Reply, eventually, guests, within};
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::{configured, oracle, serving};

/// Submits a job, which must be accepted, and returns its id.
pub(crate) async fn submit(client: &Client, job: &Value) -> String {
    let reply = post(client, job).await;
    assert_eq!(reply.status, 202, "{reply:?}");
    reply.json()["id"].as_str().unwrap().to_owned()
}

pub(crate) async fn post(client: &Client, job: &Value) -> Reply {
    client.post("/v1/jobs").body(job.to_string()).send().await
}

/// Waits for the end of a job and returns it.
pub(crate) async fn wait_for_end(client: &Client, id: &str) -> Value {
    let reply = client.post(&format!("/v1/jobs/{id}/wait")).send().await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let job = reply.json();
    assert_eq!(job["state"], "done", "{job}");
    job
}

/// Returns the output of a job on both streams.
pub(crate) async fn output_of(client: &Client, id: &str) -> String {
    let reply = client.get(&format!("/v1/jobs/{id}/logs")).send().await;
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.text().to_owned()
}

/// Returns a job as the API shows it.
pub(crate) async fn inspect(client: &Client, id: &str) -> Value {
    client.get(&format!("/v1/jobs/{id}")).send().await.json()
}

pub(crate) async fn state_of(client: &Client, id: &str) -> String {
    let job = inspect(client, id).await;
    job["state"].as_str().unwrap_or_else(|| panic!("no state in {job}")).to_owned()
}

#[tokio::test]
async fn submitted_job_runs_and_is_described_completely() {
    let (mut daemon, client) = serving("print", guests::run::PRINT_THEN_EXIT).await;
    let reply = post(
        &client,
        &json!({"handler": "print", "args": ["7"], "env": {"A": "1"}, "stdin": "x", "policy": {"timeout": "5s"}}),
    )
    .await;
    assert_eq!(reply.status, 202, "{reply:?}");
    let submitted = reply.json();
    assert_eq!(submitted["durable"], true);
    let id = submitted["id"].as_str().unwrap();
    assert_eq!(reply.header("location"), Some(format!("/v1/jobs/{id}").as_str()));
    let job = wait_for_end(&client, id).await;
    assert_eq!(job, client.get(&format!("/jobs/{id}")).send().await.json());
    assert_eq!((&job["id"], &job["handler"], &job["args"]), (&json!(id), &json!("print"), &json!(["7"])));
    assert_eq!((&job["outcome"], &job["exit_code"]), (&json!({"kind": "exited", "code": 7}), &json!(7)));
    assert_eq!(job["policy"]["timeout"], 5.0);
    assert_eq!(job["usage"]["stdout_bytes"], 14);
    assert_eq!(job["digest"], client.get("/v1/handlers/print").send().await.json()["digest"]);
    assert_eq!((job["runs"].as_array().unwrap().len(), &job["attempts"]), (1, &job["runs"]));
    assert_eq!(job["runs"][0]["outcome"], job["outcome"]);
    let times = ["created", "started", "ended"].map(|name| job[name].as_str().unwrap().to_owned());
    assert!(times.is_sorted() && times.iter().all(|time| time.len() == 30 && time.ends_with('Z')), "{times:?}");
    assert_eq!(output_of(&client, id).await, "started\nended\n");
    oracle::still_answers(&mut daemon).await;
}

#[tokio::test]
async fn stdin_can_be_submitted_with_the_job() {
    let (_daemon, client) = serving("cat", guests::run::CAT).await;
    for (job, expected) in [
        (json!({"handler": "cat"}), &b""[..]),
        (json!({"handler": "cat", "stdin": null}), b""),
        (json!({"handler": "cat", "stdin": "grüße"}), "grüße".as_bytes()),
        (json!({"handler": "cat", "stdin_base64": "AP8K"}), b"\0\xff\n"),
    ] {
        let id = submit(&client, &job).await;
        assert_eq!(wait_for_end(&client, &id).await["exit_code"], 0);
        let reply = client.get(&format!("/v1/jobs/{id}/logs")).send().await;
        assert_eq!(reply.body, expected, "{job}");
    }
}

#[tokio::test]
async fn stdin_can_be_sent_once_after_submission() {
    let (_daemon, client) = serving("cat", guests::run::CAT).await;
    let id = submit(&client, &json!({"handler": "cat", "stdin_later": true})).await;
    let path = format!("/v1/jobs/{id}/stdin");
    let (call, feed) = client.call("PUT", &path).streaming_body();
    let feeding = tokio::spawn(call.send());
    assert!(feed.send("one ").await);
    eventually("the first piece to be printed", async || (output_of(&client, &id).await == "one ").then_some(())).await;
    client.put(&path, "other").send().await.error(409, "conflict");
    assert!(feed.send("two").await);
    drop(feed);
    let reply = within("the end of the input", feeding).await.unwrap();
    assert_eq!(reply.status, 204, "{reply:?}");
    assert_eq!(wait_for_end(&client, &id).await["outcome"]["kind"], "exited");
    assert_eq!(output_of(&client, &id).await, "one two");
    client.put(&path, "late").send().await.error(409, "job_ended");
    let id = submit(&client, &json!({"handler": "cat", "stdin_later": true})).await;
    let (call, feed) = client.call("PUT", &format!("/v1/jobs/{id}/stdin")).streaming_body();
    let feeding = tokio::spawn(call.try_open());
    assert!(feed.send("half").await);
    eventually("the first half to be printed", async || (output_of(&client, &id).await == "half").then_some(())).await;
    feeding.abort();
    let job = wait_for_end(&client, &id).await;
    assert_eq!(
        job["outcome"],
        json!({"kind": "cancelled", "by": "client"}),
        "a partial input must not count as complete"
    );
}

#[tokio::test]
async fn stdin_of_a_job_without_open_stdin_is_rejected() {
    let (_daemon, client) = serving("sleep", guests::limits::SLEEP_FOR_EVER).await;
    let id = submit(&client, &json!({"handler": "sleep"})).await;
    client.put(&format!("/v1/jobs/{id}/stdin"), "x").send().await.error(409, "conflict");
}

#[tokio::test]
async fn builtin_can_be_submitted_as_a_job() {
    let (_daemon, client) = serving("hello", guests::run::HELLO).await;
    let id = submit(&client, &json!({"handler": "commands"})).await;
    assert_eq!(wait_for_end(&client, &id).await["exit_code"], 0);
    assert!(output_of(&client, &id).await.contains("hello\n"));
}

#[tokio::test]
async fn stdin_of_queued_jobs_is_not_in_memory() {
    const JOBS: usize = 40;
    let (daemon, client) = configured("[limits]\nruns = 1", "sleep", guests::limits::SLEEP_FOR_EVER).await;
    let job = json!({"handler": "sleep", "stdin": "x".repeat(3 << 20)});
    submit(&client, &job).await;
    let before = daemon.peak_memory();
    for _ in 0..JOBS {
        submit(&client, &job).await;
    }
    let grown = daemon.peak_memory().saturating_sub(before);
    assert!(grown < 60 << 20, "{JOBS} times 3 MiB of stdin took {} KiB", grown >> 10);
}

#[tokio::test]
async fn wait_returns_at_the_end_of_the_job_or_at_its_timeout() {
    let (_daemon, client) = serving("cat", guests::run::CAT).await;
    let id = submit(&client, &json!({"handler": "cat", "stdin_later": true})).await;
    for timeout in ["0", "50ms", "0.05"] {
        let reply = client.post(&format!("/v1/jobs/{id}/wait?timeout={timeout}")).send().await;
        assert_eq!((reply.status, &reply.json()["state"]), (200, &json!("running")), "{reply:?}");
    }
    let mut waiting = JoinSet::new();
    for _ in 0..8 {
        let (client, id) = (client.clone(), id.clone());
        waiting.spawn(async move { wait_for_end(&client, &id).await });
    }
    assert_eq!(client.put(&format!("/v1/jobs/{id}/stdin"), "").send().await.status, 204);
    for job in waiting.join_all().await {
        assert_eq!(job["exit_code"], 0);
    }
    wait_for_end(&client, &id).await;
}

#[tokio::test]
async fn wait_returns_the_outcome_of_a_job_that_is_removed_at_once() {
    let (_daemon, client) = serving("cat", guests::run::CAT).await;
    let id = submit(&client, &json!({"handler": "cat", "stdin_later": true})).await;
    let path = format!("/v1/jobs/{id}");
    let waiting = client.post(&format!("{path}/wait")).open().await;
    client.delete(&path).send().await.error(409, "job_running");
    client.put(&format!("{path}/stdin"), "").send().await;
    eventually("the end of the job", async || (client.delete(&path).send().await.status == 204).then_some(())).await;
    let job = waiting.finish().await.json();
    assert_eq!((&job["state"], &job["exit_code"]), (&json!("done"), &json!(0)));
    client.post(&format!("{path}/wait")).send().await.error(404, "unknown_job");
    client.delete(&path).send().await.error(404, "unknown_job");
}

#[tokio::test]
async fn cancel_and_kill_stop_a_running_job() {
    let (_daemon, client) = serving("spin", guests::limits::LOOP_IN_START).await;
    client.push("sleep", guests::limits::SLEEP_FOR_EVER).await;
    for (handler, how) in [("spin", "kill"), ("sleep", "kill"), ("spin", "cancel"), ("sleep", "cancel?grace=50ms")] {
        let id = submit(&client, &json!({"handler": handler})).await;
        let reply = client.post(&format!("/v1/jobs/{id}/{how}")).send().await;
        assert_eq!(reply.status, 202, "{reply:?}");
        let job = wait_for_end(&client, &id).await;
        assert_eq!(job["outcome"], json!({"kind": "cancelled", "by": "client"}), "{handler} {how}");
        assert_eq!(job["exit_code"], 137);
        for how in ["kill", "cancel", "cancel?grace=1s"] {
            client.post(&format!("/v1/jobs/{id}/{how}")).send().await.error(409, "job_ended");
        }
    }
}

#[tokio::test]
async fn cancelled_job_may_finish_within_its_grace_time() {
    let (_daemon, client) = serving("sleep", guests::run::SLEEP).await;
    let id = submit(&client, &json!({"handler": "sleep", "durable": false})).await;
    eventually("the job to run", async || (state_of(&client, &id).await != "queued").then_some(())).await;
    let reply = client.post(&format!("/v1/jobs/{id}/cancel?grace=10m")).send().await;
    assert!([202, 409].contains(&reply.status), "it may have ended: {reply:?}");
    assert_eq!(wait_for_end(&client, &id).await["outcome"]["kind"], "exited");
}

#[tokio::test]
async fn full_queue_rejects_jobs_and_a_queued_job_can_be_killed() {
    let (_daemon, client) =
        configured("[limits]\nruns = 1\n[jobs]\nqueue = 2", "sleep", guests::limits::SLEEP_FOR_EVER).await;
    let sleep = json!({"handler": "sleep"});
    let (running, queued) = (submit(&client, &sleep).await, submit(&client, &sleep).await);
    eventually("the first job to run", async || (state_of(&client, &running).await == "running").then_some(())).await;
    assert_eq!(state_of(&client, &queued).await, "queued");
    let reply = post(&client, &sleep).await;
    reply.error(429, "queue_full");
    assert!(reply.header("retry-after").is_some(), "{reply:?}");
    client.post(&format!("/v1/jobs/{queued}/kill")).send().await;
    let job = wait_for_end(&client, &queued).await;
    assert_eq!((&job["outcome"]["kind"], &job["started"]), (&json!("cancelled"), &Value::Null));
    assert_eq!(job["runs"], json!([]));
    assert_eq!(state_of(&client, &running).await, "running");
}

#[tokio::test]
async fn invalid_jobs_are_rejected() {
    let (mut daemon, client) = serving("hello", guests::run::HELLO).await;
    for (body, status, code, named) in [
        (r#"{"handler":"none"}"#, 404, "unknown_handler", "none"),
        (r#"{"handler":"serveapi"}"#, 403, "service", "serveapi"),
        (r#"{"handler":"hello","memroy":1}"#, 400, "bad_request", "memroy"),
        (r#"{"handler":"hello","args":["a\u0000b"]}"#, 400, "invalid_arg", "NUL"),
        (r#"{"handler":"hello","policy":{"timeout":-1}}"#, 400, "bad_request", "-1"),
        (r#"{"handler":"hello","stdin":"a","stdin_later":true}"#, 400, "bad_request", "stdin"),
        ("{", 400, "bad_request", "the body"),
        ("", 400, "bad_request", "the body"),
    ] {
        let message = client.post("/v1/jobs").body(body).send().await.error(status, code);
        assert!(message.contains(named), "{body}: {message}");
    }
    client.post("/v1/jobs").body(vec![b' '; (4 << 20) + 1]).send().await.error(413, "too_large");
    let many: serde_json::Map<_, _> = (0..5000).map(|number| (format!("V{number}"), json!(""))).collect();
    post(&client, &json!({"handler": "hello", "env": many})).await.error(400, "bad_request");
    client.post("/v1/jobs?handler=hello").body("{}").send().await.error(400, "bad_request");
    assert_eq!(client.get("/v1/jobs").send().await.json()["jobs"], json!([]), "a job was created");
    oracle::still_answers(&mut daemon).await;
}

#[tokio::test]
async fn unknown_or_malformed_ids_are_not_found() {
    let (_daemon, client) = serving("hello", guests::run::HELLO).await;
    for id in ["0123456789abcdef0123456789abcdef", "x", "%00", "..", "0123456789ABCDEF0123456789ABCDEF"] {
        let path = format!("/v1/jobs/{id}");
        client.get(&path).send().await.error(404, "unknown_job");
        client.delete(&path).send().await.error(404, "unknown_job");
        client.put(&format!("{path}/stdin"), "x").send().await.error(404, "unknown_job");
        client.get(&format!("{path}/logs")).send().await.error(404, "unknown_job");
        for call in ["wait", "kill", "cancel"] {
            client.post(&format!("{path}/{call}")).send().await.error(404, "unknown_job");
        }
    }
}

#[tokio::test]
async fn idempotency_key_creates_one_job() {
    let (_daemon, client) = serving("cat", guests::run::CAT).await;
    let job = json!({"handler": "cat", "stdin": "once"}).to_string();
    let call = |body: &str| client.post("/v1/jobs").header("idempotency-key", "k1").body(body.to_owned());
    let mut all = JoinSet::new();
    for _ in 0..16 {
        all.spawn(call(&job).send());
    }
    let replies = all.join_all().await;
    let id = replies[0].json()["id"].as_str().unwrap().to_owned();
    assert!(replies.iter().all(|reply| reply.json()["id"] == id), "{replies:?}");
    assert_eq!(replies.iter().filter(|reply| reply.status == 202).count(), 1);
    assert_eq!(replies.iter().filter(|reply| reply.status == 200).count(), 15);
    let reply = call(r#"{"handler":"cat"}"#).send().await;
    reply.error(422, "key_reused");
    assert_eq!(reply.json()["error"]["job"], id);
    assert_eq!(reply.header("capstan-job"), Some(id.as_str()));
    client.post("/v1/jobs").header("idempotency-key", "").body(job.clone()).send().await.error(400, "bad_request");
    wait_for_end(&client, &id).await;
    client.delete(&format!("/v1/jobs/{id}")).send().await;
    let reply = call(&job).send().await;
    assert_eq!((reply.status, &reply.json()["id"]), (200, &json!(id)), "the key outlives its job");
}

#[tokio::test]
async fn synchronous_run_with_a_key_runs_once_and_keeps_no_output() {
    let (_daemon, client) = serving("hello", guests::run::HELLO).await;
    let run = client.run("hello").header("idempotency-key", "r").send().await;
    run.assert_outcome("exited", 0);
    let id = run.header("capstan-job").unwrap();
    let again = client.run("hello").header("idempotency-key", "r").send().await;
    again.error(409, "conflict");
    assert_eq!(again.json()["error"]["job"], id);
    let job = wait_for_end(&client, id).await;
    assert_eq!((&job["exit_code"], &job["key"], &job["logged"]), (&json!(0), &json!("r"), &json!(false)));
    client.get(&format!("/v1/jobs/{id}/logs")).send().await.error(404, "no_logs");
}

#[tokio::test]
async fn running_jobs_finish_on_the_code_they_started_with() {
    let toml = "[limits]\nruns = 1000\n[history]\njobs = 2000";
    let (_daemon, client) = configured(toml, "print", guests::run::PRINT_THEN_EXIT).await;
    let mut jobs = Vec::new();
    for _ in 0..1000 {
        jobs.push(submit(&client, &json!({"handler": "print", "stdin_later": true})).await);
    }
    let info = client.get("/info").send().await.json();
    assert_eq!((&info["jobs"]["running"], &info["jobs"]["queued"]), (&json!(1000), &json!(0)));
    let old = client.get("/v1/handlers/print").send().await.json()["digest"].clone();
    client.push("print", guests::run::HELLO).await;
    for id in &jobs {
        assert_eq!(client.put(&format!("/v1/jobs/{id}/stdin"), "").send().await.status, 204);
        let job = wait_for_end(&client, id).await;
        assert_eq!((&job["exit_code"], &job["digest"]), (&json!(0), &old));
        assert_eq!(output_of(&client, id).await, "started\nended\n");
    }
    let id = submit(&client, &json!({"handler": "print"})).await;
    wait_for_end(&client, &id).await;
    assert_eq!(output_of(&client, &id).await, "hello\n");
}

#[tokio::test]
async fn shutdown_rejects_new_jobs_and_finishes_running_jobs() {
    let (mut daemon, client) = configured("grace = \"60s\"", "cat", guests::run::CAT).await;
    let id = submit(&client, &json!({"handler": "cat", "stdin_later": true})).await;
    let mut connection = Raw::connect(&daemon).await;
    let mut feeder = Raw::connect(&daemon).await;
    ping(&mut feeder).await;
    ping(&mut connection).await;
    let waiting = client.post(&format!("/v1/jobs/{id}/wait")).open().await;
    daemon.signal(Signal::TERM);
    let post = "POST /v1/jobs HTTP/1.1\r\nHost: {host}\r\nContent-Length: 17\r\n\r\n{\"handler\":\"cat\"}";
    let began = Instant::now();
    loop {
        connection.write(post).await;
        let status = connection.status().await;
        let body = connection.read_until("}\n").await;
        if status == 503 {
            assert!(body.contains("draining"), "{body}");
            break;
        }
        assert_eq!(status, 202, "{body}");
        assert!(began.elapsed() < Duration::from_secs(60), "the daemon still accepts jobs");
    }
    feeder.write(&format!("PUT /v1/jobs/{id}/stdin HTTP/1.1\r\nHost: {{host}}\r\nContent-Length: 0\r\n\r\n")).await;
    assert_eq!(feeder.status().await, 204);
    assert_eq!(waiting.finish().await.json()["exit_code"], 0);
    assert_eq!(daemon.wait_exit().await.code(), Some(0));
}

async fn ping(connection: &mut Raw) {
    connection.write("GET /v1/_ping HTTP/1.1\r\nHost: {host}\r\n\r\n").await;
    assert_eq!(connection.status().await, 200);
    connection.read_until("OK\n").await;
}

#[tokio::test]
async fn client_that_disconnects_while_waiting_leaks_nothing() {
    let (daemon, client) = serving("sleep", guests::limits::SLEEP_FOR_EVER).await;
    let id = submit(&client, &json!({"handler": "sleep"})).await;
    // On a unix socket the kernel reports the disconnect; over TCP the daemon must probe the client.
    for client in [daemon.unix_client(), daemon.client()] {
        let mut waiting = Vec::new();
        for _ in 0..20 {
            waiting.push(client.post(&format!("/v1/jobs/{id}/wait")).open().await);
            waiting.push(client.get(&format!("/v1/jobs/{id}/logs?follow=1")).open().await);
            waiting.push(client.get("/v1/events").open().await);
        }
        let open = daemon.open_files();
        assert!(open > 60);
        drop(waiting);
        eventually("the connections to be closed", async || (daemon.open_files() <= open - 60).then_some(())).await;
    }
    assert_eq!(state_of(&client, &id).await, "running");
}
