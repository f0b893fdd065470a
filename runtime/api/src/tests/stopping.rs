//! How connections end when the server stops, with a paused clock, which advances only while all tasks wait.

use tokio::time::Instant;

use super::*;

const PING: &str = "GET /_ping HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// Sends [`PING`] and reads the response.
async fn ping(connection: &mut Box<dyn Connection>) {
    send(connection, PING).await;
    let mut read = Vec::new();
    while !read.ends_with(b"OK\n") {
        read.push(connection.read_u8().await.unwrap());
    }
    assert!(read.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&read));
}

/// Stops the server, and returns how long that took.
async fn stop_duration(served: &mut TestServer) -> Duration {
    tokio::time::pause();
    let started = Instant::now();
    served.stop().await;
    started.elapsed()
}

#[tokio::test]
async fn idle_connections_end_at_once() {
    let mut served = TestServer::open().await;
    let mut idle = served.both().await;
    for connection in &mut idle {
        ping(connection).await;
        ping(connection).await;
    }
    assert!(stop_duration(&mut served).await < Duration::from_secs(1));
    for connection in &mut idle {
        assert_eq!(read_to_end(connection).await, (String::new(), false), "it must end without a reset");
    }
}

#[tokio::test]
async fn connections_without_input_end_at_once() {
    let mut served = TestServer::open().await;
    let mut silent = served.both().await;
    // Connections are accepted in order: later ones are served, so these were accepted.
    for connection in &mut served.both().await {
        ping(connection).await;
    }
    assert!(stop_duration(&mut served).await < Duration::from_secs(1));
    for connection in &mut silent {
        assert_eq!(read_to_end(connection).await.0, "");
    }
}
