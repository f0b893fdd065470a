//! Handlers that fail: the status of each failure, and what is left of the response.

use capstan_tests::{Client, Raw, Reply};
use rustix::process::Signal;

use super::{configured_web, until_running, web};
use crate::oracle::Oracle;

/// Checks that the job of a failed request ended in this way.
async fn assert_outcome(client: &Client, reply: &Reply, kind: &str) {
    let id = reply.json()["error"]["job"].as_str().unwrap().to_owned();
    let job = client.get(&format!("/jobs/{id}")).send().await.json();
    assert_eq!(job["outcome"]["kind"], kind, "{job}");
}

#[tokio::test]
async fn run_without_response_is_a_bad_gateway() {
    let (mut daemon, client) = configured_web("[policy]\nmemory = \"32MiB\"").await;
    let oracle = Oracle::before(&mut daemon).await;
    for (path, kind) in
        [("none", "exited"), ("error", "exited"), ("exit", "exited"), ("trap", "trapped"), ("memory", "memory_denied")]
    {
        let reply = client.get(&format!("/x/web/{path}")).send().await;
        reply.error(502, "handler_failed");
        assert_outcome(&client, &reply, kind).await;
    }
    oracle.after(&mut daemon).await;
}

#[tokio::test]
async fn run_that_fails_after_its_head_cuts_the_response() {
    let (mut daemon, client) = web().await;
    let oracle = Oracle::before(&mut daemon).await;
    for path in ["trap-after", "drop-body", "trap-complete"] {
        for http2 in [false, true] {
            let call = client.get(&format!("/x/web/{path}"));
            let reply = if http2 { call.http2() } else { call }.send_until_cut().await;
            // A run that has failed before anything was sent is an error.
            assert!(reply.cut || reply.status == 502, "{path}: {reply:?}");
        }
    }
    oracle.after(&mut daemon).await;
}

#[tokio::test]
async fn timeout_is_a_gateway_timeout_or_cuts_the_response() {
    let (mut daemon, client) = configured_web("[policy]\ntimeout = \"1s\"").await;
    let oracle = Oracle::before(&mut daemon).await;
    for path in ["hold", "spin"] {
        let reply = client.get(&format!("/x/web/{path}")).send().await;
        reply.error(504, "handler_timed_out");
        assert_outcome(&client, &reply, "timed_out").await;
    }
    let reply = client.get("/x/web/hold-after").send_until_cut().await;
    assert!((reply.status, reply.text(), reply.cut) == (200, "half", true), "{reply:?}");
    oracle.after(&mut daemon).await;
}

#[tokio::test]
async fn full_queue_is_unavailable_with_retry_after() {
    let (_daemon, client) = configured_web("[limits]\nruns = 1\nqueue = 0").await;
    let held = client.get("/x/web/hold-after").open().await;
    let reply = client.get("/x/web/hello").send().await;
    reply.error(503, "busy");
    assert!(reply.header("retry-after").is_some(), "{reply:?}");
    drop(held);
    until_running(&client, 0).await;
    assert_eq!(client.get("/x/web/hello").send().await.text(), "hello\n");
}

#[tokio::test]
async fn unknown_handler_is_not_found() {
    let (_daemon, client) = web().await;
    for path in ["/x/missing/", "/x/web%2Fhello", "/x/%2e%2e/info", "/x/../info", "/x/WEB/hello"] {
        let reply = client.get(path).send().await;
        assert_eq!(reply.status, 404, "{path}: {reply:?}");
        assert!(reply.json()["error"]["code"].as_str().unwrap().len() > 1, "{reply:?}");
    }
    for path in ["/x/", "/x//hello", "/x//"] {
        client.get(path).send().await.error(404, "not_found");
    }
    assert_eq!(client.get("/x/w%65b/hello").send().await.text(), "hello\n");
}

#[tokio::test]
async fn handler_has_no_main_function_to_run() {
    let (_daemon, client) = web().await;
    let reply = client.run("web").send().await;
    let text = format!("{reply:?}");
    assert!(text.contains("refused") || reply.status >= 400, "{text}");
}

#[tokio::test]
async fn stopping_daemon_is_unavailable() {
    let (daemon, client) = configured_web("grace = \"60s\"").await;
    let mut connection = Raw::connect(&daemon).await;
    let held = client.get("/x/web/hold-after").open().await;
    let request = "GET /x/web/empty HTTP/1.1\r\nHost: {host}\r\n\r\n";
    daemon.signal(Signal::TERM);
    // The signal may arrive after the first requests.
    loop {
        connection.write(request).await;
        match connection.status().await {
            204 => {}
            503 => break assert!(connection.read_until("}\n").await.contains("draining")),
            status => panic!("status {status}"),
        }
    }
    drop(held);
}
