//! The gate, with a startup that is blocked: clients that connect before it opens get a response afterwards, or an orderly end if it never
//! opens.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use capstan_tests::{Daemon, Setup, TIMEOUT, eventually};
use rustix::fs::{CWD, FileType, Mode};
use rustix::net::RecvFlags;
use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};

use crate::{CAPSTAN, oracle};

/// The number of clients on each of two listeners.
const CLIENTS: usize = 500;
const POLICIES: [&str; 2] = ["hold", "answer"];

/// A daemon that listens, but whose startup is blocked on a named pipe in its data directory.
pub(crate) struct BlockedStart {
    pub(crate) daemon: Daemon,
    pipe: PathBuf,
}

impl BlockedStart {
    /// Blocks while the daemon restores its stored handlers.
    fn while_installing(policy: &str, more: impl FnOnce(Setup) -> Setup) -> Self {
        Self::at("handlers", "waits", policy, more)
    }

    /// Blocks while the daemon reads its key. Afterwards the startup fails, because a file is in the place of a directory.
    fn before_a_failing_load(policy: &str) -> Self {
        Self::at("keys", "artifacts", policy, |setup| {
            fs::write(setup.folder().join("data/artifacts"), "").unwrap();
            setup
        })
    }

    pub(crate) fn at(folder: &str, file: &str, policy: &str, more: impl FnOnce(Setup) -> Setup) -> Self {
        let setup = Setup::new(CAPSTAN).arg("--while-booting").arg(policy);
        let folder = setup.folder().join("data").join(folder);
        DirBuilder::new().recursive(true).mode(0o700).create(&folder).unwrap();
        let pipe = folder.join(file);
        rustix::fs::mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let mut daemon = more(setup).spawn();
        daemon.wait_for_line("listening on tcp://").unwrap();
        Self { daemon, pipe }
    }

    /// Lets the startup continue.
    pub(crate) fn unblock(&self) {
        // Opening the pipe blocks until the daemon reads from it, so the daemon has reached this point.
        OpenOptions::new().write(true).open(&self.pipe).unwrap().write_all(&[7; 32]).unwrap();
    }

    /// Connects `CLIENTS` clients to each listener and sends a request on each.
    fn clients(&self) -> Vec<Client> {
        let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
        setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
        let (address, path) = (self.daemon.addr(), self.daemon.unix());
        let mut clients = Vec::new();
        for _ in 0..CLIENTS {
            clients.push(Client::tcp(&TcpStream::connect(address).unwrap()));
            clients.push(Client::unix(&path));
        }
        for client in &mut clients {
            client.0.write_all(b"GET /v1/info HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
        }
        clients
    }
}

/// A connection over TCP or a unix socket.
struct Client(File);

impl Client {
    fn tcp(stream: &TcpStream) -> Self {
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        Self(File::from(OwnedFd::from(stream.try_clone().unwrap())))
    }

    fn unix(path: &Path) -> Self {
        let stream = UnixStream::connect(path).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        Self(File::from(OwnedFd::from(stream)))
    }

    fn has_no_response(&self) -> bool {
        let looked = rustix::net::recv(&self.0, &mut [0_u8; 1][..], RecvFlags::PEEK | RecvFlags::DONTWAIT);
        looked.is_err_and(|error| error == rustix::io::Errno::AGAIN)
    }

    /// Reads the response to the end of the connection, which must not be a reset.
    fn read_response(mut self, policy: &str) -> String {
        let mut answer = String::new();
        self.0.read_to_string(&mut answer).unwrap_or_else(|error| panic!("{policy}: {error} after {answer:?}"));
        answer
    }
}

#[tokio::test]
async fn clients_that_connect_before_the_gate_opens_are_served_afterwards() {
    for policy in POLICIES {
        let mut held = BlockedStart::while_installing(policy, |setup| setup);
        let clients = held.clients();
        if policy == "answer" {
            // A client that asks for readiness gets a response at once, even behind all waiting clients.
            eventually("the daemon to restore its handlers", async || {
                let reply = held.daemon.client().get("/v1/_ready").send().await;
                reply.error(503, "starting");
                assert!(reply.header("retry-after").is_some(), "{reply:?}");
                (reply.json()["error"]["phase"] == "installing").then_some(())
            })
            .await;
            held.daemon.unix_client().get("/_ping").send().await.error(503, "starting");
        }
        assert!(
            clients.iter().all(Client::has_no_response),
            "{policy}: a client got a response before the gate opened"
        );
        held.unblock();
        for client in clients {
            let answer = client.read_response(policy);
            assert!(answer.starts_with("HTTP/1.1 200 "), "{policy}: {answer:?}");
        }
        held.daemon.wait_for_line("ready").unwrap();
        let info = held.daemon.client().get("/info").send().await.json();
        // If the kernel does not report the number of waiting connections, the field is null.
        let at_opening = &info["connections"]["held_at_opening"];
        let all = |held: u64| match policy {
            "hold" => held == 2 * CLIENTS as u64,
            // The daemon may not have noticed the last connections by then.
            _ => (1..=2 * CLIENTS as u64).contains(&held),
        };
        assert!(at_opening.as_u64().map_or(at_opening.is_null(), all), "{policy}: {info}");
        let page = held.daemon.client().get("/metrics").send().await;
        let known = !info["connections"]["held"].is_null();
        assert_eq!(page.text().contains("\ncapstan_connections_held 0\n"), known, "{}", page.text());
        oracle::still_answers(&mut held.daemon).await;
    }
}

/// Checks that every client gets a 503 with this reason and an orderly end of its connection.
#[track_caller]
fn assert_all_rejected(clients: Vec<Client>, policy: &str, reason: &str) {
    for client in clients {
        let answer = client.read_response(policy);
        assert!(answer.starts_with("HTTP/1.1 503 "), "{policy}: {answer:?}");
        assert!(answer.contains("\"starting\"") && answer.contains(reason), "{policy}: {answer:?}");
    }
}

#[tokio::test]
async fn failed_startup_is_reported_to_waiting_clients() {
    for policy in POLICIES {
        let mut held = BlockedStart::before_a_failing_load(policy);
        let (clients, path) = (held.clients(), held.daemon.unix());
        held.unblock();
        assert_all_rejected(clients, policy, "artifacts");
        let refused = held.daemon.wait_for_line("ready").unwrap_err();
        assert_eq!(refused.status.code(), Some(1), "{refused:?}");
        assert!(refused.stderr.contains("artifacts"), "{refused:?}");
        assert!(!path.exists(), "the socket still exists after the daemon exited");
    }
}

#[tokio::test]
async fn hanging_startup_is_aborted_at_its_deadline() {
    for policy in POLICIES {
        let began = Instant::now();
        let mut held = BlockedStart::while_installing(policy, |setup| setup.config("[boot]\ndeadline = \"5s\""));
        let path = held.daemon.unix();
        assert_all_rejected(held.clients(), policy, "5s");
        let refused = held.daemon.wait_for_line("ready").unwrap_err();
        assert!(began.elapsed() >= Duration::from_secs(5), "{policy}: {:?}", began.elapsed());
        assert_eq!(refused.status.code(), Some(1), "{refused:?}");
        assert!(refused.stderr.contains("the start took longer than 5s and was in phase installing"), "{refused:?}");
        assert!(!path.exists(), "the socket still exists after the daemon exited");
    }
}

#[tokio::test]
async fn daemon_with_a_closed_gate_stops_on_a_signal() {
    for policy in POLICIES {
        let mut held = BlockedStart::while_installing(policy, |setup| setup);
        let clients = held.clients();
        held.daemon.signal(Signal::TERM);
        assert_all_rejected(clients, policy, "stops");
        assert_eq!(held.daemon.wait_exit().await.code(), Some(0), "{policy}: {}", held.daemon.log());
        assert!(!held.daemon.unix().exists(), "the socket still exists after the daemon exited");
    }
}

#[tokio::test]
async fn clients_that_disconnect_before_the_gate_opens_do_not_affect_others() {
    for policy in POLICIES {
        let held = BlockedStart::while_installing(policy, |setup| setup);
        let clients = held.clients();
        let mut stay = Vec::new();
        for (at, client) in clients.into_iter().enumerate() {
            // Half of the clients disconnect, some of them without closing the connection.
            match at % 4 {
                0 => drop(client),
                1 => rustix::net::shutdown(&client.0, rustix::net::Shutdown::Both).unwrap(),
                _ => stay.push(client),
            }
        }
        held.unblock();
        for client in stay {
            assert!(client.read_response(policy).starts_with("HTTP/1.1 200 "), "{policy}");
        }
    }
}

#[tokio::test]
async fn full_backlog_blocks_connections_and_is_served_afterwards() {
    let held = BlockedStart::while_installing("hold", |setup| setup.arg("--backlog").arg("2"));
    let path = held.daemon.unix();
    let mut clients: Vec<_> = (0..3).map(|_| Client::unix(&path)).collect();
    // The kernel accepts one connection more than the backlog. The next one would block.
    let socket = rustix::net::socket_with(
        rustix::net::AddressFamily::UNIX,
        rustix::net::SocketType::STREAM,
        rustix::net::SocketFlags::NONBLOCK | rustix::net::SocketFlags::CLOEXEC,
        None,
    )
    .unwrap();
    let address = rustix::net::SocketAddrUnix::new(&path).unwrap();
    assert_eq!(rustix::net::connect(&socket, &address), Err(rustix::io::Errno::AGAIN));
    held.unblock();
    for client in &mut clients {
        client.0.write_all(b"GET /_ping HTTP/1.0\r\n\r\n").unwrap();
    }
    for client in clients {
        assert!(client.read_response("hold").starts_with("HTTP/1.0 200 "));
    }
}

#[tokio::test]
async fn request_sent_completely_before_the_gate_opens_is_read_completely() {
    for policy in POLICIES {
        let held = BlockedStart::while_installing(policy, |setup| setup);
        let tcp = TcpStream::connect(held.daemon.addr()).unwrap();
        let mut client = Client::tcp(&tcp);
        client
            .0
            .write_all(b"PUT /v1/handlers/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello")
            .unwrap();
        tcp.shutdown(Shutdown::Write).unwrap();
        held.unblock();
        let answer = client.read_response(policy);
        assert!(answer.starts_with("HTTP/1.1 422 ") && answer.contains("invalid_module"), "{policy}: {answer}");
    }
}

#[test]
fn invalid_startup_flags_are_rejected() {
    for (flag, value) in
        [("--while-booting", "maybe"), ("--boot-deadline", "0"), ("--boot-deadline", "soon"), ("--backlog", "0")]
    {
        let refused = Setup::new(CAPSTAN).arg(flag).arg(value).start_must_fail();
        assert_eq!(refused.status.code(), Some(125), "{refused:?}");
        assert!(refused.stdout.is_empty(), "{refused:?}");
    }
}
