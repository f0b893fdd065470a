//! Abusive HTTP/2 clients: each loses at most its own connection, and the daemon continues to serve others.

use capstan_tests::http2::{
    self, ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, INITIAL_WINDOW, PING, RST_STREAM, SETTINGS, frame,
};
use capstan_tests::{BackgroundReader, Client, Daemon, Raw, Setup, eventually, guests, modules};
use rustix::process::Signal;

use crate::{CAPSTAN, oracle, serving};

/// The memory that an attack may cost.
const MEMORY_LIMIT: u64 = 50 << 20;

/// The peak memory and the open files of the daemon before an attack.
struct Baseline {
    memory: u64,
    files: usize,
}

impl Baseline {
    async fn of(daemon: &mut Daemon) -> Self {
        oracle::still_answers(daemon).await;
        let daemon = &*daemon;
        let files = eventually("the number of connections to settle", async || {
            let files = daemon.open_files();
            (files == daemon.open_files()).then_some(files)
        })
        .await;
        Self { memory: daemon.peak_memory(), files }
    }

    /// Checks that the attack has left nothing behind and used little memory.
    async fn assert_recovered(&self, daemon: &mut Daemon, client: &Client) {
        eventually("all runs to have ended", async || (client.running().await == 0).then_some(())).await;
        oracle::still_answers(daemon).await;
        let grown = daemon.peak_memory().saturating_sub(self.memory);
        assert!(grown < MEMORY_LIMIT, "it took {grown} bytes");
        let daemon = &*daemon;
        eventually("all connections to be closed", async || (daemon.open_files() <= self.files + 2).then_some(()))
            .await;
    }
}

async fn handshaken(daemon: &Daemon, settings: &[(u16, u32)]) -> BackgroundReader {
    let mut talk = Raw::connect(daemon).await.read_in_background();
    talk.write(&http2::greeting(settings)).await.unwrap();
    talk.write(&frame(SETTINGS, ACK, 0, &[])).await.unwrap();
    talk
}

fn head(talk: &BackgroundReader, stream: u32, flags: u8, method: &str, path: &str) -> Vec<u8> {
    frame(HEADERS, flags, stream, &http2::request(method, path, talk.authority()))
}

#[tokio::test]
async fn stream_reset_cancels_only_its_own_run() {
    let (mut daemon, client) = serving("sleep", guests::limits::SLEEP_FOR_EVER).await;
    let mut talk = handshaken(&daemon, &[]).await;
    for stream in [1, 3] {
        let head = head(&talk, stream, END_HEADERS | END_STREAM, "POST", "/v1/handlers/sleep/run");
        talk.write(&head).await.unwrap();
    }
    eventually("both runs to start", async || (client.running().await == 2).then_some(())).await;
    talk.write(&frame(RST_STREAM, 0, 1, &8_u32.to_be_bytes())).await.unwrap();
    eventually("one run to be cancelled", async || (client.running().await == 1).then_some(())).await;
    talk.write(&frame(RST_STREAM, 0, 3, &8_u32.to_be_bytes())).await.unwrap();
    eventually("the other to be cancelled", async || (client.running().await == 0).then_some(())).await;
    oracle::still_answers(&mut daemon).await;
}

#[tokio::test]
async fn rapid_resets_close_the_connection_and_leave_no_run() {
    let (mut daemon, client) = serving("sleep", guests::limits::SLEEP_FOR_EVER).await;
    let before = Baseline::of(&mut daemon).await;
    let mut talk = handshaken(&daemon, &[]).await;
    'attack: for round in 0..200 {
        let mut burst = Vec::new();
        for number in 0..500 {
            let stream = (round * 500 + number) * 2 + 1;
            burst.extend(head(&talk, stream, END_HEADERS | END_STREAM, "POST", "/v1/handlers/sleep/run"));
            burst.extend(frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
        }
        if talk.write(&burst).await.is_err() || talk.is_closed() {
            break 'attack;
        }
    }
    let answer = talk.end().await;
    assert!(http2::goodbyes(&answer).contains(&11), "no ENHANCE_YOUR_CALM in {:?}", http2::goodbyes(&answer));
    before.assert_recovered(&mut daemon, &client).await;
}

/// Sends `first`, then `flood` repeatedly until the daemon closes the connection or `most` bytes are sent. Returns the response and whether
/// the daemon closed the connection.
async fn send_flood(
    daemon: &Daemon,
    first: impl FnOnce(&BackgroundReader) -> Vec<u8>,
    flood: &[u8],
    most: usize,
) -> (Vec<u8>, bool) {
    let mut talk = handshaken(daemon, &[]).await;
    let first = first(&talk);
    talk.write(&first).await.unwrap();
    let mut sent = 0;
    while sent < most && !talk.is_closed() && talk.write(flood).await.is_ok() {
        sent += flood.len();
    }
    let closed = sent < most;
    if closed {
        return (talk.end().await, true);
    }
    drop(talk);
    (Vec::new(), false)
}

#[tokio::test]
async fn endless_headers_close_the_connection() {
    let (mut daemon, client) = serving("hello", guests::run::HELLO).await;
    let before = Baseline::of(&mut daemon).await;
    // A header of 8 KiB per frame, as a literal that is not added to the table.
    let header = [&[0, 1, b'x', 0x7f, 0x81, 0x3f][..], &[b'y'; 8192]].concat();
    let flood = frame(CONTINUATION, 0, 1, &header);
    let (answer, closed) = send_flood(&daemon, |talk| head(talk, 1, 0, "GET", "/v1/_ping"), &flood, 256 << 20).await;
    assert!(closed, "the daemon read 256 MiB of one header block: {:?}", http2::goodbyes(&answer));
    let small = frame(CONTINUATION, 0, 1, &[]).repeat(100);
    let (_, closed) = send_flood(&daemon, |talk| head(talk, 1, 0, "GET", "/v1/_ping"), &small, 8 << 20).await;
    assert!(closed, "the daemon read a header block of endless empty frames");
    before.assert_recovered(&mut daemon, &client).await;
}

#[tokio::test]
async fn empty_data_frames_close_the_connection() {
    let (mut daemon, client) = serving("cat", guests::run::CAT).await;
    let before = Baseline::of(&mut daemon).await;
    let flood = frame(DATA, 0, 1, &[]).repeat(100);
    let first = |talk: &BackgroundReader| head(talk, 1, END_HEADERS, "POST", "/v1/handlers/cat/run");
    let (answer, closed) = send_flood(&daemon, first, &flood, 16 << 20).await;
    assert!(closed, "the daemon read 2 million empty frames: {:?}", http2::goodbyes(&answer));
    before.assert_recovered(&mut daemon, &client).await;
}

#[tokio::test]
async fn settings_and_ping_floods_use_no_memory() {
    let (mut daemon, client) = serving("hello", guests::run::HELLO).await;
    let before = Baseline::of(&mut daemon).await;
    for flood in [frame(PING, 0, 0, &[1; 8]), frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 255, 255])] {
        // Whether the daemon closes the connection or not, it serves others in the meantime and memory does not grow.
        send_flood(&daemon, |_| Vec::new(), &flood.repeat(200), 4 << 20).await;
        oracle::still_answers(&mut daemon).await;
    }
    before.assert_recovered(&mut daemon, &client).await;
}

#[tokio::test]
async fn unread_ping_responses_do_not_accumulate() {
    let (mut daemon, client) = serving("hello", guests::run::HELLO).await;
    let before = Baseline::of(&mut daemon).await;
    let connection = tokio::net::TcpStream::connect(daemon.addr()).await.unwrap();
    let flood = [http2::greeting(&[]), frame(PING, 0, 0, &[1; 8]).repeat(10_000)].concat();
    let (mut sent, mut refused) = (0, 0);
    // Until 200 writes in a row find the send buffer full, or the daemon closes the connection.
    eventually("the daemon to stop reading", async || {
        match connection.try_write(&flood[sent % flood.len()..]) {
            Ok(written) => (sent, refused) = (sent + written, 0),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => refused += 1,
            Err(_) => return Some(()),
        }
        (refused == 200 || sent > 512 << 20).then_some(())
    })
    .await;
    assert!(sent < 512 << 20, "the daemon read {sent} bytes of pings");
    drop(connection);
    before.assert_recovered(&mut daemon, &client).await;
}

#[tokio::test]
async fn client_with_a_zero_window_is_disconnected() {
    let mut daemon = Setup::new(CAPSTAN).config("[http]\nanswer_timeout = \"1s\"\nidle_timeout = \"1s\"\n").start();
    let client = daemon.client();
    client.push("large", modules::padded(guests::run::HELLO, 2 << 20)).await;
    let before = Baseline::of(&mut daemon).await;
    let mut talk = handshaken(&daemon, &[(INITIAL_WINDOW, 0)]).await;
    for stream in 0..64 {
        let head = head(&talk, stream * 2 + 1, END_HEADERS | END_STREAM, "GET", "/v1/handlers/large/wasm");
        talk.write(&head).await.unwrap();
    }
    let answer = talk.end().await;
    assert!(http2::frames(&answer).iter().all(|(kind, _, _, payload)| *kind != DATA || payload.is_empty()));
    before.assert_recovered(&mut daemon, &client).await;
}

#[tokio::test]
async fn header_compression_bomb_is_rejected() {
    let (mut daemon, client) = serving("hello", guests::run::HELLO).await;
    let before = Baseline::of(&mut daemon).await;
    let mut talk = handshaken(&daemon, &[]).await;
    // A header of 3,900 bytes is added to the table and then referenced 4,000 times with one byte each.
    let mut block = http2::request("GET", "/v1/_ping", talk.authority());
    block.extend([0x40, 1, b'x', 0x7f, 0xbd, 0x1d]);
    block.extend([b'y'; 3900]);
    block.extend([0xbe; 4000]);
    for stream in [1, 3, 5] {
        if talk.write(&frame(HEADERS, END_HEADERS | END_STREAM, stream, &block)).await.is_err() {
            break;
        }
    }
    talk.write(&head(&talk, 7, END_HEADERS | END_STREAM, "GET", "/v1/_ping")).await.ok();
    drop(talk);
    before.assert_recovered(&mut daemon, &client).await;
}

#[tokio::test]
async fn reused_stream_id_closes_the_connection() {
    let (mut daemon, client) = serving("hello", guests::run::HELLO).await;
    let before = Baseline::of(&mut daemon).await;
    let mut talk = handshaken(&daemon, &[]).await;
    for stream in [5, 5, 3, 1] {
        let head = head(&talk, stream, END_HEADERS | END_STREAM, "GET", "/v1/_ping");
        if talk.write(&head).await.is_err() {
            break;
        }
    }
    let goodbyes = http2::goodbyes(&talk.end().await);
    assert!(goodbyes.iter().any(|reason| *reason != 0), "{goodbyes:?}");
    before.assert_recovered(&mut daemon, &client).await;
}

#[tokio::test]
async fn idle_connection_gets_goaway() {
    let mut daemon = Setup::new(CAPSTAN).config("[http]\nanswer_timeout = \"1s\"\nidle_timeout = \"1s\"\n").start();
    let talk = handshaken(&daemon, &[]).await;
    let answer = talk.end().await;
    assert!(http2::goodbyes(&answer).contains(&0), "{:?}", http2::goodbyes(&answer));
    oracle::still_answers(&mut daemon).await;
}

#[tokio::test]
async fn open_stream_finishes_during_shutdown() {
    let (mut daemon, client) = serving("print", guests::run::PRINT_THEN_EXIT).await;
    let (call, feed) = client.run("print").framed().http2().streaming_body();
    let mut exchange = call.open().await;
    assert!(!exchange.read_at_least(16).await.is_empty());
    let mut idle = handshaken(&daemon, &[]).await;
    client.push("hello", guests::run::HELLO).await;
    idle.write(&head(&idle, 1, END_HEADERS | END_STREAM, "POST", "/v1/handlers/hello/run")).await.unwrap();
    // The daemon treats the connection as HTTP/2 only once it has read the preface.
    eventually("the other connection to be served", async || {
        let jobs = client.get("/v1/jobs?handler=hello&state=done").send().await.json();
        (!jobs["jobs"].as_array().unwrap().is_empty()).then_some(())
    })
    .await;
    daemon.signal(Signal::TERM);
    daemon.until_logged(&["stopping: no new work is taken"]).await;
    drop(feed);
    let rest = exchange.finish().await;
    assert!(!rest.cut, "{rest:?}");
    let goodbyes = http2::goodbyes(&idle.end().await);
    assert!(goodbyes.contains(&0), "{goodbyes:?}");
    assert_eq!(daemon.wait_exit().await.code(), Some(0));
}
