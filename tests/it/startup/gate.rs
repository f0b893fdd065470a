//! The gate, with a start that is held up: who connects before it opens is answered after, or ends cleanly where it never does.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use capstan_tests::{Daemon, PATIENCE, Setup, eventually};
use rustix::fs::{CWD, FileType, Mode};
use rustix::net::RecvFlags;
use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};

use crate::{CAPSTAN, oracle};

/// Clients on each of two listeners.
const CLIENTS: usize = 500;
const POLICIES: [&str; 2] = ["hold", "answer"];

/// A daemon that listens, and whose start waits for a file of its data folder that is a pipe.
pub(crate) struct Held {
    pub(crate) daemon: Daemon,
    pipe: PathBuf,
}

impl Held {
    /// While it puts back the handlers that were kept.
    fn installing(policy: &str, more: impl FnOnce(Setup) -> Setup) -> Self {
        Self::at("handlers", "waits", policy, more)
    }

    /// While it reads its key; after that it fails, for there is a file where a folder should be.
    fn loading_in_vain(policy: &str) -> Self {
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

    /// Lets the start go on.
    pub(crate) fn let_go(&self) {
        // Opening waits until the daemon reads, which is how it is known to have got there.
        OpenOptions::new().write(true).open(&self.pipe).unwrap().write_all(&[7; 32]).unwrap();
    }

    /// As many clients on each listener, each with a request.
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

/// A connection of either kind.
struct Client(File);

impl Client {
    fn tcp(stream: &TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(File::from(OwnedFd::from(stream.try_clone().unwrap())))
    }

    fn unix(path: &Path) -> Self {
        let stream = UnixStream::connect(path).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(File::from(OwnedFd::from(stream)))
    }

    fn has_heard_nothing(&self) -> bool {
        let looked = rustix::net::recv(&self.0, &mut [0_u8; 1][..], RecvFlags::PEEK | RecvFlags::DONTWAIT);
        looked.is_err_and(|error| error == rustix::io::Errno::AGAIN)
    }

    /// What is answered until the end, which must be a regular one.
    fn answer(mut self, policy: &str) -> String {
        let mut answer = String::new();
        self.0.read_to_string(&mut answer).unwrap_or_else(|error| panic!("{policy}: {error} after {answer:?}"));
        answer
    }
}

#[tokio::test]
async fn a_thousand_clients_who_come_before_the_gate_opens_are_answered_after_it_and_none_before() {
    for policy in POLICIES {
        let mut held = Held::installing(policy, |setup| setup);
        let clients = held.clients();
        if policy == "answer" {
            // Whoever asks how it goes is answered at once, behind all those who wait.
            eventually("the handlers to be put back", async || {
                let reply = held.daemon.client().get("/v1/_ready").send().await;
                reply.error(503, "starting");
                assert!(reply.header("retry-after").is_some(), "{reply:?}");
                (reply.json()["error"]["phase"] == "installing").then_some(())
            })
            .await;
            held.daemon.unix_client().get("/_ping").send().await.error(503, "starting");
        }
        assert!(clients.iter().all(Client::has_heard_nothing), "{policy}: somebody was answered before");
        held.let_go();
        for client in clients {
            let answer = client.answer(policy);
            assert!(answer.starts_with("HTTP/1.1 200 "), "{policy}: {answer:?}");
        }
        held.daemon.wait_for_line("ready").unwrap();
        let info = held.daemon.client().get("/info").send().await.json();
        // Where the kernel does not tell how many it holds, nothing is made up.
        let at_opening = &info["connections"]["held_at_opening"];
        let all = |held: u64| match policy {
            "hold" => held == 2 * CLIENTS as u64,
            // Of those who came last, some may not have been heard by then.
            _ => (1..=2 * CLIENTS as u64).contains(&held),
        };
        assert!(at_opening.as_u64().map_or(at_opening.is_null(), all), "{policy}: {info}");
        let page = held.daemon.client().get("/metrics").send().await;
        let known = !info["connections"]["held"].is_null();
        assert_eq!(page.text().contains("\ncapstan_connections_held 0\n"), known, "{}", page.text());
        oracle::still_answers(&mut held.daemon).await;
    }
}

/// Every client is told with 503 and this reason, and its connection ends as it should.
#[track_caller]
fn assert_told(clients: Vec<Client>, policy: &str, reason: &str) {
    for client in clients {
        let answer = client.answer(policy);
        assert!(answer.starts_with("HTTP/1.1 503 "), "{policy}: {answer:?}");
        assert!(answer.contains("\"starting\"") && answer.contains(reason), "{policy}: {answer:?}");
    }
}

#[tokio::test]
async fn a_start_that_fails_is_told_to_all_who_were_held() {
    for policy in POLICIES {
        let mut held = Held::loading_in_vain(policy);
        let (clients, path) = (held.clients(), held.daemon.unix());
        held.let_go();
        assert_told(clients, policy, "artifacts");
        let refused = held.daemon.wait_for_line("ready").unwrap_err();
        assert_eq!(refused.status.code(), Some(1), "{refused:?}");
        assert!(refused.stderr.contains("artifacts"), "{refused:?}");
        assert!(!path.exists(), "the socket outlived its daemon");
    }
}

#[tokio::test]
async fn a_start_that_hangs_is_given_up_at_its_deadline() {
    for policy in POLICIES {
        let began = Instant::now();
        let mut held = Held::installing(policy, |setup| setup.config("[boot]\ndeadline = \"5s\""));
        let path = held.daemon.unix();
        assert_told(held.clients(), policy, "5s");
        let refused = held.daemon.wait_for_line("ready").unwrap_err();
        assert!(began.elapsed() >= Duration::from_secs(5), "{policy}: {:?}", began.elapsed());
        assert_eq!(refused.status.code(), Some(1), "{refused:?}");
        assert!(refused.stderr.contains("not over within 5s; it was still installing"), "{refused:?}");
        assert!(!path.exists(), "the socket outlived its daemon");
    }
}

#[tokio::test]
async fn a_daemon_whose_gate_is_shut_stops_when_it_is_told_to() {
    for policy in POLICIES {
        let mut held = Held::installing(policy, |setup| setup);
        let clients = held.clients();
        held.daemon.signal(Signal::TERM);
        assert_told(clients, policy, "stops");
        assert_eq!(held.daemon.wait_exit().await.code(), Some(0), "{policy}: {}", held.daemon.log());
        assert!(!held.daemon.unix().exists(), "the socket outlived its daemon");
    }
}

#[tokio::test]
async fn those_who_left_before_the_gate_opens_cost_the_others_nothing() {
    for policy in POLICIES {
        let held = Held::installing(policy, |setup| setup);
        let clients = held.clients();
        let mut stay = Vec::new();
        for (at, client) in clients.into_iter().enumerate() {
            // Half of them leave, some without having said goodbye.
            match at % 4 {
                0 => drop(client),
                1 => rustix::net::shutdown(&client.0, rustix::net::Shutdown::Both).unwrap(),
                _ => stay.push(client),
            }
        }
        held.let_go();
        for client in stay {
            assert!(client.answer(policy).starts_with("HTTP/1.1 200 "), "{policy}");
        }
    }
}

#[tokio::test]
async fn a_backlog_that_is_full_lets_nobody_in_and_is_worked_off() {
    let held = Held::installing("hold", |setup| setup.arg("--backlog").arg("2"));
    let path = held.daemon.unix();
    let mut clients: Vec<_> = (0..3).map(|_| Client::unix(&path)).collect();
    // The kernel takes one more than it is told to; the next does not get in without waiting.
    let socket = rustix::net::socket_with(
        rustix::net::AddressFamily::UNIX,
        rustix::net::SocketType::STREAM,
        rustix::net::SocketFlags::NONBLOCK | rustix::net::SocketFlags::CLOEXEC,
        None,
    )
    .unwrap();
    let address = rustix::net::SocketAddrUnix::new(&path).unwrap();
    assert_eq!(rustix::net::connect(&socket, &address), Err(rustix::io::Errno::AGAIN));
    held.let_go();
    for client in &mut clients {
        client.0.write_all(b"GET /_ping HTTP/1.0\r\n\r\n").unwrap();
    }
    for client in clients {
        assert!(client.answer("hold").starts_with("HTTP/1.0 200 "));
    }
}

#[tokio::test]
async fn a_request_is_read_whole_though_its_client_has_said_all_before_the_gate_opens() {
    for policy in POLICIES {
        let held = Held::installing(policy, |setup| setup);
        let tcp = TcpStream::connect(held.daemon.addr()).unwrap();
        let mut client = Client::tcp(&tcp);
        client
            .0
            .write_all(b"PUT /v1/handlers/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello")
            .unwrap();
        tcp.shutdown(Shutdown::Write).unwrap();
        held.let_go();
        let answer = client.answer(policy);
        assert!(answer.starts_with("HTTP/1.1 422 ") && answer.contains("invalid_module"), "{policy}: {answer}");
    }
}

#[test]
fn what_is_no_start_is_refused() {
    for (flag, value) in
        [("--while-booting", "maybe"), ("--boot-deadline", "0"), ("--boot-deadline", "soon"), ("--backlog", "0")]
    {
        let refused = Setup::new(CAPSTAN).arg(flag).arg(value).refused();
        assert_eq!(refused.status.code(), Some(125), "{refused:?}");
        assert!(refused.stdout.is_empty(), "{refused:?}");
    }
}
