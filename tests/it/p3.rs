//! WASI 0.3 by the feature `p3`: commands here, requests that a component answers in [`web`].
//!
//! `tests/guests/p3` is the guest. What it does without end runs with and without fuel, and leaves nothing behind.

mod web;

use std::time::{Duration, Instant};

use capstan_tests::frames::Framed;
use capstan_tests::{Call, Client, Daemon, Setup, eventually, guests};
use serde_json::{Value, json};

use crate::oracle::Oracle;
use crate::{CAPSTAN, oracle};

/// Allows the feature, and has limits that are reached quickly.
const CONFIG: &str =
    "[policy]\nfeatures = [\"component-async\", \"p3\"]\nstdout = \"100MiB\"\nstderr = \"64KiB\"\nmemory = \"64MiB\"";

/// The tolerance for deadlines on a busy machine.
const SLACK: Duration = Duration::from_secs(10);

/// Starts a daemon with the guest.
async fn serving() -> (Daemon, Client) {
    crate::configured(CONFIG, "p3", &guests::compiled("p3")).await
}

async fn run(client: &Client, args: &[&str]) -> Framed {
    call(client, args).send().await.frames()
}

fn call(client: &Client, args: &[&str]) -> Call {
    args.iter().fold(client.run("p3").framed(), |call, arg| call.arg(arg))
}

/// Runs the guest with a policy, with and without fuel, checks that the daemon is unharmed, and returns the results.
async fn results_of(arg: &str, policy: Value) -> [Framed; 2] {
    let (mut daemon, client) = serving().await;
    let mut results = Vec::new();
    // With fuel first: it loads the program once more, which keeps a file open for its code.
    let mut oracle = None;
    for fuel in [Some(1_000_000_000_000_u64), None] {
        let mut policy = policy.clone();
        policy["fuel"] = json!(fuel);
        let began = Instant::now();
        results.push(call(&client, &[arg]).query("policy", &policy.to_string()).send().await.frames());
        assert!(began.elapsed() < Duration::from_secs(30) + SLACK, "it took {:?}", began.elapsed());
        if oracle.is_none() {
            oracle = Some(Oracle::before(&mut daemon).await);
        }
    }
    oracle.unwrap().after(&mut daemon).await;
    results.try_into().unwrap()
}

async fn assert_ends(arg: &str, policy: Value, kind: &str, exit_code: u8) {
    for framed in results_of(arg, policy).await {
        framed.assert_outcome(kind, exit_code);
    }
}

async fn assert_traps(arg: &str, trap: &str) {
    for framed in results_of(arg, json!({"timeout": "30s"})).await {
        framed.assert_outcome("trapped", 134);
        assert_eq!(framed.outcome()["trap"], trap, "{}", framed.last);
    }
}

async fn assert_times_out(arg: &str) {
    assert_ends(arg, json!({"timeout": "1s"}), "timed_out", 124).await;
}

#[tokio::test]
async fn program_is_refused_unless_the_operator_allows_the_feature() {
    for (toml, missing) in [("", "not enabled: p3;"), ("[policy]\nfeatures = [\"p3\"]", "not enabled: component-async")]
    {
        let daemon = Setup::new(CAPSTAN).config(toml).start();
        let reply = daemon.client().put("/v1/handlers/p3", guests::compiled("p3")).send().await;
        let message = reply.error(422, "feature_disabled");
        assert!(message.contains("features = [\"component-async\", \"p3\"]"), "{message}");
        assert!(message.contains(missing), "{message}");
    }
}

#[tokio::test]
async fn feature_is_detected_and_found_again_after_a_restart() {
    let (daemon, client) = serving().await;
    let described = client.get("/v1/handlers/p3").send().await.json();
    assert_eq!(described["features"], json!(["component-async", "p3"]), "{described}");
    run(&client, &["hello"]).await.assert_outcome("exited", 0);
    let setup = daemon.setup();
    drop(daemon);
    let mut daemon = setup.start();
    let framed = run(&daemon.client(), &["hello"]).await;
    framed.assert_outcome("exited", 0);
    assert_eq!(framed.stdout, b"hello\n");
    let metrics = daemon.client().get("/metrics").send().await;
    assert!(metrics.text().contains("capstan_compiles_total{result=\"compiled\"} 0"), "{metrics:?}");
    oracle::still_answers(&mut daemon).await;
}

#[tokio::test]
async fn arguments_variables_and_exit_codes_arrive() {
    let (_daemon, client) = serving().await;
    let framed = call(&client, &["args", "a b", "ä"]).env("GREETING", "hello").send().await.frames();
    framed.assert_outcome("exited", 0);
    assert_eq!(String::from_utf8(framed.stdout).unwrap(), "a b\nä\nhello\n");
    run(&client, &["exit", "7"]).await.assert_outcome("exited", 7);
    run(&client, &["exit", "255"]).await.assert_outcome("exited", 255);
    run(&client, &["exit", "0"]).await.assert_outcome("exited", 0);
    run(&client, &["fail"]).await.assert_outcome("exited", 1);
    let framed = run(&client, &["trap"]).await;
    framed.assert_outcome("trapped", 134);
    let backtrace = framed.outcome()["backtrace"].as_array().unwrap();
    assert!(
        backtrace.iter().any(|frame| frame.as_str().unwrap().contains("[async-lift]wasi:cli/run@0.3")),
        "{}",
        framed.last
    );
}

/// Through the memory of the guest, and by connecting the streams.
#[tokio::test]
async fn large_stdin_is_streamed_to_stdout() {
    let (_daemon, client) = serving().await;
    let block: Vec<u8> = (0..1_u32 << 20).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    for command in ["cat", "pass"] {
        let (call, feed) = call(&client, &[command]).streaming_body();
        let sent = block.clone();
        let sender = tokio::spawn(async move {
            for _ in 0..50 {
                assert!(feed.send(sent.clone()).await, "the guest stopped to read");
            }
        });
        let framed = call.send().await.frames();
        sender.await.unwrap();
        framed.assert_outcome("exited", 0);
        assert_eq!(framed.stdout.len(), 50 << 20);
        assert!(framed.stdout.chunks(block.len()).all(|chunk| chunk == block), "the bytes are copied unchanged");
        let usage = &framed.last["usage"];
        assert_eq!((&usage["stdin_bytes"], &usage["stdout_bytes"]), (&json!(50 << 20), &json!(50 << 20)), "{usage}");
    }
}

#[tokio::test]
async fn many_streams_share_an_output_that_is_full() {
    let (_daemon, client) = crate::configured(
        "[policy]\nfeatures = [\"component-async\", \"p3\"]\nstderr = \"2MiB\"",
        "p3",
        &guests::compiled("p3"),
    )
    .await;
    let framed = run(&client, &["both"]).await;
    framed.assert_outcome("exited", 0);
    assert_eq!((framed.stdout.len(), framed.stderr.len()), (900_000, 900_000));
}

#[tokio::test]
async fn command_ends_when_its_tasks_have_ended() {
    let (_daemon, client) = serving().await;
    let framed = run(&client, &["late"]).await;
    framed.assert_outcome("exited", 0);
    assert_eq!(framed.stdout, b"late\n");
}

#[tokio::test]
async fn clocks_and_random_bytes_follow_the_determinism_settings() {
    let (_daemon, client) = serving().await;
    let printed = async |args: &[&str], policy: Value| {
        let framed = call(&client, args).query("policy", &policy.to_string()).send().await.frames();
        framed.assert_outcome("exited", 0);
        String::from_utf8(framed.stdout).unwrap()
    };
    let fixed = json!({"clock": "2020-01-01T00:00:00Z"});
    assert_eq!(printed(&["clock"], fixed.clone()).await, "1577836800\n");
    assert_eq!(printed(&["sleep", "20"], fixed).await, "20\n", "the virtual clock moves by the sleep alone");
    let slept = printed(&["sleep", "20"], json!({})).await;
    assert!(slept.trim().parse::<u64>().unwrap() >= 20, "{slept}");
    let seeded = json!({"random": {"seed": 7}});
    assert_eq!(printed(&["random", "8"], seeded.clone()).await, printed(&["random", "8"], seeded).await);
    let random = async || printed(&["random", "8"], json!({})).await;
    assert_ne!(random().await, random().await);
    // One call returns no more than it may take without yielding.
    assert!(printed(&["random", "1000000000000"], json!({})).await.starts_with("65536 "));
}

#[tokio::test]
async fn run_blocked_in_a_stream_read_ends_at_its_deadline_or_when_it_is_cancelled() {
    let (mut daemon, client) = serving().await;
    let oracle = Oracle::before(&mut daemon).await;
    for query in [("timeout", "500ms"), ("timeout", "1h")] {
        let (call, feed) = call(&client, &["cat"]).query(query.0, query.1).streaming_body();
        let sending = tokio::spawn(call.send());
        if query.1 == "1h" {
            let id = eventually("the run is in progress", async || running_job(&client).await).await;
            client.post(&format!("/v1/jobs/{id}/kill")).send().await;
            sending.await.unwrap().frames().assert_outcome("cancelled", 137);
        } else {
            sending.await.unwrap().frames().assert_outcome("timed_out", 124);
        }
        drop(feed);
    }
    oracle.after(&mut daemon).await;
}

/// Returns the id of a job that is running.
async fn running_job(client: &Client) -> Option<String> {
    let jobs = client.get("/v1/jobs").query("state", "running").send().await.json();
    jobs["jobs"].as_array()?.first()?["id"].as_str().map(str::to_owned)
}

#[tokio::test]
async fn output_ends_at_its_cap() {
    for framed in results_of("flood", json!({"stdout": "1MiB", "timeout": "30s"})).await {
        framed.assert_outcome("output_cap", 137);
        assert_eq!((&framed.outcome()["stream"], framed.stdout.len()), (&json!("stdout"), 1 << 20), "{}", framed.last);
    }
    for framed in results_of("flood-stderr", json!({"timeout": "30s"})).await {
        framed.assert_outcome("output_cap", 137);
        assert_eq!((&framed.outcome()["stream"], framed.stderr.len()), (&json!("stderr"), 64 << 10), "{}", framed.last);
    }
}

#[tokio::test]
async fn memory_ends_at_its_limit() {
    assert_ends("grow", json!({"timeout": "30s"}), "memory_denied", 137).await;
}

#[tokio::test]
async fn streams_without_end_exhaust_the_handles() {
    assert_traps("streams", "handles_exhausted").await;
}

#[tokio::test]
async fn futures_without_end_exhaust_the_handles() {
    assert_traps("futures", "handles_exhausted").await;
}

#[tokio::test]
async fn streams_of_stdin_without_end_exhaust_the_handles() {
    assert_traps("stdins", "handles_exhausted").await;
}

#[tokio::test]
async fn sleeps_without_end_exhaust_the_handles() {
    assert_traps("sleeps", "handles_exhausted").await;
}

#[tokio::test]
async fn guest_that_computes_forever_ends_at_its_deadline() {
    assert_times_out("spin").await;
}

#[tokio::test]
async fn guest_that_yields_forever_ends_at_its_deadline() {
    assert_times_out("yield").await;
}

#[tokio::test]
async fn guest_that_waits_forever_ends_at_its_deadline() {
    assert_times_out("wait").await;
}

#[tokio::test]
async fn fuel_ends_a_guest() {
    let (_daemon, client) = serving().await;
    let framed = call(&client, &["spin"]).query("policy", "{\"fuel\": 1000000}").send().await.frames();
    framed.assert_outcome("fuel_spent", 137);
}
