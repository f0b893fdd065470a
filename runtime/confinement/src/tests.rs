//! Tests of modes and rules, and of their enforcement by the kernel, in separate threads and processes.

use std::collections::BTreeSet;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::process::ExitStatusExt as _;
use std::process::Command;

use rustix::process::Signal;

use super::*;
use crate::{landlock, seccomp};

#[test]
fn mode_parses_three_words_and_suggests_the_nearest() {
    for (text, mode) in [("off", Mode::Off), ("best", Mode::Best), ("strict", Mode::Strict)] {
        assert_eq!(text.parse(), Ok(mode));
        assert_eq!(serde_json::to_string(&mode).unwrap(), format!("{text:?}"));
    }
    for (text, nearest) in [("strikt", Some("strict")), ("of", Some("off")), ("BEST", None), ("", None)] {
        let error = text.parse::<Mode>().unwrap_err();
        assert_eq!(error.nearest, nearest, "{text}");
        assert!(error.to_string().contains("off, best or strict"), "{error}");
    }
}

fn rule(path: &str, access: Access) -> Rule {
    Rule { purpose: path.to_owned(), path: path.into(), access }
}

fn rules(paths: &[(&str, Access)]) -> Rules {
    Rules { paths: paths.iter().map(|(path, access)| rule(path, *access)).collect(), ..Rules::default() }
}

#[test]
fn missing_reports_only_paths_without_sufficient_access() {
    let held = rules(&[("/a", Access::READ), ("/a/b", Access::WRITE), ("/c", Access::READ_FILES)]);
    for (path, access) in [
        ("/a", Access::READ),
        ("/a/x/y", Access::READ),
        ("/a/x", Access::READ_FILES),
        ("/a/b/c", Access::WRITE),
        ("/a/b", Access::CHANGE_FILES),
        ("/c/d", Access::READ_FILES),
    ] {
        assert!(held.missing(&rules(&[(path, access)])).is_empty(), "{path}");
    }
    for (path, access) in [
        ("/", Access::READ),
        ("/ab", Access::READ),
        ("/a", Access::WRITE),
        ("/a/bc", Access::CHANGE_FILES),
        ("/c", Access::READ),
        ("/a/b", Access::EXECUTE),
    ] {
        assert_eq!(held.missing(&rules(&[(path, access), (path, access)])), [path].into());
    }
    let with_network = Rules { allows_tcp_connect: true, ..held.clone() };
    assert_eq!(held.missing(&with_network), [NETWORK].into());
    assert!(with_network.missing(&held).is_empty());
}

/// Runs `work` in a thread that is restricted to `rules`, with the level that applies.
fn run_restricted<T: Send + 'static>(rules: Rules, work: impl FnOnce(u8) -> T + Send + 'static) -> T {
    std::thread::spawn(move || work(landlock::restrict(&rules).0)).join().unwrap()
}

fn is_denied<T>(result: std::io::Result<T>) -> bool {
    result.is_err_and(|error| error.kind() == std::io::ErrorKind::PermissionDenied)
}

#[test]
fn restricted_thread_can_use_only_allowed_paths() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().canonicalize().unwrap();
    std::fs::create_dir(path.join("in")).unwrap();
    for file in ["in/file", "out"] {
        std::fs::write(path.join(file), "content").unwrap();
    }
    let allowed = Rules { paths: vec![rule(path.join("in").to_str().unwrap(), Access::READ)], ..Rules::default() };
    run_restricted(allowed, move |level| {
        let is_restricted = level > 0;
        assert_eq!(std::fs::read(path.join("in/file")).unwrap(), b"content");
        assert_eq!(std::fs::read_dir(path.join("in")).unwrap().count(), 1);
        assert_eq!(is_denied(std::fs::read(path.join("out"))), is_restricted);
        assert_eq!(is_denied(std::fs::write(path.join("in/file"), "more")), is_restricted);
        assert_eq!(is_denied(std::fs::write(path.join("in/new"), "more")), is_restricted);
        assert_eq!(is_denied(std::fs::remove_file(path.join("in/file"))), is_restricted);
        assert_eq!(is_denied(Command::new("/bin/true").status()), is_restricted);
    });
}

#[test]
fn restricted_thread_can_use_tcp_only_as_allowed() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    for allows_tcp_connect in [true, false] {
        let ports = if allows_tcp_connect { [0].into() } else { BTreeSet::new() };
        run_restricted(Rules { ports, allows_tcp_connect, ..Rules::default() }, move |level| {
            let are_denied = [is_denied(TcpListener::bind("127.0.0.1:0")), is_denied(TcpStream::connect(address))];
            assert_eq!(are_denied, [level >= 4 && !allows_tcp_connect; 2]);
        });
    }
}

#[test]
fn restricted_thread_connects_to_the_listed_ports_only() {
    let (listed, other) = (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
    let (listed, other) = (listed.local_addr().unwrap(), other.local_addr().unwrap());
    let connect_ports = [listed.port()].into();
    run_restricted(Rules { connect_ports, ..Rules::default() }, move |level| {
        assert!(!is_denied(TcpStream::connect(listed)));
        assert_eq!(is_denied(TcpStream::connect(other)), level >= 4);
    });
}

/// The variable that tells the test below that it runs in the process to be killed.
const FILTERED: &str = "CAPSTAN_TEST_FILTERED";

#[test]
fn syscall_that_is_not_allowed_kills_the_process() {
    if std::env::var_os(FILTERED).is_some() {
        seccomp::allow_only(seccomp::COMPILER).unwrap();
        assert_eq!(std::fs::read("/proc/self/status").unwrap_err().raw_os_error(), Some(libc::EACCES));
        let _ = UdpSocket::bind("127.0.0.1:0");
        return;
    }
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "tests::syscall_that_is_not_allowed_kills_the_process", "--test-threads=1"])
        .env(FILTERED, "1")
        .output()
        .unwrap();
    assert_eq!(child.status.signal(), Some(Signal::SYS.as_raw()), "{child:?}");
}
