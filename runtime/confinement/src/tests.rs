//! What is asked for and what rules come to; that the kernel keeps them, on threads and processes of the tests' own.

use std::collections::BTreeSet;
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::ExitStatusExt as _;
use std::process::Command;

use rustix::process::Signal;

use super::*;

#[test]
fn a_mode_is_one_of_three_words() {
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
    Rule { what: path.to_owned(), path: path.into(), access }
}

fn rules(paths: &[(&str, Access)]) -> Rules {
    Rules { paths: paths.iter().map(|(path, access)| rule(path, *access)).collect(), ..Rules::default() }
}

#[test]
fn what_lies_in_what_was_named_is_not_lacking_and_rights_add_up() {
    let held = rules(&[("/a", Access::READ), ("/a/b", Access::WRITE), ("/c", Access::READ_FILES)]);
    for (path, access) in [
        ("/a", Access::READ),
        ("/a/x/y", Access::READ),
        ("/a/x", Access::READ_FILES),
        ("/a/b/c", Access::WRITE),
        ("/a/b", Access::CHANGE_FILES),
        ("/c/d", Access::READ_FILES),
    ] {
        assert!(held.lacking(&rules(&[(path, access)])).is_empty(), "{path}");
    }
    for (path, access) in [
        ("/", Access::READ),
        ("/ab", Access::READ),
        ("/a", Access::WRITE),
        ("/a/bc", Access::CHANGE_FILES),
        ("/c", Access::READ),
        ("/a/b", Access::EXECUTE),
    ] {
        assert_eq!(held.lacking(&rules(&[(path, access), (path, access)])), [path].into());
    }
    let speaks = Rules { connects: true, ..held.clone() };
    assert_eq!(held.lacking(&speaks), [NETWORK].into());
    assert!(speaks.lacking(&held).is_empty());
}

/// What a thread that is bound to `rules` finds, which is told the level that binds it.
fn bound<T: Send + 'static>(rules: Rules, work: impl FnOnce(u8) -> T + Send + 'static) -> T {
    std::thread::spawn(move || work(landlock::restrict(&rules).0)).join().unwrap()
}

fn is_denied<T>(result: std::io::Result<T>) -> bool {
    result.is_err_and(|error| error.kind() == std::io::ErrorKind::PermissionDenied)
}

#[test]
fn what_is_not_named_is_not_to_be_had() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().canonicalize().unwrap();
    std::fs::create_dir(path.join("in")).unwrap();
    for file in ["in/file", "out"] {
        std::fs::write(path.join(file), "content").unwrap();
    }
    let named = Rules { paths: vec![rule(path.join("in").to_str().unwrap(), Access::READ)], ..Rules::default() };
    bound(named, move |level| {
        let is_bound = level > 0;
        assert_eq!(std::fs::read(path.join("in/file")).unwrap(), b"content");
        assert_eq!(std::fs::read_dir(path.join("in")).unwrap().count(), 1);
        assert_eq!(is_denied(std::fs::read(path.join("out"))), is_bound);
        assert_eq!(is_denied(std::fs::write(path.join("in/file"), "more")), is_bound);
        assert_eq!(is_denied(std::fs::write(path.join("in/new"), "more")), is_bound);
        assert_eq!(is_denied(std::fs::remove_file(path.join("in/file"))), is_bound);
        assert_eq!(is_denied(Command::new("/bin/true").status()), is_bound);
    });
}

#[test]
fn tcp_is_bound_and_connected_as_named() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let there = listener.local_addr().unwrap();
    for connects in [true, false] {
        let ports = if connects { [0].into() } else { BTreeSet::new() };
        bound(Rules { ports, connects, ..Rules::default() }, move |level| {
            let is_denied_both = [is_denied(TcpListener::bind("127.0.0.1:0")), is_denied(TcpStream::connect(there))];
            assert_eq!(is_denied_both, [level >= 4 && !connects; 2]);
        });
    }
}

/// The variable by which the test below finds that it is the process to be ended.
const FILTERED: &str = "CAPSTAN_TEST_FILTERED";

#[test]
fn any_other_system_call_ends_the_process() {
    if std::env::var_os(FILTERED).is_some() {
        seccomp::allow(seccomp::COMPILER).unwrap();
        let _ = std::fs::read("/proc/self/status");
        return;
    }
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "tests::any_other_system_call_ends_the_process", "--test-threads=1"])
        .env(FILTERED, "1")
        .output()
        .unwrap();
    assert_eq!(child.status.signal(), Some(Signal::SYS.as_raw()), "{child:?}");
}
