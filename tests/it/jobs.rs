//! Jobs as clients see them: submission as one line of text, the error of a failed job, and the first-party jobs with real input.

pub(crate) mod api;
mod attach;
mod cancellation;
mod completion_order;
mod concurrency;
pub(crate) mod durable;
mod event_numbers;
mod events;
mod farewell;
mod history;
mod logs;
mod queue;

use std::fs;

use capstan_tests::frames::Framed;
use capstan_tests::{Client, Daemon, guests};
use serde_json::{Value, json};

use crate::{CAPSTAN, serving};

#[tokio::test]
async fn error_of_a_failed_job_is_the_last_line_of_its_stderr() {
    let (_daemon, client) = serving("both", guests::run::BOTH_STREAMS).await;
    client.push("exit", guests::run::EXIT).await;
    client.push("trap", guests::run::TRAP_UNREACHABLE).await;
    let error = async |handler: &str, args: Value| {
        let submitted =
            client.post("/v1/jobs").body(json!({"handler": handler, "args": args}).to_string()).send().await;
        let id = submitted.json()["id"].as_str().unwrap().to_owned();
        let job = client.post(&format!("/v1/jobs/{id}/wait")).send().await.json();
        assert_eq!(job["error"], job["runs"][0]["error"], "{job}");
        job["error"].clone()
    };
    assert_eq!(error("both", json!([])).await, "err");
    assert_eq!(error("exit", json!(["7"])).await, "exited with status 7");
    assert_eq!(error("exit", json!([])).await, Value::Null);
    assert!(error("trap", json!([])).await.as_str().unwrap().starts_with("trapped unreachable"));

    // If no client receives stderr, the line is still in the record of the job.
    let run = client.run("both").send().await;
    let job = client.get(&format!("/v1/jobs/{}", run.header("capstan-job").unwrap())).send().await.json();
    assert_eq!((&job["error"], &job["logged"]), (&json!("err"), &json!(false)));
    let framed = client.run("both").framed().send().await.frames();
    assert_eq!(framed.last["error"], "err");
    let framed = client.run("exit").framed().send().await.frames();
    assert_eq!(framed.last["error"], Value::Null);
}

#[tokio::test]
async fn job_can_be_submitted_as_one_line() {
    let (mut daemon, client) = serving("show", guests::run::ARGS_AND_ENV).await;
    let submit =
        async |command: &str| client.post("/v1/jobs").body(json!({"command": command}).to_string()).send().await;
    let submitted = submit(r#"show --top=3 'a b' LANG=C "MSG=it's" -- X=1"#).await;
    assert_eq!(submitted.status, 202, "{submitted:?}");
    let id = submitted.json()["id"].as_str().unwrap().to_owned();
    let job = client.post(&format!("/v1/jobs/{id}/wait")).send().await.json();
    assert_eq!((&job["handler"], &job["args"]), (&json!("show"), &json!(["--top=3", "a b", "X=1"])));
    let printed = client.get(&format!("/v1/jobs/{id}/logs")).send().await;
    assert_eq!(printed.text(), "show\0--top=3\0a b\0X=1\0\nLANG=C\0MSG=it's\0");
    for (command, status, code) in [
        ("", 400, "bad_request"),
        ("LANG=C", 400, "bad_request"),
        ("show 'a", 400, "bad_request"),
        ("nobody a", 404, "unknown_handler"),
        ("../show", 404, "unknown_handler"),
        ("serveapi tcp://127.0.0.1:0", 403, "service"),
    ] {
        submit(command).await.error(status, code);
    }
    let many: String = (0..100_000).map(|number| format!("V{number}= ")).collect();
    submit(&format!("show {many}")).await.error(400, "bad_request");
    submit(&format!("show {}", "a ".repeat(1_500_000))).await.error(413, "too_large");
    crate::oracle::still_answers(&mut daemon).await;
}

/// The ancestor reported both as 127 with a line of text.
#[tokio::test]
async fn guest_exit_code_127_differs_from_unknown_handler() {
    let (_daemon, client) = serving("exit", guests::run::EXIT).await;
    client.run("exit").arg("127").send().await.assert_outcome("exited", 127);
    client.run("nobody").arg("127").send().await.error(404, "unknown_handler");
    let jobs = client.get("/v1/jobs").send().await.json();
    assert_eq!(jobs["jobs"].as_array().unwrap().len(), 1, "an unknown handler must not create a job");
    assert_eq!(jobs["jobs"][0]["outcome"], json!({"kind": "exited", "code": 127}));
}

async fn with_job(job: &str) -> (Daemon, Client) {
    let daemon = Daemon::start(CAPSTAN);
    let client = daemon.client();
    client.push(job, guests::compiled(job)).await;
    (daemon, client)
}

async fn run(client: &Client, job: &str, args: &[&str], input: impl Into<Vec<u8>>) -> Framed {
    let call = args.iter().fold(client.run(job), |call, arg| call.arg(arg));
    call.framed().body(input.into()).send().await.frames()
}

fn testdata(job: &str, file: &str) -> Vec<u8> {
    let path = guests::root().join("jobs").join(job).join("testdata").join(file);
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[tokio::test]
async fn wordcount_counts_and_ranks() {
    let (_daemon, client) = with_job("wordcount").await;
    let framed = run(&client, "wordcount", &["--top", "2"], "b c a c d c\n").await;
    framed.assert_outcome("exited", 0);
    let counts: serde_json::Value = serde_json::from_slice(&framed.stdout).unwrap();
    let expected = serde_json::json!({
        "lines": 1, "words": 6, "bytes": 12,
        "top": [{"word": "c", "count": 3}, {"word": "a", "count": 1}],
    });
    assert_eq!(counts, expected);
}

#[tokio::test]
async fn wordcount_processes_input_larger_than_its_memory() {
    let (_daemon, client) = with_job("wordcount").await;
    let line = "the quick brown fox jumps over the lazy dog\n";
    let text = line.repeat((24 << 20) / line.len());
    let call = client.run("wordcount").arg("--top").arg("1").query("memory", "8MiB");
    let framed = call.framed().body(text.clone()).send().await.frames();
    framed.assert_outcome("exited", 0);
    let counts: serde_json::Value = serde_json::from_slice(&framed.stdout).unwrap();
    assert_eq!(counts["bytes"], text.len());
    assert_eq!(counts["lines"], text.len() / line.len());
    assert_eq!(counts["top"][0], serde_json::json!({"word": "the", "count": 2 * text.len() / line.len()}));
}

#[tokio::test]
async fn wordcount_reports_unknown_flags() {
    let (_daemon, client) = with_job("wordcount").await;
    let framed = run(&client, "wordcount", &["--colour"], "").await;
    assert_eq!(framed.kind(), "exited");
    assert_ne!(framed.outcome()["code"], 0);
    assert!(String::from_utf8_lossy(&framed.stderr).contains("colour"), "{framed:?}");
}

#[tokio::test]
async fn csv2json_converts_rows_to_objects() {
    let (_daemon, client) = with_job("csv2json").await;
    let framed = run(&client, "csv2json", &[], testdata("csv2json", "quotes.csv")).await;
    framed.assert_outcome("exited", 0);
    assert_eq!(
        String::from_utf8(framed.stdout).unwrap(),
        String::from_utf8(testdata("csv2json", "quotes.ndjson")).unwrap()
    );
}

#[tokio::test]
async fn csv2json_prints_each_row_while_input_continues() {
    let (_daemon, client) = with_job("csv2json").await;
    let (call, feed) = client.run("csv2json").streaming_body();
    assert!(feed.send("a,b\n1,2\n").await);
    let mut exchange = call.open().await;
    let first = "{\"a\":\"1\",\"b\":\"2\"}\n";
    assert_eq!(exchange.read_at_least(first.len()).await, first);
    assert!(feed.send("3,4\n").await);
    let second = "{\"a\":\"3\",\"b\":\"4\"}\n";
    assert_eq!(exchange.read_at_least(second.len()).await, second);
    drop(feed);
    exchange.finish().await.assert_outcome("exited", 0);
}

#[tokio::test]
async fn csv2json_prints_valid_rows_and_reports_the_first_error() {
    let (_daemon, client) = with_job("csv2json").await;
    let framed = run(&client, "csv2json", &[], testdata("csv2json", "ragged.csv")).await;
    framed.assert_outcome("exited", 1);
    assert_eq!(framed.stdout, testdata("csv2json", "ragged.ndjson"));
    assert!(String::from_utf8_lossy(&framed.stderr).contains("line 5"), "{framed:?}");

    let framed = run(&client, "csv2json", &[], testdata("csv2json", "unterminated.csv")).await;
    framed.assert_outcome("exited", 1);
    assert!(String::from_utf8_lossy(&framed.stderr).contains("line 3"), "{framed:?}");
}

/// Returns the width and height of a PNG.
fn dimensions(png: &[u8]) -> (u32, u32) {
    assert!(png.starts_with(b"\x89PNG\r\n\x1a\n"), "not a PNG: {} bytes", png.len());
    let number = |at: usize| u32::from_be_bytes(png[at..at + 4].try_into().unwrap());
    (number(16), number(20))
}

#[tokio::test]
async fn thumbnail_shrinks_a_png() {
    let (_daemon, client) = with_job("thumbnail").await;
    let picture = testdata("thumbnail", "disc.png");
    assert_eq!(dimensions(&picture), (320, 200));
    for (args, expected) in [(&[] as &[&str], (128, 80)), (&["--size", "64"], (64, 40))] {
        let framed = run(&client, "thumbnail", args, picture.clone()).await;
        framed.assert_outcome("exited", 0);
        assert_eq!(dimensions(&framed.stdout), expected);
    }
}

#[tokio::test]
async fn thumbnail_rejects_invalid_images() {
    let (_daemon, client) = with_job("thumbnail").await;
    let picture = testdata("thumbnail", "disc.png");
    for input in [b"not a picture".to_vec(), Vec::new(), picture[..picture.len() / 2].to_vec()] {
        let framed = run(&client, "thumbnail", &[], input).await;
        framed.assert_outcome("exited", 1);
        assert!(framed.stdout.is_empty(), "a partial image was printed");
        assert!(!framed.stderr.is_empty(), "there is no error message");
    }
}
