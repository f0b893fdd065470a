//! The first-party jobs that answer HTTP.

use std::fs;

use capstan_tests::{Client, Daemon, guests};

use crate::CAPSTAN;

/// Starts a daemon with a job of `jobs/`.
async fn with_job(name: &str) -> (Daemon, Client) {
    let daemon = Daemon::start(CAPSTAN);
    let client = daemon.client();
    client.push(name, guests::compiled(name)).await;
    (daemon, client)
}

#[tokio::test]
async fn transform_sends_each_piece_back_before_the_next() {
    let (_daemon, client) = with_job("transform").await;
    let (call, feed) = client.post("/x/transform/upper").streaming_body();
    let mut response = call.open().await;
    assert_eq!((response.status, response.header("content-type")), (200, Some("text/plain")));
    for piece in ["one, ", "two"] {
        assert!(feed.send(piece).await);
        assert_eq!(response.read_at_least(piece.len()).await, piece.to_uppercase());
    }
    drop(feed);
    assert!(!response.finish().await.cut);
    let reply = client.post("/x/transform/number").body("a\nb\n").send().await;
    assert_eq!(reply.text(), "     1  a\n     2  b\n");
}

#[tokio::test]
async fn transform_refuses_other_paths_and_methods() {
    let (_daemon, client) = with_job("transform").await;
    assert_eq!(client.post("/x/transform/lower").body("a").send().await.status, 404);
    let reply = client.get("/x/transform/upper").send().await;
    assert_eq!((reply.status, reply.header("allow")), (405, Some("POST, PUT")));
}

/// Returns the width and height in the header of a PNG.
fn size_of(png: &[u8]) -> (u32, u32) {
    assert_eq!(&png[..8], b"\x89PNG\r\n\x1a\n");
    let edge = |at: usize| u32::from_be_bytes(png[at..at + 4].try_into().unwrap());
    (edge(16), edge(20))
}

#[tokio::test]
async fn resize_returns_a_png_of_the_width() {
    let (_daemon, client) = with_job("resize").await;
    let picture = fs::read(guests::root().join("jobs/thumbnail/testdata/disc.png")).unwrap();
    let (width, height) = size_of(&picture);
    for (query, expected) in [("?width=64", 64), ("", 128.min(width)), ("?width=1024", width.min(1024))] {
        let reply = client.post(&format!("/x/resize/{query}")).body(picture.clone()).send().await;
        assert_eq!((reply.status, reply.header("content-type")), (200, Some("image/png")), "{reply:?}");
        assert_eq!(reply.header("content-length"), Some(reply.body.len().to_string().as_str()));
        let (to, tall) = size_of(&reply.body);
        assert_eq!(to, expected);
        assert!(tall.abs_diff(height * to / width) <= 1, "{width}x{height} became {to}x{tall}");
    }
}

#[tokio::test]
async fn resize_explains_bad_requests() {
    let (_daemon, client) = with_job("resize").await;
    let picture = fs::read(guests::root().join("jobs/thumbnail/testdata/disc.png")).unwrap();
    for (query, body, status) in [
        ("?width=0", &picture[..], 400),
        ("?width=x", &picture, 400),
        ("?height=1", &picture, 400),
        ("", b"no picture", 400),
        ("", b"", 400),
        ("", &picture[..picture.len() / 2], 400),
    ] {
        let reply = client.post(&format!("/x/resize/{query}")).body(body.to_vec()).send().await;
        assert_eq!(reply.status, status, "{query}: {reply:?}");
        assert!(reply.text().ends_with('\n'), "{reply:?}");
    }
    let jpeg = client.post("/x/resize/").header("content-type", "image/jpeg").body(picture).send().await;
    assert_eq!(jpeg.status, 415, "{jpeg:?}");
    assert_eq!(client.get("/x/resize/").send().await.status, 405);
}
