//! HTTP/2 by clients that abuse it: each costs itself its connection at most, and the daemon goes on.

use capstan_tests::http2::{
    self, ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, INITIAL_WINDOW, PING, RST_STREAM, SETTINGS, frame,
};
use capstan_tests::{Client, Daemon, Raw, Setup, Talk, eventually, guests, modules};
use rustix::process::Signal;

use crate::{CAPSTAN, oracle, serving};

/// What an attack may cost in memory.
const ROOM: u64 = 50 << 20;

/// How much memory the daemon has had at most, and how many files were open, before an attack.
struct Before {
    memory: u64,
    files: usize,
}

impl Before {
    async fn of(daemon: &mut Daemon) -> Self {
        oracle::still_answers(daemon).await;
        let daemon = &*daemon;
        let files = eventually("connections to be closed", async || {
            let files = daemon.open_files();
            (files == daemon.open_files()).then_some(files)
        })
        .await;
        Self { memory: daemon.peak_memory(), files }
    }

    /// Nothing is left over of the attack, and it took little.
    async fn is_over(&self, daemon: &mut Daemon, client: &Client) {
        eventually("all runs to have ended", async || (client.running().await == 0).then_some(())).await;
        oracle::still_answers(daemon).await;
        let grown = daemon.peak_memory().saturating_sub(self.memory);
        assert!(grown < ROOM, "it took {grown} bytes");
        let daemon = &*daemon;
        eventually("all connections to be closed", async || (daemon.open_files() <= self.files + 2).then_some(()))
            .await;
    }
}

async fn greeted(daemon: &Daemon, settings: &[(u16, u32)]) -> Talk {
    let mut talk = Raw::connect(daemon).await.listening();
    talk.write(&http2::greeting(settings)).await.unwrap();
    talk.write(&frame(SETTINGS, ACK, 0, &[])).await.unwrap();
    talk
}

fn head(talk: &Talk, stream: u32, flags: u8, method: &str, path: &str) -> Vec<u8> {
    frame(HEADERS, flags, stream, &http2::request(method, path, talk.authority()))
}

#[tokio::test]
async fn a_run_ends_with_the_reset_of_its_stream_and_no_other() {
    let (mut daemon, client) = serving("sleep", guests::limits::SLEEP_FOR_EVER).await;
    let mut talk = greeted(&daemon, &[]).await;
    for stream in [1, 3] {
        let head = head(&talk, stream, END_HEADERS | END_STREAM, "POST", "/v1/handlers/sleep/run");
        talk.write(&head).await.unwrap();
    }
    eventually("both runs to begin", async || (client.running().await == 2).then_some(())).await;
    talk.write(&frame(RST_STREAM, 0, 1, &8_u32.to_be_bytes())).await.unwrap();
    eventually("one run to be cancelled", async || (client.running().await == 1).then_some(())).await;
    talk.write(&frame(RST_STREAM, 0, 3, &8_u32.to_be_bytes())).await.unwrap();
    eventually("the other to be cancelled", async || (client.running().await == 0).then_some(())).await;
    oracle::still_answers(&mut daemon).await;
}

#[tokio::test]
async fn rapid_resets_end_the_connection_and_leave_no_run() {
    let (mut daemon, client) = serving("sleep", guests::limits::SLEEP_FOR_EVER).await;
    let before = Before::of(&mut daemon).await;
    let mut talk = greeted(&daemon, &[]).await;
    'attack: for round in 0..200 {
        let mut burst = Vec::new();
        for number in 0..500 {
            let stream = (round * 500 + number) * 2 + 1;
            burst.extend(head(&talk, stream, END_HEADERS | END_STREAM, "POST", "/v1/handlers/sleep/run"));
            burst.extend(frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
        }
        if talk.write(&burst).await.is_err() || talk.is_over() {
            break 'attack;
        }
    }
    let answer = talk.end().await;
    assert!(http2::goodbyes(&answer).contains(&11), "no ENHANCE_YOUR_CALM in {:?}", http2::goodbyes(&answer));
    before.is_over(&mut daemon, &client).await;
}

/// Begins with `first`, sends `flood` until the daemon has closed the connection or `most` bytes went out, and gives what came back.
async fn flooded(daemon: &Daemon, first: impl FnOnce(&Talk) -> Vec<u8>, flood: &[u8], most: usize) -> (Vec<u8>, bool) {
    let mut talk = greeted(daemon, &[]).await;
    let first = first(&talk);
    talk.write(&first).await.unwrap();
    let mut sent = 0;
    while sent < most && !talk.is_over() && talk.write(flood).await.is_ok() {
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
async fn heads_that_never_end_are_given_up() {
    let (mut daemon, client) = serving("hello", guests::run::HELLO).await;
    let before = Before::of(&mut daemon).await;
    // A header of 8 KiB a frame, in the form that takes no place in the table.
    let header = [&[0, 1, b'x', 0x7f, 0x81, 0x3f][..], &[b'y'; 8192]].concat();
    let flood = frame(CONTINUATION, 0, 1, &header);
    let (answer, closed) = flooded(&daemon, |talk| head(talk, 1, 0, "GET", "/v1/_ping"), &flood, 256 << 20).await;
    assert!(closed, "256 MiB of one head were taken: {:?}", http2::goodbyes(&answer));
    let small = frame(CONTINUATION, 0, 1, &[]).repeat(100);
    let (_, closed) = flooded(&daemon, |talk| head(talk, 1, 0, "GET", "/v1/_ping"), &small, 8 << 20).await;
    assert!(closed, "a head went on for ever in empty frames");
    before.is_over(&mut daemon, &client).await;
}

#[tokio::test]
async fn data_without_data_ends_the_connection() {
    let (mut daemon, client) = serving("cat", guests::run::CAT).await;
    let before = Before::of(&mut daemon).await;
    let flood = frame(DATA, 0, 1, &[]).repeat(100);
    let first = |talk: &Talk| head(talk, 1, END_HEADERS, "POST", "/v1/handlers/cat/run");
    let (answer, closed) = flooded(&daemon, first, &flood, 16 << 20).await;
    assert!(closed, "2 million empty frames were taken: {:?}", http2::goodbyes(&answer));
    before.is_over(&mut daemon, &client).await;
}

#[tokio::test]
async fn settings_and_pings_without_end_take_no_memory() {
    let (mut daemon, client) = serving("hello", guests::run::HELLO).await;
    let before = Before::of(&mut daemon).await;
    for flood in [frame(PING, 0, 0, &[1; 8]), frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 255, 255])] {
        // Whether they are borne or not: others are served meanwhile, and nothing piles up.
        flooded(&daemon, |_| Vec::new(), &flood.repeat(200), 4 << 20).await;
        oracle::still_answers(&mut daemon).await;
    }
    before.is_over(&mut daemon, &client).await;
}

#[tokio::test]
async fn answers_to_pings_that_nobody_reads_do_not_pile_up() {
    let (mut daemon, client) = serving("hello", guests::run::HELLO).await;
    let before = Before::of(&mut daemon).await;
    let connection = tokio::net::TcpStream::connect(daemon.addr()).await.unwrap();
    let flood = [http2::greeting(&[]), frame(PING, 0, 0, &[1; 8]).repeat(10_000)].concat();
    let (mut sent, mut refused) = (0, 0);
    // Until it has taken nothing more many times over, or closed the connection.
    eventually("the daemon to take no more", async || {
        match connection.try_write(&flood[sent % flood.len()..]) {
            Ok(written) => (sent, refused) = (sent + written, 0),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => refused += 1,
            Err(_) => return Some(()),
        }
        (refused == 200 || sent > 512 << 20).then_some(())
    })
    .await;
    assert!(sent < 512 << 20, "{sent} bytes of pings were taken");
    drop(connection);
    before.is_over(&mut daemon, &client).await;
}

#[tokio::test]
async fn a_client_that_opens_no_window_is_given_up() {
    let mut daemon = Setup::new(CAPSTAN).config("[http]\nanswer_timeout = \"1s\"\nidle_timeout = \"1s\"\n").start();
    let client = daemon.client();
    client.push("large", modules::padded(guests::run::HELLO, 2 << 20)).await;
    let before = Before::of(&mut daemon).await;
    let mut talk = greeted(&daemon, &[(INITIAL_WINDOW, 0)]).await;
    for stream in 0..64 {
        let head = head(&talk, stream * 2 + 1, END_HEADERS | END_STREAM, "GET", "/v1/handlers/large/wasm");
        talk.write(&head).await.unwrap();
    }
    let answer = talk.end().await;
    assert!(http2::frames(&answer).iter().all(|(kind, _, _, payload)| *kind != DATA || payload.is_empty()));
    before.is_over(&mut daemon, &client).await;
}

#[tokio::test]
async fn a_small_block_that_means_large_headers_is_refused() {
    let (mut daemon, client) = serving("hello", guests::run::HELLO).await;
    let before = Before::of(&mut daemon).await;
    let mut talk = greeted(&daemon, &[]).await;
    // One header of 3,900 bytes goes into the table, and is named 4,000 times by one byte each.
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
    before.is_over(&mut daemon, &client).await;
}

#[tokio::test]
async fn a_stream_that_was_used_is_not_used_again() {
    let (mut daemon, client) = serving("hello", guests::run::HELLO).await;
    let before = Before::of(&mut daemon).await;
    let mut talk = greeted(&daemon, &[]).await;
    for stream in [5, 5, 3, 1] {
        let head = head(&talk, stream, END_HEADERS | END_STREAM, "GET", "/v1/_ping");
        if talk.write(&head).await.is_err() {
            break;
        }
    }
    let goodbyes = http2::goodbyes(&talk.end().await);
    assert!(goodbyes.iter().any(|reason| *reason != 0), "{goodbyes:?}");
    before.is_over(&mut daemon, &client).await;
}

#[tokio::test]
async fn an_idle_connection_is_told_goodbye() {
    let mut daemon = Setup::new(CAPSTAN).config("[http]\nanswer_timeout = \"1s\"\nidle_timeout = \"1s\"\n").start();
    let talk = greeted(&daemon, &[]).await;
    let answer = talk.end().await;
    assert!(http2::goodbyes(&answer).contains(&0), "{:?}", http2::goodbyes(&answer));
    oracle::still_answers(&mut daemon).await;
}

#[tokio::test]
async fn a_stream_that_goes_on_may_end_when_the_daemon_stops() {
    let (mut daemon, client) = serving("print", guests::run::PRINT_THEN_EXIT).await;
    let (call, feed) = client.run("print").framed().http2().fed();
    let mut exchange = call.open().await;
    assert!(!exchange.at_least(16).await.is_empty());
    let mut idle = greeted(&daemon, &[]).await;
    client.push("hello", guests::run::HELLO).await;
    idle.write(&head(&idle, 1, END_HEADERS | END_STREAM, "POST", "/v1/handlers/hello/run")).await.unwrap();
    // Until the daemon has read a greeting, it speaks no HTTP/2 there.
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
