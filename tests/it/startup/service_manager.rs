//! The service manager protocol (`sd_notify`): startup progress, readiness, reloads, the watchdog and shutdown.

use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::time::{Duration, Instant};

use capstan_tests::tls::{self, Authority};
use capstan_tests::{Setup, TIMEOUT};
use rustix::process::Signal;

use crate::CAPSTAN;

/// A service manager that records the messages of the daemon.
struct Manager {
    socket: UnixDatagram,
    name: std::ffi::OsString,
}

impl Manager {
    fn with_socket_file(folder: &Path) -> Self {
        let path = folder.join("notify");
        Self { socket: UnixDatagram::bind(&path).unwrap(), name: path.into() }
    }

    fn with_abstract_socket() -> Self {
        let name = format!("capstan-manager-{}-{:?}", std::process::id(), Instant::now());
        let address = SocketAddr::from_abstract_name(name.as_bytes()).unwrap();
        Self { socket: UnixDatagram::bind_addr(&address).unwrap(), name: format!("@{name}").into() }
    }

    fn configure(&self, setup: Setup) -> Setup {
        setup.env("NOTIFY_SOCKET", &self.name)
    }

    /// Returns the next message.
    fn next_message(&self) -> String {
        let mut buffer = [0; 4096];
        self.socket.set_read_timeout(Some(TIMEOUT)).unwrap();
        let length = self.socket.recv(&mut buffer).expect("the daemon sends a message");
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    /// Returns all messages up to the one that starts with `last`.
    fn messages_until(&self, last: &str) -> Vec<String> {
        let mut messages = Vec::new();
        while !messages.last().is_some_and(|message: &String| message.starts_with(last)) {
            messages.push(self.next_message());
        }
        messages
    }
}

#[tokio::test]
async fn service_manager_gets_startup_phases_and_stopping() {
    for with_socket_file in [true, false] {
        let setup = Setup::new(CAPSTAN);
        let manager =
            if with_socket_file { Manager::with_socket_file(setup.folder()) } else { Manager::with_abstract_socket() };
        assert_eq!(manager.name.as_bytes()[0] == b'/', with_socket_file);
        let mut daemon = manager.configure(setup).arg("--boot-deadline").arg("90s").spawn();
        let messages = manager.messages_until("READY=1");
        let expected = [
            "EXTEND_TIMEOUT_USEC=90000000\nSTATUS=starting",
            "STATUS=starting: binding",
            "STATUS=starting: loading",
            "STATUS=starting: installing",
            "STATUS=starting: opening",
            "READY=1\nSTATUS=ready",
        ];
        assert_eq!(messages, expected);
        // When the message arrives, all listeners accept requests. The daemon may print its own line later.
        daemon.wait_for_line("listening on tcp://").unwrap();
        assert_eq!(daemon.client().get("/_ready").send().await.status, 200);
        daemon.signal(Signal::TERM);
        assert_eq!(
            manager.next_message(),
            "STOPPING=1\nSTATUS=SIGTERM: no new work is taken, and what runs may finish"
        );
        assert_eq!(daemon.wait_exit().await.code(), Some(0));
    }
}

#[test]
fn failed_startup_never_notifies_ready() {
    let setup = Setup::new(CAPSTAN);
    let manager = Manager::with_socket_file(setup.folder());
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let hosts = ["tcp://127.0.0.1:0".to_owned(), format!("tcp://{}", taken.local_addr().unwrap())];
    let refused = manager.configure(setup).hosts(hosts).start_must_fail();
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    let messages = manager.messages_until("STOPPING=1");
    assert!(messages.iter().all(|message| !message.contains("READY")), "{messages:?}");
    assert!(messages.last().unwrap().contains("in use"), "{messages:?}");
}

#[test]
fn early_startup_failure_is_notified_with_the_reason() {
    let setup = Setup::new(CAPSTAN);
    let manager = Manager::with_socket_file(setup.folder());
    std::fs::write(setup.folder().join("data"), "no folder").unwrap();
    let refused = manager.configure(setup).start_must_fail();
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    let messages = manager.messages_until("STOPPING=1");
    assert!(messages.last().unwrap().contains("cannot open data directory"), "{messages:?}");
}

fn monotonic_micros() -> i64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec * 1_000_000 + now.tv_nsec / 1000
}

#[tokio::test]
async fn reload_is_notified_with_its_result() {
    let ca = Authority::new("Test CA");
    let setup = Setup::new(CAPSTAN).tls(&ca.server());
    let key = setup.folder().join("own.key");
    let manager = Manager::with_socket_file(setup.folder());
    let daemon = manager.configure(setup).start();
    manager.messages_until("READY=1");
    let reload = || {
        let before = monotonic_micros();
        daemon.signal(Signal::HUP);
        let messages = manager.next_message();
        let at = messages
            .strip_prefix("RELOADING=1\nMONOTONIC_USEC=")
            .and_then(|rest| rest.strip_suffix("\nSTATUS=reloading"));
        let at: i64 = at.unwrap_or_else(|| panic!("{messages:?}")).parse().unwrap();
        assert!((before..=monotonic_micros()).contains(&at), "{messages:?}");
        manager.next_message()
    };
    assert_eq!(reload(), "READY=1\nSTATUS=ready");
    tls::write(key.parent().unwrap(), "own.key", "");
    assert_eq!(reload(), "READY=1\nSTATUS=ready; not all could be reloaded, see the log");
    ca.server().write(key.parent().unwrap(), "own");
    assert_eq!(reload(), "READY=1\nSTATUS=ready");
}

#[test]
fn watchdog_is_notified_at_the_requested_interval() {
    let setup = Setup::new(CAPSTAN);
    let manager = Manager::with_socket_file(setup.folder());
    let _daemon = manager.configure(setup).env("WATCHDOG_USEC", "400000").start();
    manager.messages_until("READY=1");
    let began = Instant::now();
    for _ in 0..10 {
        manager.messages_until("WATCHDOG=1");
    }
    // Ten messages take 2 s if they are on time. On a busy machine they are late, but they never arrive all at once.
    assert!(began.elapsed() >= Duration::from_millis(1500), "{:?}", began.elapsed());

    let setup = Setup::new(CAPSTAN);
    let manager = Manager::with_socket_file(setup.folder());
    let mut daemon = manager.configure(setup).env("WATCHDOG_USEC", "1000").env("WATCHDOG_PID", "1").start();
    daemon.signal(Signal::TERM);
    let messages = manager.messages_until("STOPPING=1");
    assert!(messages.iter().all(|message| !message.contains("WATCHDOG")), "{messages:?}");
    assert!(daemon.is_alive() || !daemon.unix().exists());
}

#[test]
fn missing_service_manager_is_ignored() {
    for name in ["/nowhere/notify", "@nobody-has-this-name", "notify", "vsock:2:9"] {
        let daemon = Setup::new(CAPSTAN).env("NOTIFY_SOCKET", name).start();
        assert_eq!(daemon.printed().last().unwrap(), "ready", "{name}");
    }
}
