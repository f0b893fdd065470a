//! What the ancestor's gate did, row by row, with what went wrong there put right.

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
        TcpListener::accept(self).await.expect("a test accepts what is there").0
    }

    fn try_accept(&self) -> Option<TcpStream> {
        let accepted = unconstrained(TcpListener::accept(self)).now_or_never()?;
        Some(accepted.expect("a test accepts what is there").0)
    }
}

impl Listen for UnixListener {
    type Stream = UnixStream;

    async fn accept(&self) -> UnixStream {
        UnixListener::accept(self).await.expect("a test accepts what is there").0
    }

    fn try_accept(&self) -> Option<UnixStream> {
        let accepted = unconstrained(UnixListener::accept(self)).now_or_never()?;
        Some(accepted.expect("a test accepts what is there").0)
    }
}

struct Shut {
    address: SocketAddr,
    gate: Gate,
    closed: CancellationToken,
    buffer: Arc<ListenBuffer<TcpListener>>,
}

async fn shut() -> Shut {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let listener = socket.listen(1024).unwrap();
    let (address, gate, closed) = (listener.local_addr().unwrap(), Gate::new(), CancellationToken::new());
    let buffer = Arc::new(ListenBuffer::new(listener, gate.clone(), Policy::Hold, closed.clone()));
    Shut { address, gate, closed, buffer }
}

async fn client(address: SocketAddr, request: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request).await.unwrap();
    stream
}

#[tokio::test]
async fn who_connects_and_writes_before_the_opening_is_answered_after_it() {
    let shut = shut().await;
    let mut early = Vec::new();
    for number in 0..100_u8 {
        early.push(client(shut.address, &[number]).await);
    }
    assert!(shut.buffer.accept().now_or_never().is_none(), "nobody is accepted before");
    shut.gate.open();
    for number in 0..100_u8 {
        let mut accepted = shut.buffer.accept().await.unwrap();
        assert_eq!(accepted.read_u8().await.unwrap(), number, "first come, first served");
        accepted.write_all(&[number]).await.unwrap();
    }
    for (number, mut stream) in (0..100).zip(early) {
        assert_eq!(stream.read_u8().await.unwrap(), number);
    }
}

#[tokio::test]
async fn who_wrote_and_left_before_the_opening_is_read_after_it() {
    let shut = shut().await;
    drop(client(shut.address, b"bye").await);
    shut.gate.open();
    let mut read = Vec::new();
    shut.buffer.accept().await.unwrap().read_to_end(&mut read).await.unwrap();
    assert_eq!(read, b"bye");
}

#[tokio::test]
async fn a_listener_can_be_closed_while_its_gate_is_shut() {
    let shut = shut().await;
    let (first, second) = (shut.buffer.clone(), shut.buffer.clone());
    let closing = async { shut.closed.cancel() };
    let (one, two, ()) = tokio::join!(first.accept(), second.accept(), closing);
    assert_eq!(one.unwrap_err(), AcceptError::Closed);
    assert_eq!(two.unwrap_err(), AcceptError::Closed);
    // Opening after that changes nothing for a listener that is closed.
    shut.gate.open();
    assert_eq!(shut.buffer.accept().await.unwrap_err(), AcceptError::Closed);
}

#[tokio::test]
async fn a_dropped_accept_takes_nobody_with_it() {
    let shut = shut().await;
    let _early = client(shut.address, b"x").await;
    assert!(shut.buffer.accept().now_or_never().is_none());
    shut.gate.open();
    assert_eq!(shut.buffer.accept().await.unwrap().read_u8().await.unwrap(), b'x');
}

#[tokio::test]
async fn an_opening_before_anyone_accepts_is_remembered() {
    let shut = shut().await;
    assert!(shut.gate.open() && shut.gate.open(), "twice is as good as once");
    let _client = client(shut.address, b"x").await;
    assert!(shut.buffer.accept().await.is_ok());
}

#[tokio::test]
async fn one_opening_lets_all_acceptors_of_all_listeners_through() {
    let (gate, closed) = (Gate::new(), CancellationToken::new());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let unix = ListenBuffer::new(UnixListener::bind(&path).unwrap(), gate.clone(), Policy::Hold, closed.clone());
    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = tcp.local_addr().unwrap();
    let tcp = ListenBuffer::new(tcp, gate.clone(), Policy::Hold, closed);
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
async fn gates_of_two_servers_are_apart() {
    let (one, other) = (shut().await, shut().await);
    let _clients = (client(one.address, b"x").await, client(other.address, b"x").await);
    one.gate.open();
    assert!(one.buffer.accept().await.is_ok());
    assert!(other.buffer.accept().now_or_never().is_none());
}

#[tokio::test]
async fn a_gate_that_fails_says_why_and_gives_up_those_it_held() {
    let shut = shut().await;
    let mut clients = Vec::new();
    for _ in 0..3 {
        clients.push(client(shut.address, b"x").await);
    }
    let failing = async { shut.gate.fail("no engine") };
    let (accepted, _) = tokio::join!(shut.buffer.accept(), failing);
    assert_eq!(accepted.unwrap_err(), AcceptError::Gate(GateFailed("no engine".into())));

    let mut told = 0;
    while told < 3 {
        for mut held in shut.buffer.held() {
            held.write_all(b"no engine").await.unwrap();
            told += 1;
        }
        tokio::task::yield_now().await;
    }
    for mut stream in clients {
        let mut read = Vec::new();
        // A reset after the words is the end as well.
        let _ = stream.read_to_end(&mut read).await.or_else(|error| match error.kind() {
            io::ErrorKind::ConnectionReset => Ok(0),
            _ => Err(error),
        });
        assert_eq!(read, b"no engine");
    }
}

#[tokio::test]
async fn under_the_policy_answer_connections_come_in_before_the_opening_and_after_it_and_not_after_a_failure() {
    let answering = async |gate: &Gate| {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let closed = CancellationToken::new();
        (address, closed.clone(), ListenBuffer::new(listener, gate.clone(), Policy::Answer, closed))
    };
    let gate = Gate::new();
    let (address, closed, buffer) = answering(&gate).await;
    for opened in [false, true] {
        assert_eq!(gate.state() == GateState::Open, opened);
        let _client = client(address, b"x").await;
        assert_eq!(buffer.accept().await.unwrap().read_u8().await.unwrap(), b'x');
        gate.open();
    }
    closed.cancel();
    assert_eq!(buffer.accept().await.unwrap_err(), AcceptError::Closed);

    let gate = Gate::new();
    let (_address, _closed, buffer) = answering(&gate).await;
    let failing = async { gate.fail("no engine") };
    let (accepted, _) = tokio::join!(buffer.accept(), failing);
    assert_eq!(accepted.unwrap_err(), AcceptError::Gate(GateFailed("no engine".into())));
    assert!(buffer.accept().await.is_err(), "it stays failed");
}

#[tokio::test]
async fn more_than_one_poll_can_take_are_given_up_by_a_gate_that_fails() {
    let shut = shut().await;
    let mut clients = Vec::new();
    for _ in 0..500 {
        clients.push(client(shut.address, b"x").await);
    }
    shut.gate.fail("no engine");
    // Each of them has been taken by the kernel, so that all are there at once.
    assert_eq!(tokio::spawn(async move { shut.buffer.held().count() }).await.unwrap(), 500);
}
