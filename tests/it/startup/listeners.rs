//! Listeners: sockets that the daemon binds itself, and sockets that were passed to it.

use std::fs::{self, File};
use std::net::{Ipv6Addr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::{Path, PathBuf};

use capstan_tests::{Address, Client, Daemon, FailedStart, Raw, Setup};
use rustix::process::Signal;

use crate::{CAPSTAN, oracle};

/// A TCP listener on a free port and a unix listener, bound like a service manager does.
struct Bound {
    tcp: TcpListener,
    unix: UnixListener,
    path: PathBuf,
}

fn bound(setup: &Setup) -> Bound {
    let path = setup.folder().join("passed.sock");
    Bound { tcp: TcpListener::bind("127.0.0.1:0").unwrap(), unix: UnixListener::bind(&path).unwrap(), path }
}

impl Bound {
    fn passed_to(&self, setup: Setup) -> Setup {
        setup.pass("api", self.tcp.try_clone().unwrap()).pass("local", self.unix.try_clone().unwrap())
    }

    fn clients(&self) -> [Client; 2] {
        let tcp = Client::new(Address::Tcp(self.tcp.local_addr().unwrap()));
        [tcp, Client::new(Address::Unix(self.path.clone()))]
    }
}

/// Creates settings for a daemon that listens only on these hosts, with both sockets passed to it.
fn setup_with_passed_sockets(hosts: &[&str]) -> (Bound, Setup) {
    let setup = Setup::new(CAPSTAN).hosts(hosts.iter().copied());
    let bound = bound(&setup);
    let setup = bound.passed_to(setup);
    (bound, setup)
}

#[tokio::test]
async fn passed_sockets_are_selected_by_number_or_name() {
    for hosts in
        [&["fd://"][..], &["fd://*"], &["fd://3", "fd://4"], &["fd://local", "fd://3"], &["fd://api", "fd://local"]]
    {
        let (bound, setup) = setup_with_passed_sockets(hosts);
        let mut daemon = setup.start();
        assert_eq!(daemon.printed().len(), 3, "{:?}", daemon.printed());
        assert_eq!((daemon.addr(), daemon.unix()), (bound.tcp.local_addr().unwrap(), bound.path.clone()));
        for client in bound.clients() {
            assert_eq!(client.get("/_ping").send().await.status, 200, "{hosts:?}");
        }
        oracle::still_answers(&mut daemon).await;
    }
}

#[tokio::test]
async fn client_that_connects_before_the_daemon_starts_is_served() {
    let (bound, setup) = setup_with_passed_sockets(&["fd://"]);
    let [tcp, _] = bound.clients();
    let mut early = Raw::try_connect(tcp.address()).await.unwrap();
    early.write("GET /_ping HTTP/1.1\r\nHost: {host}\r\n\r\n").await;
    let _daemon = setup.start();
    assert_eq!(early.status().await, 200);
}

#[tokio::test]
async fn passed_socket_is_unchanged_after_exit_and_serves_the_next_daemon() {
    let (bound, setup) = setup_with_passed_sockets(&["fd://"]);
    fs::set_permissions(&bound.path, fs::Permissions::from_mode(0o604)).unwrap();
    let state = |path: &Path| {
        let metadata = fs::symlink_metadata(path).unwrap();
        (metadata.ino(), metadata.mode(), metadata.gid())
    };
    let before = state(&bound.path);
    for _ in 0..2 {
        let mut daemon = setup.clone().arg("--socket-mode").arg("0600").start();
        assert_eq!(state(&bound.path), before, "a passed socket was changed");
        daemon.signal(Signal::TERM);
        assert_eq!(daemon.wait_exit().await.code(), Some(0));
        assert_eq!(state(&bound.path), before, "a passed socket was removed");
    }
}

/// Returns the open sockets of a process by inode, and whether children would inherit them.
fn open_sockets(daemon: &Daemon) -> Vec<(u64, bool)> {
    let process = PathBuf::from(format!("/proc/{}", daemon.pid()));
    let numbers = fs::read_dir(process.join("fd")).unwrap().map(|entry| entry.unwrap().file_name());
    let open = |number: std::ffi::OsString| {
        let link = fs::read_link(process.join("fd").join(&number)).ok()?;
        let inode = link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()?;
        let info = fs::read_to_string(process.join("fdinfo").join(&number)).ok()?;
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).unwrap().trim().to_owned();
        Some((inode, u32::from_str_radix(&flags, 8).unwrap() & 0o2_000_000 == 0))
    };
    numbers.filter_map(open).collect()
}

#[tokio::test]
async fn unused_passed_descriptors_are_closed_and_used_ones_are_not_inherited() {
    let (bound, setup) = setup_with_passed_sockets(&["fd://local"]);
    let inode = |socket: &OwnedFd| rustix::fs::fstat(socket).unwrap().st_ino;
    let (tcp, unix) = (OwnedFd::from(bound.tcp), OwnedFd::from(bound.unix));
    let (spare, used) = (inode(&tcp), inode(&unix));
    let daemon = setup.pass("junk", File::open("/dev/null").unwrap()).start();
    let open = open_sockets(&daemon);
    assert!(open.contains(&(used, false)), "{open:?} has no {used} that is closed in children");
    assert!(open.iter().all(|(socket, _)| *socket != spare), "{open:?} still has {spare}");
    assert!(open.iter().all(|(_, for_children)| !for_children), "{open:?}");
    daemon.until_logged(&["3 (api), 5 (junk)"]).await;
}

#[track_caller]
fn assert_start_fails(refused: &FailedStart, code: i32, because: &[&str]) {
    assert_eq!(refused.status.code(), Some(code), "{refused:?}");
    for because in because {
        assert!(refused.stderr.contains(because), "{because:?} is missing: {refused:?}");
    }
    assert!(!refused.stderr.contains("panicked") && refused.stdout.is_empty(), "{refused:?}");
}

#[test]
fn unknown_passed_socket_is_rejected() {
    let refused = |host: &str| setup_with_passed_sockets(&[host]).1.start_must_fail();
    assert_start_fails(&refused("fd://foo"), 1, &["fd://foo", "\"foo\"", "3 (api), 4 (local)"]);
    assert_start_fails(&refused("fd://5"), 1, &["5 was not passed", "3 (api), 4 (local)"]);
    for host in ["fd://2", "fd://0", "fd://99999999999", "fd://a:b"] {
        assert_start_fails(&refused(host), 125, &[host]);
    }
    for host in ["fd://", "fd://3", "fd://api"] {
        assert_start_fails(&Setup::new(CAPSTAN).hosts([host]).start_must_fail(), 1, &[host, "LISTEN_FDS is not set"]);
    }
    let (_bound, setup) = setup_with_passed_sockets(&["fd://api", "fd://3"]);
    assert_start_fails(&setup.start_must_fail(), 1, &["fd://3", "another -H"]);
}

#[test]
fn invalid_listen_variables_are_rejected() {
    let said = |name: &str, value: &str| {
        let (_bound, setup) = setup_with_passed_sockets(&["fd://"]);
        setup.env(name, value).start_must_fail()
    };
    assert_start_fails(&said("LISTEN_PID", "1"), 1, &["process 1", "LISTEN_PID"]);
    for pid in ["", "me", "+1", "99999999999"] {
        assert_start_fails(&said("LISTEN_PID", pid), 1, &["LISTEN_PID"]);
    }
    for count in ["", "two", "-1", "+2", "1025", "99999999999"] {
        assert_start_fails(&said("LISTEN_FDS", count), 1, &["LISTEN_FDS"]);
    }
    // More names than sockets, more sockets than names, and a larger count than there are descriptors.
    assert_start_fails(&said("LISTEN_FDNAMES", "a:b:c"), 1, &["LISTEN_FDNAMES names 3", "LISTEN_FDS passes 2"]);
    assert_start_fails(&said("LISTEN_FDNAMES", "a"), 1, &["LISTEN_FDNAMES names 1", "LISTEN_FDS passes 2"]);
    let (_bound, setup) = setup_with_passed_sockets(&["fd://"]);
    let refused = setup.env("LISTEN_FDS", "3").env("LISTEN_FDNAMES", "a:b:c").start_must_fail();
    assert_start_fails(&refused, 1, &["LISTEN_FDS passes 3", "5 is not open"]);
}

#[test]
fn passed_descriptor_that_is_not_a_listener_is_rejected() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |passed: OwnedFd| Setup::new(CAPSTAN).hosts(["fd://it"]).pass("it", passed).start_must_fail();
    assert_start_fails(&refused(File::open("/dev/null").unwrap().into()), 1, &["3 (it)", "is not a socket"]);
    assert_start_fails(
        &refused(UdpSocket::bind("127.0.0.1:0").unwrap().into()),
        1,
        &["3 (it)", "is not a stream socket"],
    );
    let datagram = UnixDatagram::bind(folder.path().join("d")).unwrap();
    assert_start_fails(&refused(datagram.into()), 1, &["3 (it)", "is not a stream socket"]);
    let (one, _other) = std::os::unix::net::UnixStream::pair().unwrap();
    assert_start_fails(&refused(one.into()), 1, &["3 (it)", "does not listen"]);
    // The daemon serves this address, no matter who bound it.
    assert_start_fails(&refused(TcpListener::bind("0.0.0.0:0").unwrap().into()), 125, &["--insecure-tcp"]);
}

#[test]
fn listen_variables_of_another_process_are_ignored_without_fd_hosts() {
    for (name, value) in [("LISTEN_PID", "1"), ("LISTEN_FDS", "nonsense")] {
        let daemon = Setup::new(CAPSTAN).env("LISTEN_FDS", "1").env(name, value).start();
        assert_eq!(daemon.printed().len(), 3, "{:?}", daemon.printed());
    }
}

#[test]
fn failed_bind_releases_all_other_addresses() {
    let (bound, setup) = setup_with_passed_sockets(&[]);
    let own = setup.folder().join("own.sock");
    let hosts = [format!("unix://{}", own.display()), "fd://api".into(), "fd://foo".into()];
    let refused = setup.clone().hosts(hosts).start_must_fail();
    assert_start_fails(&refused, 1, &["fd://foo"]);
    assert!(!own.exists(), "the socket still exists after the failed start");
    assert!(bound.path.exists(), "a passed socket was removed");
}

#[test]
fn invalid_or_duplicate_addresses_are_rejected_before_binding() {
    let refused = |hosts: &[&str]| Setup::new(CAPSTAN).hosts(hosts.iter().copied()).start_must_fail();
    for host in [
        "",
        "tcp://",
        "tcp://::1:80",
        "tcp://[::1]",
        "tcp://[::1:80",
        "tcp://localhost:http",
        "tcp://h:65536",
        "unix:/s",
        "udp://127.0.0.1:1",
        "unix:///tmp/",
        "http://127.0.0.1:80",
        "tcp://u@h:80",
    ] {
        assert_start_fails(&refused(&[host]), 125, &["is not an address"]);
    }
    for host in ["unix:///tmp/capstan-twice.sock", "tcp://127.0.0.1:9", "fd://", "fd://x"] {
        assert_start_fails(&refused(&[host, "tcp://127.0.0.1:0", host]), 125, &[host.trim_end_matches('/'), "twice"]);
    }
    assert!(!Path::new("/tmp/capstan-twice.sock").exists());
    // The same socket under another name is detected when it is bound.
    let setup = Setup::new(CAPSTAN);
    let folder = setup.folder().display().to_string();
    let around = setup.folder().join("..").join(setup.folder().file_name().unwrap()).join("s");
    let refused = setup.hosts([format!("unix://{folder}/s"), format!("unix://{}", around.display())]).start_must_fail();
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert!(refused.stderr.contains("somebody listens there already"), "{refused:?}");
}

#[test]
fn unusable_socket_path_is_reported() {
    let setup = Setup::new(CAPSTAN);
    let path = setup.folder().join("n".repeat(300));
    let host = format!("unix://{}", path.display());
    assert_start_fails(&setup.hosts([host]).start_must_fail(), 1, &["too long"]);
    let setup = Setup::new(CAPSTAN);
    let host = format!("unix://{}/nowhere/s.sock", setup.folder().display());
    assert_start_fails(&setup.hosts([host]).start_must_fail(), 1, &["nowhere"]);
}

#[tokio::test]
async fn daemon_listens_on_ipv6() {
    if TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_err() {
        eprintln!("this machine has no IPv6: nothing was tested");
        return;
    }
    let daemon = Setup::new(CAPSTAN).hosts(["tcp://[::1]:0"]).start();
    assert!(daemon.addr().is_ipv6());
    assert_eq!(daemon.client().get("/_ping").send().await.status, 200);
}

fn mode_and_group(path: &Path) -> (u32, u32) {
    let metadata = fs::metadata(path).unwrap();
    (metadata.permissions().mode() & 0o7777, metadata.gid())
}

#[tokio::test]
async fn socket_has_the_configured_mode_and_group() {
    let own = rustix::process::getegid().as_raw();
    let daemon = Setup::new(CAPSTAN).arg("--socket-mode").arg("0600").start();
    assert_eq!(mode_and_group(&daemon.unix()), (0o600, own));
    // Without root privileges the group must be one of the user's own.
    let group = if rustix::process::geteuid().is_root() { 4242 } else { own };
    let toml = format!("[listen]\nsocket_mode = \"0666\"\nsocket_group = \"{group}\"");
    let daemon = Setup::new(CAPSTAN).config(&toml).start();
    assert_eq!(mode_and_group(&daemon.unix()), (0o666, group));
    daemon.until_logged(&["everyone on this machine"]).await;
    let daemon =
        Setup::new(CAPSTAN).config(&toml).arg("--socket-mode").arg("0640").arg("-G").arg(own.to_string()).start();
    assert_eq!(mode_and_group(&daemon.unix()), (0o640, own), "a flag overrides the file");
}

#[test]
fn invalid_socket_mode_or_group_is_rejected_before_binding() {
    for (flag, value) in [
        ("-G", "no-such-group-here"),
        ("--socket-group", ""),
        ("--socket-group", "4294967295"),
        ("--socket-mode", "rw"),
        ("--socket-mode", "1777"),
        ("--socket-mode", "888"),
    ] {
        let refused = Setup::new(CAPSTAN).arg(flag).arg(value).start_must_fail();
        assert_start_fails(&refused, 125, &[&format!("{value:?}")]);
    }
    let refused = Setup::new(CAPSTAN).config("[listen]\nsocket_group = \"no-such-group-here\"").start_must_fail();
    assert_start_fails(&refused, 125, &["no-such-group-here"]);
}
