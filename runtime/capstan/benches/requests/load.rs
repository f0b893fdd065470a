//! The load: one thread with connections that are kept alive, each with one request at a time.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::runtime::Builder;
use tokio::task::JoinSet;

const CONNECTIONS: usize = 16;

/// A request and the answer that is expected.
#[derive(Debug)]
pub(crate) struct Target {
    process: u32,
    address: SocketAddr,
    request: Vec<u8>,
    body: &'static [u8],
}

/// What a round came to: requests a second, what each took of the server's processors, and how long it took, in microseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Figures {
    pub(crate) rate: f64,
    /// The figure that what else the machine does changes least.
    pub(crate) cpu: f64,
    pub(crate) p50: f64,
    pub(crate) p99: f64,
}

impl Target {
    /// `asked`, a method and a path, without a body, of a server that is this process.
    pub(crate) fn new(process: u32, address: SocketAddr, asked: &str, body: &'static [u8]) -> Self {
        let request = format!("{asked} HTTP/1.1\r\nhost: {address}\r\ncontent-length: 0\r\n\r\n").into_bytes();
        Self { process, address, request, body }
    }

    /// Asks as often as it can for this long.
    pub(crate) fn load(&self, time: Duration) -> Figures {
        self.load_over(CONNECTIONS, time)
    }

    /// As [`Target::load`], over so many connections.
    pub(crate) fn load_over(&self, connections: usize, time: Duration) -> Figures {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (begun, before, mut asking) = (Instant::now(), computed(self.process), JoinSet::new());
            for _ in 0..connections {
                asking.spawn(ask(self.address, self.request.clone(), self.body, begun + time));
            }
            let took = asking.join_all().await.concat();
            let elapsed = begun.elapsed();
            Figures::of(took, elapsed, computed(self.process).saturating_sub(before))
        })
    }
}

/// What a process has taken of the processors so far.
fn computed(process: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    // The name in brackets may hold anything; user and system time are the twelfth and thirteenth field behind it.
    let fields = stat[stat.rfind(')').unwrap() + 1..].split_whitespace().skip(11).take(2);
    let ticks: u64 = fields.map(|field| field.parse::<u64>().unwrap()).sum();
    Duration::from_secs(ticks) / u32::try_from(rustix::param::clock_ticks_per_second()).unwrap()
}

/// Asks until `end` on one connection; how long each answer took.
async fn ask(address: SocketAddr, request: Vec<u8>, body: &'static [u8], end: Instant) -> Vec<Duration> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (mut took, mut answer) = (Vec::new(), Vec::with_capacity(4096));
    loop {
        let begun = Instant::now();
        if begun >= end {
            return took;
        }
        stream.write_all(&request).await.unwrap();
        answer.clear();
        while !is_whole(&answer) {
            assert_ne!(stream.read_buf(&mut answer).await.unwrap(), 0, "the connection was closed");
        }
        let is_right = answer.starts_with(b"HTTP/1.1 200") && answer.windows(body.len()).any(|part| part == body);
        assert!(is_right, "{}", String::from_utf8_lossy(&answer));
        took.push(begun.elapsed());
    }
}

/// Whether an answer is all there. A run that took longer than its head is held back is answered in chunks.
fn is_whole(answer: &[u8]) -> bool {
    let Some(end) = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n") else { return false };
    let head = std::str::from_utf8(&answer[..end]).unwrap();
    match head.lines().find_map(|line| line.strip_prefix("content-length: ")) {
        Some(length) => answer.len() >= end + 4 + length.parse::<usize>().unwrap(),
        None => answer.ends_with(b"\r\n0\r\n\r\n"),
    }
}

impl Figures {
    pub(crate) fn of(mut took: Vec<Duration>, elapsed: Duration, computed: Duration) -> Self {
        assert!(!took.is_empty(), "nothing was done in {elapsed:?}");
        took.sort_unstable();
        let at = |part: usize| took[(took.len() - 1) * part / 100].as_secs_f64() * 1e6;
        let count = took.len() as f64;
        Self {
            rate: count / elapsed.as_secs_f64(),
            cpu: computed.as_secs_f64() * 1e6 / count,
            p50: at(50),
            p99: at(99),
        }
    }

    /// The median of each figure over `rounds`.
    pub(crate) fn median(rounds: &[Self]) -> Self {
        let median = |figure: fn(&Self) -> f64| {
            let mut all: Vec<f64> = rounds.iter().map(figure).collect();
            all.sort_by(f64::total_cmp);
            all[all.len() / 2]
        };
        Self {
            rate: median(|round| round.rate),
            cpu: median(|round| round.cpu),
            p50: median(|round| round.p50),
            p99: median(|round| round.p99),
        }
    }
}
