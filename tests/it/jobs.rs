//! The first-party jobs at the boundary: what a client gets for real input.

use std::fs;

use capstan_tests::frames::Framed;
use capstan_tests::{Client, Daemon, guests};

use crate::CAPSTAN;

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
    framed.ended("exited", 0);
    let counts: serde_json::Value = serde_json::from_slice(&framed.stdout).unwrap();
    let expected = serde_json::json!({
        "lines": 1, "words": 6, "bytes": 12,
        "top": [{"word": "c", "count": 3}, {"word": "a", "count": 1}],
    });
    assert_eq!(counts, expected);
}

#[tokio::test]
async fn wordcount_takes_input_larger_than_its_memory() {
    let (_daemon, client) = with_job("wordcount").await;
    let line = "the quick brown fox jumps over the lazy dog\n";
    let text = line.repeat((24 << 20) / line.len());
    let call = client.run("wordcount").arg("--top").arg("1").query("memory", "8MiB");
    let framed = call.framed().body(text.clone()).send().await.frames();
    framed.ended("exited", 0);
    let counts: serde_json::Value = serde_json::from_slice(&framed.stdout).unwrap();
    assert_eq!(counts["bytes"], text.len());
    assert_eq!(counts["lines"], text.len() / line.len());
    assert_eq!(counts["top"][0], serde_json::json!({"word": "the", "count": 2 * text.len() / line.len()}));
}

#[tokio::test]
async fn wordcount_tells_what_it_does_not_know() {
    let (_daemon, client) = with_job("wordcount").await;
    let framed = run(&client, "wordcount", &["--colour"], "").await;
    assert_eq!(framed.kind(), "exited");
    assert_ne!(framed.outcome()["code"], 0);
    assert!(String::from_utf8_lossy(&framed.stderr).contains("colour"), "{framed:?}");
}

#[tokio::test]
async fn csv2json_turns_rows_into_objects() {
    let (_daemon, client) = with_job("csv2json").await;
    let framed = run(&client, "csv2json", &[], testdata("csv2json", "quotes.csv")).await;
    framed.ended("exited", 0);
    assert_eq!(
        String::from_utf8(framed.stdout).unwrap(),
        String::from_utf8(testdata("csv2json", "quotes.ndjson")).unwrap()
    );
}

#[tokio::test]
async fn csv2json_answers_each_row_while_the_table_goes_on() {
    let (_daemon, client) = with_job("csv2json").await;
    let (call, feed) = client.run("csv2json").fed();
    assert!(feed.send("a,b\n1,2\n").await);
    let mut exchange = call.open().await;
    let first = "{\"a\":\"1\",\"b\":\"2\"}\n";
    assert_eq!(exchange.at_least(first.len()).await, first);
    assert!(feed.send("3,4\n").await);
    let second = "{\"a\":\"3\",\"b\":\"4\"}\n";
    assert_eq!(exchange.at_least(second.len()).await, second);
    drop(feed);
    exchange.finish().await.ended("exited", 0);
}

#[tokio::test]
async fn csv2json_keeps_what_was_good_and_tells_where_it_broke() {
    let (_daemon, client) = with_job("csv2json").await;
    let framed = run(&client, "csv2json", &[], testdata("csv2json", "ragged.csv")).await;
    framed.ended("exited", 1);
    assert_eq!(framed.stdout, testdata("csv2json", "ragged.ndjson"));
    assert!(String::from_utf8_lossy(&framed.stderr).contains("line 5"), "{framed:?}");

    let framed = run(&client, "csv2json", &[], testdata("csv2json", "unterminated.csv")).await;
    framed.ended("exited", 1);
    assert!(String::from_utf8_lossy(&framed.stderr).contains("line 3"), "{framed:?}");
}

/// Width and height of a PNG.
fn dimensions(png: &[u8]) -> (u32, u32) {
    assert!(png.starts_with(b"\x89PNG\r\n\x1a\n"), "not a PNG: {} bytes", png.len());
    let number = |at: usize| u32::from_be_bytes(png[at..at + 4].try_into().unwrap());
    (number(16), number(20))
}

#[tokio::test]
async fn thumbnail_makes_a_png_smaller() {
    let (_daemon, client) = with_job("thumbnail").await;
    let picture = testdata("thumbnail", "disc.png");
    assert_eq!(dimensions(&picture), (320, 200));
    for (args, expected) in [(&[] as &[&str], (128, 80)), (&["--size", "64"], (64, 40))] {
        let framed = run(&client, "thumbnail", args, picture.clone()).await;
        framed.ended("exited", 0);
        assert_eq!(dimensions(&framed.stdout), expected);
    }
}

#[tokio::test]
async fn thumbnail_refuses_what_is_no_picture() {
    let (_daemon, client) = with_job("thumbnail").await;
    let picture = testdata("thumbnail", "disc.png");
    for input in [b"not a picture".to_vec(), Vec::new(), picture[..picture.len() / 2].to_vec()] {
        let framed = run(&client, "thumbnail", &[], input).await;
        framed.ended("exited", 1);
        assert!(framed.stdout.is_empty(), "half a picture came out");
        assert!(!framed.stderr.is_empty(), "it does not say why");
    }
}
