//! Local servers for the network tests.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

/// Counters of a server.
#[derive(Debug, Default)]
pub(super) struct Counters {
    connections: AtomicU64,
    bytes: AtomicU64,
}

/// A server that runs until it is dropped.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) address: SocketAddr,
    counters: Arc<Counters>,
    _task: AbortOnDropHandle<()>,
}

impl Server {
    /// Starts a TCP server that reads to the end of its input and then responds with `answer`.
    pub(super) async fn tcp(answer: impl Into<Vec<u8>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, answer) = (listener.local_addr().unwrap(), Arc::new(answer.into()));
        Self::start(address, |counters| async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                counters.connections.fetch_add(1, Ordering::Relaxed);
                connections.spawn(answer_to(stream, answer.clone(), counters.clone()));
            }
        })
    }

    /// Starts a UDP server that returns each datagram with `suffix` appended.
    pub(super) async fn udp(suffix: &'static str) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        Self::start(socket.local_addr().unwrap(), |counters| async move {
            let mut buffer = vec![0; 65_536];
            while let Ok((size, peer)) = socket.recv_from(&mut buffer).await {
                counters.bytes.fetch_add(size as u64, Ordering::Relaxed);
                // First send an unrelated datagram, from a socket that the guest sent nothing to.
                let stranger = UdpSocket::bind("127.0.0.1:0").await.unwrap();
                stranger.send_to(b"not asked for", peer).await.unwrap();
                let answer = [&buffer[..size], suffix.as_bytes()].concat();
                socket.send_to(&answer, peer).await.unwrap();
            }
        })
    }

    fn start<F: Future<Output = ()> + Send + 'static>(
        address: SocketAddr,
        serve: impl FnOnce(Arc<Counters>) -> F,
    ) -> Self {
        let counters = Arc::new(Counters::default());
        let task = AbortOnDropHandle::new(tokio::spawn(serve(counters.clone())));
        Self { address, counters, _task: task }
    }

    /// Returns the number of accepted connections.
    pub(super) fn connections(&self) -> u64 {
        self.counters.connections.load(Ordering::Relaxed)
    }

    /// Returns the number of received bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.counters.bytes.load(Ordering::Relaxed)
    }
}

async fn answer_to(mut stream: TcpStream, answer: Arc<Vec<u8>>, counters: Arc<Counters>) {
    let mut buffer = vec![0; 65_536];
    let (mut reader, mut writer) = stream.split();
    let read = async {
        while let Ok(size @ 1..) = reader.read(&mut buffer).await {
            counters.bytes.fetch_add(size as u64, Ordering::Relaxed);
        }
    };
    let write = async {
        // The peer may have disconnected.
        let _ = writer.write_all(&answer).await;
        let _ = writer.shutdown().await;
    };
    tokio::join!(read, write);
}

/// A listener with a full queue: the kernel ignores further connection attempts.
#[derive(Debug)]
pub(super) struct SilentListener {
    pub(super) address: SocketAddr,
    _listener: TcpListener,
    _waiting: Vec<TcpStream>,
}

impl SilentListener {
    pub(super) async fn new() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(1).unwrap();
        let address = listener.local_addr().unwrap();
        let mut waiting = Vec::new();
        // Fill the queue. A connection on one machine that takes longer than this timeout did not fit.
        while let Ok(stream) = tokio::time::timeout(Duration::from_millis(500), TcpStream::connect(address)).await {
            waiting.push(stream.unwrap());
        }
        Self { address, _listener: listener, _waiting: waiting }
    }
}
