//! Tests of `bind` and `Listener`: which sockets are created, which are rejected, and which are left alone.

#![expect(clippy::disallowed_methods, reason = "tests create the files that occupy the path")]

use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;

async fn bind(addresses: &[Address], options: Options) -> Result<Vec<Listener>, BindError> {
    let hosts: Vec<_> = addresses.iter().cloned().map(Host::Bind).collect();
    super::bind(&hosts, options, None, &InheritedSockets::none()).await
}

/// A path for a unix socket, in a directory of its own.
struct SocketPath {
    directory: TempDir,
    path: PathBuf,
}

fn socket_path() -> SocketPath {
    let directory = tempfile::tempdir().unwrap();
    SocketPath { path: directory.path().join("s.sock"), directory }
}

impl SocketPath {
    fn address(&self) -> Address {
        Address::Unix(self.path.clone())
    }

    async fn bind(&self) -> Result<Vec<Listener>, BindError> {
        bind(&[self.address()], Options::default()).await
    }

    fn mode_and_group(&self) -> (u32, u32) {
        use std::os::unix::fs::MetadataExt as _;
        let metadata = std::fs::symlink_metadata(&self.path).unwrap();
        (metadata.permissions().mode() & 0o7777, metadata.gid())
    }

    #[track_caller]
    fn assert_only_file(&self) {
        let names: Vec<_> =
            std::fs::read_dir(self.directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["s.sock"], "something else was left in the directory");
    }
}

async fn assert_serves(listener: &Listener, path: &Path) {
    let mut client = UnixStream::connect(path).await.unwrap();
    client.write_all(b"x").await.unwrap();
    let Stream::Unix(mut accepted) = listener.accept().await else { panic!("it is a unix socket") };
    assert_eq!(accepted.read_u8().await.unwrap(), b'x');
}

#[tokio::test]
async fn unix_socket_has_its_mode_and_is_removed_with_its_listener() {
    let socket = socket_path();
    let listeners = socket.bind().await.unwrap();
    let metadata = std::fs::symlink_metadata(&socket.path).unwrap();
    assert!(metadata.file_type().is_socket());
    assert_eq!(metadata.permissions().mode() & 0o7777, 0o660);
    socket.assert_only_file();
    assert_serves(&listeners[0], &socket.path).await;
    drop(listeners);
    assert!(!socket.path.exists());
}

#[tokio::test]
async fn bind_replaces_a_dead_socket() {
    let socket = socket_path();
    drop(std::os::unix::net::UnixListener::bind(&socket.path).unwrap());
    let listeners = socket.bind().await.unwrap();
    socket.assert_only_file();
    assert_serves(&listeners[0], &socket.path).await;
}

#[tokio::test]
async fn bind_keeps_a_socket_that_is_in_use_and_fails() {
    let socket = socket_path();
    let live = socket.bind().await.unwrap();
    let error = socket.bind().await.unwrap_err();
    assert!(matches!(error, BindError::Unix { source: SocketFileError::InUse, .. }), "{error}");
    assert!(error.to_string().contains("s.sock"), "{error}");
    socket.assert_only_file();
    // The first connection is the probe of the failed bind.
    drop(live[0].accept().await);
    assert_serves(&live[0], &socket.path).await;
}

#[tokio::test]
async fn bind_keeps_other_files_and_fails() {
    let socket = socket_path();
    let assert_rejected = async |what: &str| {
        let error = socket.bind().await.unwrap_err().to_string();
        assert!(error.contains(what), "{error}");
        socket.assert_only_file();
    };
    std::fs::write(&socket.path, "precious").unwrap();
    assert_rejected("a file").await;
    assert_eq!(std::fs::read_to_string(&socket.path).unwrap(), "precious");
    std::fs::remove_file(&socket.path).unwrap();
    std::os::unix::fs::symlink("/nowhere", &socket.path).unwrap();
    assert_rejected("a symbolic link").await;
    std::fs::remove_file(&socket.path).unwrap();
    std::fs::create_dir(&socket.path).unwrap();
    assert_rejected("a directory").await;
}

#[tokio::test]
async fn bind_accepts_a_path_longer_than_a_socket_address() {
    let directory = tempfile::tempdir().unwrap();
    let deep = directory.path().join("d".repeat(200));
    std::fs::create_dir(&deep).unwrap();
    let path = deep.join("s.sock");
    let _listeners = bind(&[Address::Unix(path.clone())], Options::default()).await.unwrap();
    assert!(path.exists());
}

#[tokio::test]
async fn bind_in_a_missing_directory_names_the_directory() {
    let socket = socket_path();
    let address = Address::Unix(socket.directory.path().join("nowhere/s.sock"));
    let error = bind(&[address], Options::default()).await.unwrap_err().to_string();
    assert!(error.contains("nowhere"), "{error}");
}

#[tokio::test]
async fn dropping_a_listener_keeps_a_socket_that_replaced_its_own() {
    let socket = socket_path();
    let listeners = socket.bind().await.unwrap();
    std::fs::remove_file(&socket.path).unwrap();
    let other = std::os::unix::net::UnixListener::bind(&socket.path).unwrap();
    drop(listeners);
    assert!(socket.path.exists(), "it belongs to another process");
    drop(other);
}

#[tokio::test]
async fn bind_with_one_failing_address_binds_none() {
    let socket = socket_path();
    let occupied = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = Address::Tcp { host: "127.0.0.1".into(), port: occupied.local_addr().unwrap().port() };
    let error = bind(&[socket.address(), address.clone()], Options::default()).await.unwrap_err();
    assert!(error.to_string().contains(&address.to_string()), "{error}");
    assert!(!socket.path.exists(), "a socket was left behind");
}

#[tokio::test]
async fn address_contains_the_real_port() {
    for text in ["tcp://127.0.0.1:0", "tcp://[::1]:0", "tcp://localhost:0"] {
        let Ok(listeners) = bind(&[text.parse().unwrap()], Options::default()).await else {
            // A machine may have no IPv6.
            assert!(text.contains("::1"), "{text}");
            continue;
        };
        let Address::Tcp { host, port } = listeners[0].address() else { panic!("{text} is TCP") };
        assert_ne!(*port, 0);
        let mut client = TcpStream::connect((host.as_str(), *port)).await.unwrap();
        client.write_all(b"x").await.unwrap();
        let Stream::Tcp(mut accepted) = listeners[0].accept().await else { panic!("{text} is TCP") };
        assert_eq!(accepted.read_u8().await.unwrap(), b'x');
    }
}

#[tokio::test]
async fn bind_beyond_loopback_requires_insecure_tcp() {
    for text in ["tcp://0.0.0.0:0", "tcp://[::]:0"] {
        let address: Address = text.parse().unwrap();
        let error = bind(std::slice::from_ref(&address), Options::default()).await.unwrap_err();
        assert!(error.to_string().contains("--insecure-tcp"), "{error}");
    }
    let insecure = Options { insecure_tcp: true, ..Options::default() };
    assert!(bind(&["tcp://0.0.0.0:0".parse().unwrap()], insecure).await.is_ok());
}

#[tokio::test]
async fn unix_socket_has_the_configured_mode_and_group() {
    let socket = socket_path();
    for (mode, group) in [(0o600, None), (0o666, None), (0o660, Some(rustix::process::getegid().as_raw()))] {
        let permissions = SocketPermissions { mode, group };
        let _listeners = bind(&[socket.address()], Options { permissions, ..Options::default() }).await.unwrap();
        let (actual_mode, actual_group) = socket.mode_and_group();
        assert_eq!(actual_mode, mode);
        assert_eq!(actual_group, rustix::process::getegid().as_raw());
        socket.assert_only_file();
    }
    if rustix::process::geteuid().is_root() {
        let permissions = SocketPermissions { mode: 0o660, group: Some(4242) };
        let _listeners = bind(&[socket.address()], Options { permissions, ..Options::default() }).await.unwrap();
        assert_eq!(socket.mode_and_group(), (0o660, 4242));
    } else {
        let permissions = SocketPermissions { mode: 0o660, group: Some(0) };
        let error =
            bind(&[socket.address()], Options { permissions, ..Options::default() }).await.unwrap_err().to_string();
        assert!(error.contains("group 0"), "{error}");
        assert!(!socket.path.exists());
    }
}

#[tokio::test]
async fn unix_socket_mode_does_not_depend_on_the_umask() {
    let socket = socket_path();
    let before = umask();
    let listeners = socket.bind().await.unwrap();
    assert_eq!((socket.mode_and_group().0, umask()), (0o660, before));
    drop(listeners);
}

/// Returns the umask of this process from `/proc`. Reading it with `umask` would set it for all threads.
fn umask() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    status.lines().find(|line| line.starts_with("Umask")).unwrap().to_owned()
}

#[tokio::test]
async fn bind_without_passed_sockets_fails_and_binds_none() {
    let socket = socket_path();
    for text in ["fd://", "fd://3", "fd://api"] {
        let hosts = [Host::Bind(socket.address()), text.parse().unwrap()];
        let error =
            super::bind(&hosts, Options::default(), None, &InheritedSockets::none()).await.unwrap_err().to_string();
        assert!(error.contains("LISTEN_FDS"), "{error}");
        assert!(!socket.path.exists(), "a socket was left behind");
    }
}

#[tokio::test]
async fn backlog_counts_waiting_connections() {
    let socket = socket_path();
    let listeners = socket.bind().await.unwrap();
    let backlog = listeners[0].backlog();
    let _clients = (UnixStream::connect(&socket.path).await.unwrap(), UnixStream::connect(&socket.path).await.unwrap());
    // `None` if the kernel does not report it.
    assert!(matches!(backlog.waiting(), None | Some(2)), "{:?}", backlog.waiting());
}

#[tokio::test]
async fn try_accept_takes_all_waiting_connections_at_once() {
    let socket = socket_path();
    let addresses = [socket.address(), "tcp://127.0.0.1:0".parse().unwrap()];
    let listeners = bind(&addresses, Options::default()).await.unwrap();
    let Address::Tcp { port, .. } = *listeners[1].address() else { panic!("the second is TCP") };
    let _clients: Vec<_> = (0..500)
        .map(|_| {
            // The runtime is not polled between these two.
            let unix = std::os::unix::net::UnixStream::connect(&socket.path).unwrap();
            (unix, std::net::TcpStream::connect(("127.0.0.1", port)).unwrap())
        })
        .collect();
    for listener in &listeners {
        assert_eq!(std::iter::from_fn(|| listener.try_accept()).count(), 500);
    }
}
