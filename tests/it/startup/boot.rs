//! Startup: what the daemon binds and prints, and the conditions in which it fails to start without affecting others.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixListener;

use capstan_tests::{Address, Client, Daemon, FailedStart, Setup};
use rustix::process::Signal;

use crate::{CAPSTAN, oracle};

#[test]
fn daemon_prints_its_addresses_and_then_ready() {
    let daemon = Daemon::start(CAPSTAN);
    let [first, second, last] = daemon.printed() else { panic!("{:?}", daemon.printed()) };
    assert!(first.starts_with("listening on unix:///"), "{first}");
    assert!(second.starts_with("listening on tcp://127.0.0.1:") && !second.ends_with(":0"), "{second}");
    assert_eq!(last, "ready");
}

#[tokio::test]
async fn daemon_listens_on_several_addresses() {
    let setup = Setup::new(CAPSTAN);
    let hosts: Vec<_> = (0..3).map(|number| format!("unix://{}/{number}.sock", setup.folder().display())).collect();
    let daemon = setup.hosts(hosts).start();
    for number in 0..3 {
        let client = Client::new(Address::Unix(daemon.setup().folder().join(format!("{number}.sock"))));
        assert_eq!(client.get("/v1/_ping").send().await.status, 200);
    }
}

#[tokio::test]
async fn socket_has_mode_0660_and_is_removed_at_exit() {
    let mut daemon = Daemon::start(CAPSTAN);
    let socket = daemon.unix();
    let metadata = fs::metadata(&socket).unwrap();
    assert!(metadata.file_type().is_socket());
    assert_eq!(metadata.permissions().mode() & 0o7777, 0o660);
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.wait_exit().await.code(), Some(0));
    assert!(!socket.exists(), "the socket still exists after the daemon exited");
}

#[track_caller]
fn assert_start_fails(refused: &FailedStart, code: i32, because: &str) {
    assert_eq!(refused.status.code(), Some(code), "{refused:?}");
    assert!(refused.stderr.contains(because), "{because:?} is missing: {refused:?}");
    assert!(!refused.stderr.contains("panicked"), "{refused:?}");
    assert!(refused.stdout.iter().all(|line| line != "ready"), "{refused:?}");
}

#[tokio::test]
async fn second_daemon_on_a_data_folder_fails_to_start() {
    let mut first = Daemon::start(CAPSTAN);
    let other = format!("unix://{}/other.sock", first.setup().folder().display());
    let refused = first.setup().hosts([other]).start_must_fail();
    assert_start_fails(&refused, 1, "data");
    assert!(!first.setup().folder().join("other.sock").exists(), "the socket of the second daemon exists");
    oracle::still_answers(&mut first).await;
}

#[tokio::test]
async fn data_folder_is_free_after_its_daemon_is_killed() {
    let mut first = Daemon::start(CAPSTAN);
    first.signal(Signal::KILL);
    first.wait_exit().await;
    // Neither the lock nor the socket of the killed daemon prevents the start.
    assert!(first.unix().exists(), "a killed daemon cannot remove its socket");
    let mut second = first.setup().start();
    oracle::still_answers(&mut second).await;
    assert_eq!(second.unix_client().get("/v1/_ping").send().await.status, 200);
}

#[tokio::test]
async fn stale_socket_is_replaced() {
    let setup = Setup::new(CAPSTAN);
    drop(UnixListener::bind(setup.folder().join("s.sock")).unwrap());
    let daemon = setup.start();
    assert_eq!(daemon.unix_client().get("/v1/_ping").send().await.status, 200);
}

#[tokio::test]
async fn socket_of_a_running_daemon_is_not_replaced() {
    let mut first = Daemon::start(CAPSTAN);
    let refused = first.setup().data(first.setup().folder().join("other")).start_must_fail();
    assert_start_fails(&refused, 1, "s.sock");
    oracle::still_answers(&mut first).await;
    assert_eq!(first.unix_client().get("/v1/_ping").send().await.status, 200, "its socket must still exist");
}

#[test]
fn file_that_is_not_a_socket_is_not_removed() {
    let setup = Setup::new(CAPSTAN);
    let path = setup.folder().join("s.sock");
    fs::write(&path, "precious").unwrap();
    assert_start_fails(&setup.clone().start_must_fail(), 1, "s.sock");
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");

    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert_start_fails(&setup.clone().start_must_fail(), 1, "s.sock");
    assert!(path.is_dir());

    fs::remove_dir(&path).unwrap();
    let target = setup.folder().join("target");
    fs::write(&target, "precious").unwrap();
    std::os::unix::fs::symlink(&target, &path).unwrap();
    assert_start_fails(&setup.clone().start_must_fail(), 1, "s.sock");
    assert_eq!(fs::read_to_string(&target).unwrap(), "precious");
}

#[test]
fn port_in_use_is_reported_and_leaves_no_socket() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let setup = Setup::new(CAPSTAN);
    let socket = setup.folder().join("s.sock");
    let hosts = [format!("unix://{}", socket.display()), format!("tcp://{address}")];
    assert_start_fails(&setup.hosts(hosts).start_must_fail(), 1, &address);
    assert!(!socket.exists(), "the socket still exists after the failed start");
}

#[test]
fn wrong_usage_exits_with_125() {
    let setup = || Setup::new(CAPSTAN);
    assert_start_fails(&setup().arg("--colour").start_must_fail(), 125, "--colour");
    assert_start_fails(&setup().arg("surplus").start_must_fail(), 125, "surplus");
    assert_start_fails(&setup().hosts(["ftp://127.0.0.1:1"]).start_must_fail(), 125, "ftp");
    assert_start_fails(&setup().hosts(["tcp://127.0.0.1"]).start_must_fail(), 125, "127.0.0.1");
    assert_start_fails(&setup().hosts(["unix://"]).start_must_fail(), 125, "unix");
    assert_start_fails(&setup().hosts(["/run/x.sock"]).start_must_fail(), 125, "/run/x.sock");
}

#[test]
fn invalid_configuration_is_reported_with_its_key() {
    for (toml, wrong) in [
        ("colour = 1", "colour"),
        ("[policy]\nmemroy = \"1MiB\"", "memroy"),
        ("[policy]\nmemory = \"lots\"", "lots"),
        ("[compile]\ntimeout = -1", "timeout"),
        ("grace = [1]", "grace"),
        ("hosts = \"x", "line 1"),
    ] {
        let setup = Setup::new(CAPSTAN);
        let refused = setup.config(toml).start_must_fail();
        assert_start_fails(&refused, 125, wrong);
        assert!(refused.stdout.is_empty(), "{toml:?} was found only after something was bound: {refused:?}");
    }
    let refused = Setup::new(CAPSTAN).arg("--config").arg("/nowhere/capstan.toml").start_must_fail();
    assert_start_fails(&refused, 125, "/nowhere/capstan.toml");
}

#[tokio::test]
async fn flags_override_the_configuration() {
    let setup = Setup::new(CAPSTAN);
    let toml = format!("hosts = [\"unix://{0}/file.sock\"]\ndata = \"{0}/from-file\"", setup.folder().display());
    let daemon = setup.config(&toml).start();
    assert!(!daemon.setup().folder().join("file.sock").exists());
    assert!(!daemon.setup().folder().join("from-file").exists());
    let from_file = daemon.setup().folder().join("file.sock");

    let daemon = Setup::new(CAPSTAN).hosts([] as [String; 0]).config(&toml).start();
    assert_eq!(daemon.unix(), from_file);
}

#[test]
fn tcp_beyond_loopback_requires_a_flag() {
    let refused = Setup::new(CAPSTAN).hosts(["tcp://0.0.0.0:0"]).start_must_fail();
    assert_start_fails(&refused, 125, "--insecure-tcp");
    let daemon = Setup::new(CAPSTAN).hosts(["tcp://0.0.0.0:0"]).arg("--insecure-tcp").start();
    assert_ne!(daemon.addr().port(), 0);
}
