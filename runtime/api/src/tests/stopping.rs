//! How connections end when the server stops, by a clock that runs only when nothing else does.

use tokio::time::Instant;

use super::*;

const PING: &str = "GET /_ping HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// Reads the answer to [`PING`].
async fn pinged(connection: &mut Box<dyn Connection>) {
    ask(connection, PING).await;
    let mut read = Vec::new();
    while !read.ends_with(b"OK\n") {
        read.push(connection.read_u8().await.unwrap());
    }
    assert!(read.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&read));
}

/// Stops the server, and tells how long that took.
async fn stopped(served: &mut Served) -> Duration {
    tokio::time::pause();
    let began = Instant::now();
    served.stop().await;
    began.elapsed()
}

#[tokio::test]
async fn connections_that_are_kept_alive_end_at_once() {
    let mut served = Served::open().await;
    let mut kept = served.both().await;
    for connection in &mut kept {
        pinged(connection).await;
        pinged(connection).await;
    }
    assert!(stopped(&mut served).await < Duration::from_secs(1));
    for connection in &mut kept {
        assert_eq!(rest(connection).await, (String::new(), false), "it ends in order");
    }
}

#[tokio::test]
async fn who_has_said_nothing_yet_is_not_waited_for_either() {
    let mut served = Served::open().await;
    let mut silent = served.both().await;
    // Connections are taken in turn: the later ones are served, so these were accepted.
    for connection in &mut served.both().await {
        pinged(connection).await;
    }
    assert!(stopped(&mut served).await < Duration::from_secs(1));
    for connection in &mut silent {
        assert_eq!(rest(connection).await.0, "");
    }
}
