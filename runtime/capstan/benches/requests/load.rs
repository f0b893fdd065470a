//! The load: one thread with keep-alive connections, each with one request at a time.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::runtime::Builder;
use tokio::task::JoinSet;

use super::report;

const CONNECTIONS: usize = 16;

/// A request and the expected response.
#[derive(Debug)]
pub(crate) struct Target {
    process: u32,
    address: SocketAddr,
    request: Vec<u8>,
    body: &'static [u8],
}

/// The result of a round: requests per second, and the processor time of the server and the latency per request in microseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Figures {
    pub(crate) rate: f64,
    /// Processor time is affected least by other load on the machine.
    pub(crate) cpu: f64,
    pub(crate) p50: f64,
    pub(crate) p99: f64,
}

impl Target {
    /// Creates a target. `request_line` is a method and a path, and `process` the id of the server.
    pub(crate) fn new(process: u32, address: SocketAddr, request_line: &str, body: &'static [u8]) -> Self {
        let request = format!("{request_line} HTTP/1.1\r\nhost: {address}\r\ncontent-length: 0\r\n\r\n").into_bytes();
        Self { process, address, request, body }
    }

    /// Sends requests as fast as possible for this time.
    pub(crate) fn load(&self, time: Duration) -> Figures {
        self.load_over(CONNECTIONS, time)
    }

    /// Like [`Target::load`], with this number of connections.
    pub(crate) fn load_over(&self, connections: usize, time: Duration) -> Figures {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (start, before, mut clients) = (Instant::now(), processor_time(self.process), JoinSet::new());
            for _ in 0..connections {
                clients.spawn(request_until(self.address, self.request.clone(), self.body, start + time));
            }
            let latencies = clients.join_all().await.concat();
            let elapsed = start.elapsed();
            Figures::new(latencies, elapsed, processor_time(self.process).saturating_sub(before))
        })
    }
}

/// Returns the processor time of a process.
fn processor_time(process: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    // The name in parentheses may contain anything. User and system time are fields 12 and 13 after it.
    let fields = stat[stat.rfind(')').unwrap() + 1..].split_whitespace().skip(11).take(2);
    let ticks: u64 = fields.map(|field| field.parse::<u64>().unwrap()).sum();
    Duration::from_secs(ticks) / u32::try_from(rustix::param::clock_ticks_per_second()).unwrap()
}

/// Sends requests on one connection until `end`. Returns the latencies.
async fn request_until(address: SocketAddr, request: Vec<u8>, body: &'static [u8], end: Instant) -> Vec<Duration> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (mut latencies, mut response) = (Vec::new(), Vec::with_capacity(4096));
    loop {
        let start = Instant::now();
        if start >= end {
            return latencies;
        }
        stream.write_all(&request).await.unwrap();
        response.clear();
        while !is_complete(&response) {
            assert_ne!(stream.read_buf(&mut response).await.unwrap(), 0, "the connection was closed");
        }
        let is_expected =
            response.starts_with(b"HTTP/1.1 200") && response.windows(body.len()).any(|part| part == body);
        assert!(is_expected, "{}", String::from_utf8_lossy(&response));
        latencies.push(start.elapsed());
    }
}

/// Returns whether a response is complete. The response of a longer run is chunked.
fn is_complete(response: &[u8]) -> bool {
    let Some(end) = response.windows(4).position(|bytes| bytes == b"\r\n\r\n") else { return false };
    let head = std::str::from_utf8(&response[..end]).unwrap();
    match head.lines().find_map(|line| line.strip_prefix("content-length: ")) {
        Some(length) => response.len() >= end + 4 + length.parse::<usize>().unwrap(),
        None => response.ends_with(b"\r\n0\r\n\r\n"),
    }
}

impl Figures {
    pub(crate) fn new(mut latencies: Vec<Duration>, elapsed: Duration, processor_time: Duration) -> Self {
        assert!(!latencies.is_empty(), "no request finished within {elapsed:?}");
        latencies.sort_unstable();
        let percentile = |part: usize| latencies[(latencies.len() - 1) * part / 100].as_secs_f64() * 1e6;
        let count = latencies.len() as f64;
        Self {
            rate: count / elapsed.as_secs_f64(),
            cpu: processor_time.as_secs_f64() * 1e6 / count,
            p50: percentile(50),
            p99: percentile(99),
        }
    }

    /// Returns the median of each figure over `rounds`.
    pub(crate) fn median(rounds: &[Self]) -> Self {
        let median = |figure: fn(&Self) -> f64| report::median(rounds.iter().map(figure).collect());
        Self {
            rate: median(|round| round.rate),
            cpu: median(|round| round.cpu),
            p50: median(|round| round.p50),
            p99: median(|round| round.p99),
        }
    }
}
