//! The latency of requests while slow clients hold bodies open, compared with the latency without them.

use std::time::Duration;

use capstan_tests::Daemon;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::runtime::Builder;

use super::super::ROUNDS;
use super::super::load::{Figures, Target};
use super::super::report::{Goal, Report, Row, median};

/// The number of clients that hold a body open.
const SLOW_CLIENTS: usize = 1000;
/// The number of clients whose latency is measured.
const CONNECTIONS: usize = 4;

/// Measures requests in rounds of the length `round`, each alone and then beside the slow clients.
pub(super) fn measure(daemon: &Daemon, round: Duration, report: &mut Report) {
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let target = Target::new(daemon.pid(), daemon.addr(), "GET /x/web/hello", b"hello\n");
    target.load_over(CONNECTIONS, round / 4);
    let (mut alone, mut beside) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        alone.push(target.load_over(CONNECTIONS, round));
        let clients = runtime.block_on(hold_bodies_open(daemon));
        beside.push(target.load_over(CONNECTIONS, round));
        drop(clients);
        runtime.block_on(until_ended(daemon));
    }
    let [alone, beside] =
        [alone, beside].map(|rounds| median(rounds.iter().map(|round: &Figures| round.p99).collect()));
    let name = format!("p99 of requests beside {SLOW_CLIENTS} slow clients ÷ alone");
    report.add(Row::new(&name, "µs", beside, alone, Goal::AtMost(1.5)));
}

/// Opens requests that a guest echoes: each has sent one piece of its body, and read the head of the response.
async fn hold_bodies_open(daemon: &Daemon) -> Vec<TcpStream> {
    let mut clients = Vec::with_capacity(SLOW_CLIENTS);
    for _ in 0..SLOW_CLIENTS {
        let mut stream = TcpStream::connect(daemon.addr()).await.unwrap();
        let head = b"POST /x/web/echo HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000\r\n\r\nx";
        stream.write_all(head).await.unwrap();
        clients.push(stream);
    }
    for stream in &mut clients {
        let mut start = [0; 12];
        stream.read_exact(&mut start).await.unwrap();
        assert_eq!(&start, b"HTTP/1.1 200", "{}", String::from_utf8_lossy(&start));
    }
    clients
}

/// Waits until the runs of the slow clients have ended.
async fn until_ended(daemon: &Daemon) {
    let client = daemon.client();
    while client.running().await > 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
