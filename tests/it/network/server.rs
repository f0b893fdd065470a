//! Servers of the tests, on this machine.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

/// What a server has seen.
#[derive(Debug, Default)]
pub(super) struct Seen {
    connections: AtomicU64,
    bytes: AtomicU64,
}

/// A server that goes on until it is dropped.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) address: SocketAddr,
    seen: Arc<Seen>,
    _task: AbortOnDropHandle<()>,
}

impl Server {
    /// One that reads what comes over TCP to its end, and then answers with `answer`.
    pub(super) async fn tcp(answer: impl Into<Vec<u8>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, answer) = (listener.local_addr().unwrap(), Arc::new(answer.into()));
        Self::start(address, |seen| async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                seen.connections.fetch_add(1, Ordering::Relaxed);
                connections.spawn(answer_to(stream, answer.clone(), seen.clone()));
            }
        })
    }

    /// One that sends each datagram back, with `suffix` behind it.
    pub(super) async fn udp(suffix: &'static str) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        Self::start(socket.local_addr().unwrap(), |seen| async move {
            let mut buffer = vec![0; 65_536];
            while let Ok((size, peer)) = socket.recv_from(&mut buffer).await {
                seen.bytes.fetch_add(size as u64, Ordering::Relaxed);
                // A stranger speaks first, from a socket to which nothing was sent.
                let stranger = UdpSocket::bind("127.0.0.1:0").await.unwrap();
                stranger.send_to(b"not asked for", peer).await.unwrap();
                let answer = [&buffer[..size], suffix.as_bytes()].concat();
                socket.send_to(&answer, peer).await.unwrap();
            }
        })
    }

    fn start<F: Future<Output = ()> + Send + 'static>(address: SocketAddr, serve: impl FnOnce(Arc<Seen>) -> F) -> Self {
        let seen = Arc::new(Seen::default());
        let task = AbortOnDropHandle::new(tokio::spawn(serve(seen.clone())));
        Self { address, seen, _task: task }
    }

    /// How many have connected.
    pub(super) fn connections(&self) -> u64 {
        self.seen.connections.load(Ordering::Relaxed)
    }

    /// How many bytes have come.
    pub(super) fn bytes(&self) -> u64 {
        self.seen.bytes.load(Ordering::Relaxed)
    }
}

async fn answer_to(mut stream: TcpStream, answer: Arc<Vec<u8>>, seen: Arc<Seen>) {
    let mut buffer = vec![0; 65_536];
    let (mut reader, mut writer) = stream.split();
    let read = async {
        while let Ok(size @ 1..) = reader.read(&mut buffer).await {
            seen.bytes.fetch_add(size as u64, Ordering::Relaxed);
        }
    };
    let write = async {
        // The other end may have left by now.
        let _ = writer.write_all(&answer).await;
        let _ = writer.shutdown().await;
    };
    tokio::join!(read, write);
}

/// A listener that nobody gets through to any more: its queue is full, and the kernel passes over who else comes.
#[derive(Debug)]
pub(super) struct Silent {
    pub(super) address: SocketAddr,
    _listener: TcpListener,
    _waiting: Vec<TcpStream>,
}

impl Silent {
    pub(super) async fn new() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(1).unwrap();
        let address = listener.local_addr().unwrap();
        let mut waiting = Vec::new();
        // As many as get in at all within a time that is long for a connection on one machine.
        while let Ok(stream) = tokio::time::timeout(Duration::from_millis(500), TcpStream::connect(address)).await {
            waiting.push(stream.unwrap());
        }
        Self { address, _listener: listener, _waiting: waiting }
    }
}
