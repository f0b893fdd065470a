//! Starting: what is bound and printed, and everything that a start must refuse without harm to others.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixListener;

use capstan_tests::{Address, Client, Daemon, Refused, Setup};
use rustix::process::Signal;

use crate::{CAPSTAN, oracle};

#[test]
fn a_daemon_prints_its_addresses_and_then_that_it_is_ready() {
    let daemon = Daemon::start(CAPSTAN);
    let [first, second, last] = daemon.printed() else { panic!("{:?}", daemon.printed()) };
    assert!(first.starts_with("listening on unix:///"), "{first}");
    assert!(second.starts_with("listening on tcp://127.0.0.1:") && !second.ends_with(":0"), "{second}");
    assert_eq!(last, "ready");
}

#[tokio::test]
async fn many_addresses_are_one_daemon() {
    let setup = Setup::new(CAPSTAN);
    let hosts: Vec<_> = (0..3).map(|number| format!("unix://{}/{number}.sock", setup.folder().display())).collect();
    let daemon = setup.hosts(hosts).start();
    for number in 0..3 {
        let client = Client::new(Address::Unix(daemon.setup().folder().join(format!("{number}.sock"))));
        assert_eq!(client.get("/v1/_ping").send().await.status, 200);
    }
}

#[tokio::test]
async fn the_socket_is_for_owner_and_group_and_gone_after_the_end() {
    let mut daemon = Daemon::start(CAPSTAN);
    let socket = daemon.unix();
    let metadata = fs::metadata(&socket).unwrap();
    assert!(metadata.file_type().is_socket());
    assert_eq!(metadata.permissions().mode() & 0o7777, 0o660);
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.wait_exit().await.code(), Some(0));
    assert!(!socket.exists(), "the socket outlived its daemon");
}

#[track_caller]
fn assert_refused(refused: &Refused, code: i32, because: &str) {
    assert_eq!(refused.status.code(), Some(code), "{refused:?}");
    assert!(refused.stderr.contains(because), "{because:?} is not told: {refused:?}");
    assert!(!refused.stderr.contains("panicked"), "{refused:?}");
    assert!(refused.stdout.iter().all(|line| line != "ready"), "{refused:?}");
}

#[tokio::test]
async fn a_data_folder_is_of_one_daemon() {
    let mut first = Daemon::start(CAPSTAN);
    let other = format!("unix://{}/other.sock", first.setup().folder().display());
    let refused = first.setup().hosts([other]).refused();
    assert_refused(&refused, 1, "data");
    assert!(!first.setup().folder().join("other.sock").exists(), "the second daemon left a socket");
    oracle::still_answers(&mut first).await;
}

#[tokio::test]
async fn a_data_folder_is_free_again_after_its_daemon() {
    let mut first = Daemon::start(CAPSTAN);
    first.signal(Signal::KILL);
    first.wait_exit().await;
    // Neither the lock nor the socket that the killed one left behind is in the way.
    assert!(first.unix().exists(), "a killed daemon cannot take its socket away");
    let mut second = first.setup().start();
    oracle::still_answers(&mut second).await;
    assert_eq!(second.unix_client().get("/v1/_ping").send().await.status, 200);
}

#[tokio::test]
async fn a_socket_that_nobody_listens_on_is_replaced() {
    let setup = Setup::new(CAPSTAN);
    drop(UnixListener::bind(setup.folder().join("s.sock")).unwrap());
    let daemon = setup.start();
    assert_eq!(daemon.unix_client().get("/v1/_ping").send().await.status, 200);
}

#[tokio::test]
async fn the_socket_of_a_live_daemon_is_not_taken() {
    let mut first = Daemon::start(CAPSTAN);
    let refused = first.setup().data(first.setup().folder().join("other")).refused();
    assert_refused(&refused, 1, "s.sock");
    oracle::still_answers(&mut first).await;
    assert_eq!(first.unix_client().get("/v1/_ping").send().await.status, 200, "its socket is still there");
}

#[test]
fn what_is_no_socket_is_not_removed() {
    let setup = Setup::new(CAPSTAN);
    let path = setup.folder().join("s.sock");
    fs::write(&path, "precious").unwrap();
    assert_refused(&setup.clone().refused(), 1, "s.sock");
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");

    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert_refused(&setup.clone().refused(), 1, "s.sock");
    assert!(path.is_dir());

    fs::remove_dir(&path).unwrap();
    let target = setup.folder().join("target");
    fs::write(&target, "precious").unwrap();
    std::os::unix::fs::symlink(&target, &path).unwrap();
    assert_refused(&setup.clone().refused(), 1, "s.sock");
    assert_eq!(fs::read_to_string(&target).unwrap(), "precious");
}

#[test]
fn a_port_in_use_is_told_and_leaves_no_socket_behind() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let setup = Setup::new(CAPSTAN);
    let socket = setup.folder().join("s.sock");
    let hosts = [format!("unix://{}", socket.display()), format!("tcp://{address}")];
    assert_refused(&setup.hosts(hosts).refused(), 1, &address);
    assert!(!socket.exists(), "a daemon that did not start left its socket");
}

#[test]
fn wrong_usage_is_told_with_exit_code_125() {
    let setup = || Setup::new(CAPSTAN);
    assert_refused(&setup().arg("--colour").refused(), 125, "--colour");
    assert_refused(&setup().arg("surplus").refused(), 125, "surplus");
    assert_refused(&setup().hosts(["ftp://127.0.0.1:1"]).refused(), 125, "ftp");
    assert_refused(&setup().hosts(["tcp://127.0.0.1"]).refused(), 125, "127.0.0.1");
    assert_refused(&setup().hosts(["unix://"]).refused(), 125, "unix");
    assert_refused(&setup().hosts(["/run/x.sock"]).refused(), 125, "/run/x.sock");
}

#[test]
fn a_bad_configuration_is_told_with_the_key() {
    for (toml, wrong) in [
        ("colour = 1", "colour"),
        ("[policy]\nmemroy = \"1MiB\"", "memroy"),
        ("[policy]\nmemory = \"lots\"", "lots"),
        ("[compile]\ntimeout = -1", "timeout"),
        ("grace = [1]", "grace"),
        ("hosts = \"x", "line 1"),
    ] {
        let setup = Setup::new(CAPSTAN);
        let refused = setup.config(toml).refused();
        assert_refused(&refused, 125, wrong);
        assert!(refused.stdout.is_empty(), "{toml:?} was found only after something was bound: {refused:?}");
    }
    let refused = Setup::new(CAPSTAN).arg("--config").arg("/nowhere/capstan.toml").refused();
    assert_refused(&refused, 125, "/nowhere/capstan.toml");
}

#[tokio::test]
async fn flags_win_over_the_configuration() {
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
fn tcp_beyond_loopback_needs_a_word() {
    let refused = Setup::new(CAPSTAN).hosts(["tcp://0.0.0.0:0"]).refused();
    assert_refused(&refused, 125, "--insecure-tcp");
    let daemon = Setup::new(CAPSTAN).hosts(["tcp://0.0.0.0:0"]).arg("--insecure-tcp").start();
    assert_ne!(daemon.addr().port(), 0);
}
