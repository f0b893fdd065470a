//! Tests of `ListenBuffer`: each case of the ancestor's gate, with its mistakes corrected.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use futures_util::FutureExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::task::coop::unconstrained;

use super::*;

impl Listen for TcpListener {
    type Stream = TcpStream;

    async fn accept(&self) -> TcpStream {
        TcpListener::accept(self).await.expect("accepting on loopback succeeds").0
    }

    fn try_accept(&self) -> Option<TcpStream> {
        let accepted = unconstrained(TcpListener::accept(self)).now_or_never()?;
        Some(accepted.expect("accepting on loopback succeeds").0)
    }
}

impl Listen for UnixListener {
    type Stream = UnixStream;

    async fn accept(&self) -> UnixStream {
        UnixListener::accept(self).await.expect("accepting on loopback succeeds").0
    }

    fn try_accept(&self) -> Option<UnixStream> {
        let accepted = unconstrained(UnixListener::accept(self)).now_or_never()?;
        Some(accepted.expect("accepting on loopback succeeds").0)
    }
}

/// A TCP listener behind a gate that is shut.
struct ShutListener {
    address: SocketAddr,
    gate: Gate,
    closed: CancellationToken,
    buffer: Arc<ListenBuffer<TcpListener>>,
}

async fn shut_listener() -> ShutListener {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let listener = socket.listen(1024).unwrap();
    let (address, gate, closed) = (listener.local_addr().unwrap(), Gate::new(), CancellationToken::new());
    let buffer = Arc::new(ListenBuffer::new(listener, gate.clone(), StartupPolicy::Hold, closed.clone()));
    ShutListener { address, gate, closed, buffer }
}

async fn client(address: SocketAddr, request: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request).await.unwrap();
    stream
}

#[tokio::test]
async fn connections_made_before_the_opening_are_accepted_in_order() {
    let shut = shut_listener().await;
    let mut early = Vec::new();
    for number in 0..100_u8 {
        early.push(client(shut.address, &[number]).await);
    }
    assert!(shut.buffer.accept().now_or_never().is_none(), "a connection was accepted before the opening");
    shut.gate.open();
    for number in 0..100_u8 {
        let mut accepted = shut.buffer.accept().await.unwrap();
        assert_eq!(accepted.read_u8().await.unwrap(), number, "connections are accepted in the order of arrival");
        accepted.write_all(&[number]).await.unwrap();
    }
    for (number, mut stream) in (0..100).zip(early) {
        assert_eq!(stream.read_u8().await.unwrap(), number);
    }
}

#[tokio::test]
async fn bytes_of_a_client_that_disconnected_before_the_opening_are_read() {
    let shut = shut_listener().await;
    drop(client(shut.address, b"bye").await);
    shut.gate.open();
    let mut read = Vec::new();
    shut.buffer.accept().await.unwrap().read_to_end(&mut read).await.unwrap();
    assert_eq!(read, b"bye");
}

#[tokio::test]
async fn accept_returns_when_the_listener_is_closed_behind_a_shut_gate() {
    let shut = shut_listener().await;
    let (first, second) = (shut.buffer.clone(), shut.buffer.clone());
    let closing = async { shut.closed.cancel() };
    let (one, two, ()) = tokio::join!(first.accept(), second.accept(), closing);
    assert_eq!(one.unwrap_err(), AcceptError::Closed);
    assert_eq!(two.unwrap_err(), AcceptError::Closed);
    // Opening the gate does not reopen the listener.
    shut.gate.open();
    assert_eq!(shut.buffer.accept().await.unwrap_err(), AcceptError::Closed);
}

#[tokio::test]
async fn dropped_accept_loses_no_connection() {
    let shut = shut_listener().await;
    let _early = client(shut.address, b"x").await;
    assert!(shut.buffer.accept().now_or_never().is_none());
    shut.gate.open();
    assert_eq!(shut.buffer.accept().await.unwrap().read_u8().await.unwrap(), b'x');
}

#[tokio::test]
async fn accept_after_the_opening_returns_at_once() {
    let shut = shut_listener().await;
    assert!(shut.gate.open() && shut.gate.open(), "opening twice has the same result");
    let _client = client(shut.address, b"x").await;
    assert!(shut.buffer.accept().await.is_ok());
}

#[tokio::test]
async fn one_opening_releases_all_accepts_of_all_listeners() {
    let (gate, closed) = (Gate::new(), CancellationToken::new());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let unix = ListenBuffer::new(UnixListener::bind(&path).unwrap(), gate.clone(), StartupPolicy::Hold, closed.clone());
    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = tcp.local_addr().unwrap();
    let tcp = ListenBuffer::new(tcp, gate.clone(), StartupPolicy::Hold, closed);
    let _clients = (
        client(address, b"x").await,
        client(address, b"x").await,
        UnixStream::connect(&path).await.unwrap(),
        UnixStream::connect(&path).await.unwrap(),
    );
    let opening = async { gate.open() };
    let (a, b, c, d, _) = tokio::join!(tcp.accept(), tcp.accept(), unix.accept(), unix.accept(), opening);
    assert!(a.is_ok() && b.is_ok() && c.is_ok() && d.is_ok());
}

#[tokio::test]
async fn gates_of_two_servers_are_independent() {
    let (one, other) = (shut_listener().await, shut_listener().await);
    let _clients = (client(one.address, b"x").await, client(other.address, b"x").await);
    one.gate.open();
    assert!(one.buffer.accept().await.is_ok());
    assert!(other.buffer.accept().now_or_never().is_none());
}

#[tokio::test]
async fn failed_gate_returns_its_reason_and_drains_waiting_connections() {
    let shut = shut_listener().await;
    let mut clients = Vec::new();
    for _ in 0..3 {
        clients.push(client(shut.address, b"x").await);
    }
    let failing = async { shut.gate.fail("no engine") };
    let (accepted, _) = tokio::join!(shut.buffer.accept(), failing);
    assert_eq!(accepted.unwrap_err(), AcceptError::Gate(GateFailed("no engine".into())));

    let mut informed = 0;
    while informed < 3 {
        for mut stream in shut.buffer.drain() {
            stream.write_all(b"no engine").await.unwrap();
            informed += 1;
        }
        tokio::task::yield_now().await;
    }
    for mut stream in clients {
        let mut read = Vec::new();
        // The connection may end with a reset.
        let _ = stream.read_to_end(&mut read).await.or_else(|error| match error.kind() {
            io::ErrorKind::ConnectionReset => Ok(0),
            _ => Err(error),
        });
        assert_eq!(read, b"no engine");
    }
}

#[tokio::test]
async fn accept_with_the_answer_policy_works_until_the_gate_fails() {
    let listener_with_answer = async |gate: &Gate| {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let closed = CancellationToken::new();
        (address, closed.clone(), ListenBuffer::new(listener, gate.clone(), StartupPolicy::Answer, closed))
    };
    let gate = Gate::new();
    let (address, closed, buffer) = listener_with_answer(&gate).await;
    for opened in [false, true] {
        assert_eq!(gate.state() == GateState::Open, opened);
        let _client = client(address, b"x").await;
        assert_eq!(buffer.accept().await.unwrap().read_u8().await.unwrap(), b'x');
        gate.open();
    }
    closed.cancel();
    assert_eq!(buffer.accept().await.unwrap_err(), AcceptError::Closed);

    let gate = Gate::new();
    let (_address, _closed, buffer) = listener_with_answer(&gate).await;
    let failing = async { gate.fail("no engine") };
    let (accepted, _) = tokio::join!(buffer.accept(), failing);
    assert_eq!(accepted.unwrap_err(), AcceptError::Gate(GateFailed("no engine".into())));
    assert!(buffer.accept().await.is_err(), "a failed gate accepts again");
}

#[tokio::test]
async fn drain_returns_more_connections_than_one_poll_can_accept() {
    let shut = shut_listener().await;
    let mut clients = Vec::new();
    for _ in 0..500 {
        clients.push(client(shut.address, b"x").await);
    }
    shut.gate.fail("no engine");
    // The kernel has all connections already, so one call returns them all.
    assert_eq!(tokio::spawn(async move { shut.buffer.drain().count() }).await.unwrap(), 500);
}
