//! The queue of durable jobs: order, limits, graphs, arrays, batches.

use capstan_tests::{Client, eventually, guests};
use serde_json::{Value, json};

use crate::jobs::api::{inspect, output_of, post, state_of, submit, wait_for_end};
use crate::jobs::durable::until_state;
use crate::{configured, serving};

/// Starts a job that keeps the only slot until it is cancelled.
async fn block(client: &Client) -> String {
    client.push("sleep", guests::limits::SLEEP_FOR_EVER).await;
    let blocker = submit(client, &json!({"handler": "sleep"})).await;
    until_state(client, &blocker, "running").await;
    blocker
}

async fn cancel(client: &Client, id: &str) {
    assert_eq!(client.post(&format!("/v1/jobs/{id}/cancel")).send().await.status, 202);
}

/// Returns the jobs in the order of their starts.
async fn starts(client: &Client) -> Vec<String> {
    let events = client.get("/v1/events?since=0&until=0s&filter=event=job.start").send().await;
    let job = |line: &str| serde_json::from_str::<Value>(line).unwrap()["job"].as_str().unwrap().to_owned();
    events.text().lines().map(job).collect()
}

#[tokio::test]
async fn higher_priority_runs_first_and_handlers_take_turns() {
    let (_daemon, client) = configured("[limits]\nruns = 1", "a", guests::run::HELLO).await;
    client.push("b", guests::run::HELLO).await;
    let blocker = block(&client).await;
    let mut jobs = Vec::new();
    for (handler, priority) in [("a", 0), ("a", 0), ("a", 9), ("b", -5)] {
        jobs.push(submit(&client, &json!({"handler": handler, "priority": priority})).await);
    }
    cancel(&client, &blocker).await;
    for id in &jobs {
        wait_for_end(&client, id).await;
    }
    let order = starts(&client).await;
    let place = |index: usize| order.iter().position(|id| *id == jobs[index]).unwrap();
    assert!(place(2) < place(0) && place(0) < place(1), "{order:?} of {jobs:?}");
    assert!(place(3) < place(1), "b has its turn before the last of a: {order:?} of {jobs:?}");
}

#[tokio::test]
async fn paused_queue_starts_nothing_until_it_is_resumed() {
    let (_daemon, client) = serving("hello", guests::run::HELLO).await;
    assert_eq!(client.post("/v1/queues/hello/pause").send().await.json()["paused"], true);
    let id = submit(&client, &json!({"handler": "hello"})).await;
    client.push("other", guests::run::HELLO).await;
    let other = submit(&client, &json!({"handler": "other"})).await;
    wait_for_end(&client, &other).await;
    assert_eq!(inspect(&client, &id).await["waits_for"], json!({"reason": "paused"}));
    let queue = client.get("/v1/queues/hello").send().await.json();
    assert_eq!((&queue["paused"], &queue["depth"], &queue["queued"]), (&json!(true), &json!(1), &json!(1)));
    assert_eq!((&queue["jobs"][0]["id"], &queue["jobs"][0]["why"]["reason"]), (&json!(id), &json!("paused")));
    assert!(queue["oldest_age"].as_f64().unwrap() >= 0.0);
    client.post("/v1/queues/hello/resume").send().await;
    wait_for_end(&client, &id).await;
    assert_eq!(client.get("/v1/queues").send().await.json(), json!({"queues": []}));
    assert_eq!(client.get("/v1/queues/hello").send().await.json()["ended_last_minute"], 1);
    client.post("/v1/queues/none/pause").send().await.error(404, "unknown_handler");
}

#[tokio::test]
async fn concurrency_limit_of_the_handler_holds_for_durable_jobs() {
    let (_daemon, client) = configured("[policy]\nconcurrency = 2", "cat", guests::run::CAT).await;
    client.push("sleep", guests::limits::SLEEP_FOR_EVER).await;
    let mut jobs = Vec::new();
    for _ in 0..4 {
        jobs.push(submit(&client, &json!({"handler": "sleep"})).await);
    }
    for id in &jobs[..2] {
        until_state(&client, id, "running").await;
    }
    assert_eq!(inspect(&client, &jobs[3]).await["waits_for"], json!({"reason": "handler_limit"}));
    cancel(&client, &jobs[0]).await;
    until_state(&client, &jobs[2], "running").await;
    assert_eq!(state_of(&client, &jobs[3]).await, "queued");
    let other = submit(&client, &json!({"handler": "cat", "stdin": "x"})).await;
    wait_for_end(&client, &other).await;
}

#[tokio::test]
async fn jobs_with_the_same_key_run_one_after_the_other() {
    let (_daemon, client) = serving("sleep", guests::limits::SLEEP_FOR_EVER).await;
    let job = |key: &str| json!({"handler": "sleep", "concurrency_key": key});
    let first = submit(&client, &job("a")).await;
    let second = submit(&client, &job("a")).await;
    let other = submit(&client, &job("b")).await;
    for id in [&first, &other] {
        until_state(&client, id, "running").await;
    }
    assert_eq!(inspect(&client, &second).await["waits_for"], json!({"reason": "key_limit"}));
    cancel(&client, &first).await;
    until_state(&client, &second, "running").await;
}

#[tokio::test]
async fn rate_of_the_manifest_spreads_the_starts() {
    let (_daemon, client) = serving("cat", guests::run::CAT).await;
    crate::handlers::push_with_manifest(&client, "hello", guests::run::HELLO, "rate = \"2/h\"").await;
    let mut jobs = Vec::new();
    for _ in 0..3 {
        jobs.push(submit(&client, &json!({"handler": "hello"})).await);
    }
    for id in &jobs[..2] {
        wait_for_end(&client, id).await;
    }
    assert_eq!(inspect(&client, &jobs[2]).await["waits_for"], json!({"reason": "rate_limit"}));
    crate::handlers::push_with_manifest(&client, "hello", guests::run::HELLO, "").await;
    wait_for_end(&client, &jobs[2]).await;
}

#[tokio::test]
async fn job_starts_at_its_time_and_is_refused_after_its_deadline() {
    let (_daemon, client) = configured("[limits]\nruns = 1", "hello", guests::run::HELLO).await;
    let soon = submit(&client, &json!({"handler": "hello", "not_before": "300ms"})).await;
    let later = submit(&client, &json!({"handler": "hello", "not_before": "1h"})).await;
    assert_eq!(state_of(&client, &later).await, "scheduled");
    let job = wait_for_end(&client, &soon).await;
    assert!(job["started"].as_str().unwrap() >= job["not_before"].as_str().unwrap(), "{job}");
    let blocker = block(&client).await;
    let late = submit(&client, &json!({"handler": "hello", "start_deadline": "200ms"})).await;
    let waited = client.post(&format!("/v1/jobs/{late}/wait?timeout=300ms")).send().await;
    drop(waited);
    cancel(&client, &blocker).await;
    assert_eq!(wait_for_end(&client, &late).await["outcome"]["kind"], "refused");
    assert_eq!(state_of(&client, &later).await, "scheduled");
    for body in [
        json!({"handler": "hello", "not_before": -1}),
        json!({"handler": "hello", "not_before": "yesterday"}),
        json!({"handler": "hello", "not_before": "2h", "start_deadline": "1h"}),
        json!({"handler": "hello", "start_deadline": "2020-01-01T00:00:00Z"}),
        json!({"handler": "hello", "retry": {"attempts": 0}}),
        json!({"handler": "hello", "retry": {"base": -1}}),
        json!({"handler": "hello", "retry": {"on": ["exploded"]}}),
        json!({"handler": "hello", "labels": {"": "x"}}),
        json!({"handler": "hello", "labels": {"capstan.schedule": "x"}}),
        json!({"handler": "hello", "count": 0}),
        json!({"handler": "hello", "count": 10_001}),
        json!({"handler": "hello", "priority": 1e10}),
        json!({"handler": "hello", "after": [{"job": "x"}]}),
    ] {
        post(&client, &body).await.error(400, "bad_request");
    }
    let many: serde_json::Map<_, _> = (0..10_000).map(|index| (format!("l{index}"), json!("x"))).collect();
    post(&client, &json!({"handler": "hello", "labels": many})).await.error(413, "too_large");
    let long = "x".repeat(10 << 20);
    let reply = client.post("/v1/jobs").body(json!({"handler": "hello", "key": long}).to_string()).send().await;
    assert!([400, 413].contains(&reply.status), "{}", reply.status);
}

#[tokio::test]
async fn graph_passes_output_on_and_refuses_what_cannot_run() {
    let (_daemon, client) = serving("cat", guests::run::CAT).await;
    client.push("exit", guests::run::EXIT).await;
    client.push("show", guests::run::ARGS_AND_ENV).await;
    client.post("/v1/queues/cat/pause").send().await;
    let first = submit(&client, &json!({"handler": "cat", "stdin": "from the first\n"})).await;
    let as_stdin = submit(&client, &json!({"handler": "cat", "stdin_from": first})).await;
    let as_variable = submit(&client, &json!({"handler": "show", "env_from": {"INPUT": first}})).await;
    let failing = submit(&client, &json!({"handler": "exit", "args": ["3"]})).await;
    let after_failure = json!({"handler": "show", "after": [{"job": failing, "on": "failure"}]});
    let after_failure = submit(&client, &after_failure).await;
    let never = submit(&client, &json!({"handler": "show", "after": [{"job": failing}]})).await;
    let behind = submit(&client, &json!({"handler": "show", "after": [{"job": never}]})).await;
    let any = json!([{"job": failing}, {"job": first}]);
    let any = submit(&client, &json!({"handler": "show", "after": any, "after_mode": "any"})).await;
    assert_eq!(state_of(&client, &as_stdin).await, "waiting");
    assert_eq!(inspect(&client, &as_stdin).await["waits_for"], json!({"reason": "dependencies", "jobs": [first]}));
    client.post("/v1/queues/cat/resume").send().await;
    for id in [&as_stdin, &as_variable, &after_failure, &any] {
        assert_eq!(wait_for_end(&client, id).await["exit_code"], 0, "{id}");
    }
    assert_eq!(output_of(&client, &as_stdin).await, "from the first\n");
    assert!(output_of(&client, &as_variable).await.contains("INPUT=from the first\0"));
    for id in [&never, &behind] {
        assert_eq!(wait_for_end(&client, id).await["outcome"]["kind"], "refused");
    }
    let unknown = json!({"handler": "cat", "after": [{"job": "0123456789abcdef0123456789abcdef"}]});
    post(&client, &unknown).await.error(422, "unknown_dependency");
}

#[tokio::test]
async fn array_that_meets_a_full_queue_is_refused_as_a_whole() {
    let (_daemon, client) = configured("[jobs]\nqueue = 5", "cat", guests::run::CAT).await;
    client.post("/v1/queues/cat/pause").send().await;
    let listed = async || client.get("/v1/jobs?handler=cat").send().await.json()["jobs"].as_array().unwrap().len();
    assert_eq!(post(&client, &json!({"handler": "cat", "count": 3})).await.status, 202);
    let refused = post(&client, &json!({"handler": "cat", "count": 3, "key": "k"})).await;
    refused.error(429, "queue_full");
    assert!(refused.header("retry-after").is_some(), "{refused:?}");
    assert_eq!(listed().await, 3, "nothing of it is stored");
    // In a batch too, and the lines around it are submitted.
    let lines = [json!({"handler": "cat"}), json!({"handler": "cat", "count": 2}), json!({"handler": "cat"})];
    let body: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let answers = client.post("/v1/jobs/batch").body(body).send().await;
    let answers: Vec<Value> = answers.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(
        (&answers[1]["error"]["code"], answers[2]["id"].is_string()),
        (&json!("queue_full"), true),
        "{answers:?}"
    );
    assert_eq!(listed().await, 5);
    assert_eq!(client.post("/v1/jobs/cancel?handler=cat").send().await.status, 202);
    assert_eq!(post(&client, &json!({"handler": "cat", "count": 3, "key": "k"})).await.status, 202);
}

#[tokio::test]
async fn jobs_of_an_array_know_their_index_and_are_cancelled_together() {
    let (_daemon, client) = serving("show", guests::run::ARGS_AND_ENV).await;
    let reply = post(&client, &json!({"handler": "show", "count": 3, "key": "array"})).await;
    assert_eq!((reply.status, &reply.json()["count"]), (202, &json!(3)));
    let array = reply.json()["id"].as_str().unwrap().to_owned();
    let again = post(&client, &json!({"handler": "show", "count": 3, "key": "array"})).await;
    assert_eq!((again.status, &again.json()["id"]), (200, &json!(array)));
    let list = async || client.get(&format!("/v1/jobs?array={array}")).send().await.json()["jobs"].clone();
    for job in list().await.as_array().unwrap() {
        let id = job["id"].as_str().unwrap();
        wait_for_end(&client, id).await;
        let index = job["array"]["index"].as_u64().unwrap();
        let printed = output_of(&client, id).await;
        assert!(printed.contains(&format!("CAPSTAN_ARRAY_INDEX={index}\0CAPSTAN_ARRAY_COUNT=3\0")), "{printed}");
    }
    assert_eq!(list().await.as_array().unwrap().len(), 3);
    client.post("/v1/queues/show/pause").send().await;
    let array =
        post(&client, &json!({"handler": "show", "count": 4, "labels": {"team": "a"}})).await.json()["id"].clone();
    let array = array.as_str().unwrap();
    client.post("/v1/jobs/cancel").send().await.error(400, "bad_request");
    let reply = client.post(&format!("/v1/jobs/cancel?array={array}")).send().await;
    assert_eq!((reply.status, &reply.json()["cancelled"]), (202, &json!(4)));
    assert_eq!(wait_for_end(&client, array).await["outcome"]["kind"], "cancelled");
}

#[tokio::test]
async fn batch_answers_line_by_line() {
    let (_daemon, client) = serving("hello", guests::run::HELLO).await;
    let mut lines: Vec<_> =
        (0..2000).map(|index| json!({"handler": "hello", "key": format!("k{index}")}).to_string()).collect();
    lines[7] = "{".to_owned();
    lines[8] = json!({"handler": "none"}).to_string();
    lines[9] = String::new();
    let body = lines.join("\n");
    let reply = client.post("/v1/jobs/batch").body(body.clone()).send().await;
    assert_eq!((reply.status, reply.header("content-type")), (200, Some("application/x-ndjson")), "{reply:?}");
    let answers: Vec<Value> = reply.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(answers.len(), 1999);
    assert_eq!((&answers[7]["line"], &answers[7]["error"]["code"]), (&json!(8), &json!("bad_request")));
    assert_eq!(answers[8]["error"]["code"], "unknown_handler");
    assert!(answers.iter().enumerate().all(|(index, answer)| [7, 8].contains(&index) || answer["new"] == true));
    let again = client.post("/v1/jobs/batch").body(body).send().await;
    let repeated: Vec<Value> = again.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(repeated.iter().zip(&answers).all(|(again, first)| again["id"] == first["id"]));
    let last = answers[1998]["id"].as_str().unwrap();
    wait_for_end(&client, last).await;
}

#[tokio::test]
async fn batch_that_is_cut_has_submitted_the_lines_it_answered() {
    let (_daemon, client) = serving("hello", guests::run::HELLO).await;
    client.post("/v1/queues/hello/pause").send().await;
    let (call, feed) = client.post("/v1/jobs/batch").streaming_body();
    assert!(feed.send("{\"handler\":\"hello\"}\n{\"handler\":\"hello\"}\n{\"handler\":\"he").await);
    let mut exchange = call.open().await;
    let answered = exchange.piece().await.unwrap();
    drop(exchange);
    drop(feed);
    let answered = String::from_utf8(answered.to_vec()).unwrap();
    assert!(answered.starts_with("{\"id\":"), "{answered}");
    eventually("both jobs to be queued, and no third", async || {
        let queue = client.get("/v1/queues/hello").send().await.json();
        (queue["queued"] == 2).then_some(())
    })
    .await;
}

#[tokio::test]
async fn job_with_a_later_stdin_is_not_durable() {
    let (_daemon, client) = serving("cat", guests::run::CAT).await;
    let reply = post(&client, &json!({"handler": "cat", "stdin_later": true})).await;
    assert_eq!((reply.status, &reply.json()["durable"]), (202, &json!(false)));
    let id = reply.json()["id"].as_str().unwrap().to_owned();
    cancel(&client, &id).await;
    client.post(&format!("/v1/jobs/{id}/retry")).send().await.error(409, "not_durable");
    let with_retry = json!({"handler": "cat", "stdin_later": true, "retry": {"attempts": 3}});
    post(&client, &with_retry).await.error(400, "not_durable");
}
