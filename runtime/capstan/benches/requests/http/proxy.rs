//! A large body through a guest, compared with a bare proxy of hyper in front of a server that echoes.

use std::convert::Infallible;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use bytes::Bytes;
use capstan_tests::Daemon;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http1 as client;
use hyper::server::conn::http1 as server;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;
use tokio::task::JoinSet;

use super::super::ROUNDS;
use super::super::report::{Goal, Report, Row, median};

/// The option that makes this program the proxy, and a server behind it that echoes.
const OPTION: &str = "--bare-proxy";
/// Bytes of a piece of the body.
const PIECE: usize = 64 << 10;

/// Returns whether this process shall be the proxy.
pub(crate) fn requested() -> bool {
    std::env::args().any(|arg| arg == OPTION)
}

/// Prints a free port, and is a proxy on it until the process is killed.
pub(crate) fn serve() {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let [front, back] =
            [TcpListener::bind("127.0.0.1:0").await.unwrap(), TcpListener::bind("127.0.0.1:0").await.unwrap()];
        let behind = back.local_addr().unwrap();
        println!("{}", front.local_addr().unwrap());
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = front.accept() => {
                    let (stream, _) = accepted.unwrap();
                    let forward = service_fn(move |request| forward(request, behind));
                    connections.spawn(server::Builder::new().serve_connection(TokioIo::new(stream), forward));
                }
                accepted = back.accept() => {
                    let (stream, _) = accepted.unwrap();
                    let echo = service_fn(|request: Request<Incoming>| async {
                        Ok::<_, hyper::Error>(Response::new(request.into_body()))
                    });
                    connections.spawn(server::Builder::new().serve_connection(TokioIo::new(stream), echo));
                }
            }
        }
    });
}

async fn forward(request: Request<Incoming>, address: SocketAddr) -> Result<Response<Incoming>, hyper::Error> {
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) = client::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    sender.send_request(request).await
}

/// The proxy in its own process. Dropping it ends the process.
struct Proxy {
    process: Child,
    address: SocketAddr,
}

impl Proxy {
    fn start() -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        let mut process = command.arg(OPTION).stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { process, address: line.trim().parse().unwrap() }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // Both fail only if the process has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Measures how fast `size` bytes come back through the guest `web`.
pub(super) fn measure(daemon: &Daemon, size: u64, report: &mut Report) {
    let proxy = Proxy::start();
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        ours.push(echo(daemon.addr(), "/x/web/echo", size));
        theirs.push(echo(proxy.address, "/", size));
    }
    let [ours, theirs] = [ours, theirs].map(|seconds| size as f64 / 1e6 / median(seconds));
    let name = format!("{} MB through a guest ÷ a bare proxy", size / 1_000_000);
    report.add(Row::new(&name, "MB/s", ours, theirs, Goal::AtLeast(0.5)));
}

/// Sends a body of `size` bytes and reads it back. Returns the seconds that it took.
fn echo(address: SocketAddr, path: &str, size: u64) -> f64 {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let stream = TcpStream::connect(address).await.unwrap();
        let (mut sender, connection) = client::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let piece = Bytes::from(vec![b'x'; PIECE]);
        let lengths = (0..size).step_by(PIECE).map(move |at| usize::try_from(size - at).unwrap().min(PIECE));
        let frames = lengths.map(move |length| Ok::<_, Infallible>(Frame::data(piece.slice(..length))));
        let body = StreamBody::new(futures_util::stream::iter(frames));
        let request = Request::post(path).header("host", address.to_string()).body(body).unwrap();
        let started = Instant::now();
        let mut response = sender.send_request(request).await.unwrap();
        assert_eq!(response.status(), 200);
        let mut read = 0;
        while let Some(frame) = response.frame().await {
            read += frame.unwrap().into_data().map_or(0, |data| data.len() as u64);
        }
        assert_eq!(read, size);
        started.elapsed().as_secs_f64()
    })
}
