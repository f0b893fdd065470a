//! What is bound, what is refused, and what is left untouched.

#![expect(clippy::disallowed_methods, reason = "tests make the files that stand in the way")]

use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;

async fn bind(addresses: &[Address], options: Options) -> Result<Vec<Listener>, BindError> {
    let hosts: Vec<_> = addresses.iter().cloned().map(Host::Own).collect();
    super::bind(&hosts, options, None, &Inherited::none()).await
}

struct Place {
    folder: TempDir,
    path: PathBuf,
}

fn place() -> Place {
    let folder = tempfile::tempdir().unwrap();
    Place { path: folder.path().join("s.sock"), folder }
}

impl Place {
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
    fn assert_alone(&self) {
        let names: Vec<_> =
            std::fs::read_dir(self.folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["s.sock"], "something else was left in the folder");
    }
}

async fn assert_serves(listener: &Listener, path: &Path) {
    let mut client = UnixStream::connect(path).await.unwrap();
    client.write_all(b"x").await.unwrap();
    let Stream::Unix(mut accepted) = listener.accept().await else { panic!("it is a unix socket") };
    assert_eq!(accepted.read_u8().await.unwrap(), b'x');
}

#[tokio::test]
async fn a_unix_socket_has_its_mode_and_goes_with_its_listener() {
    let place = place();
    let listeners = place.bind().await.unwrap();
    let metadata = std::fs::symlink_metadata(&place.path).unwrap();
    assert!(metadata.file_type().is_socket());
    assert_eq!(metadata.permissions().mode() & 0o7777, 0o660);
    place.assert_alone();
    assert_serves(&listeners[0], &place.path).await;
    drop(listeners);
    assert!(!place.path.exists());
}

#[tokio::test]
async fn a_dead_socket_is_replaced() {
    let place = place();
    drop(std::os::unix::net::UnixListener::bind(&place.path).unwrap());
    let listeners = place.bind().await.unwrap();
    place.assert_alone();
    assert_serves(&listeners[0], &place.path).await;
}

#[tokio::test]
async fn a_live_socket_is_refused_and_stays() {
    let place = place();
    let live = place.bind().await.unwrap();
    let error = place.bind().await.unwrap_err();
    assert!(matches!(error, BindError::Unix { source: SocketFileError::Live, .. }), "{error}");
    assert!(error.to_string().contains("s.sock"), "{error}");
    place.assert_alone();
    // To find out it was connected to, and that is the first connection.
    drop(live[0].accept().await);
    assert_serves(&live[0], &place.path).await;
}

#[tokio::test]
async fn what_is_no_socket_is_refused_and_stays() {
    let place = place();
    let refused = async |what: &str| {
        let error = place.bind().await.unwrap_err().to_string();
        assert!(error.contains(what), "{error}");
        place.assert_alone();
    };
    std::fs::write(&place.path, "precious").unwrap();
    refused("a file").await;
    assert_eq!(std::fs::read_to_string(&place.path).unwrap(), "precious");
    std::fs::remove_file(&place.path).unwrap();
    std::os::unix::fs::symlink("/nowhere", &place.path).unwrap();
    refused("a symbolic link").await;
    std::fs::remove_file(&place.path).unwrap();
    std::fs::create_dir(&place.path).unwrap();
    refused("a folder").await;
}

#[tokio::test]
async fn a_path_longer_than_an_address_may_be_is_bound_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let deep = folder.path().join("d".repeat(200));
    std::fs::create_dir(&deep).unwrap();
    let path = deep.join("s.sock");
    let _listeners = bind(&[Address::Unix(path.clone())], Options::default()).await.unwrap();
    assert!(path.exists());
}

#[tokio::test]
async fn a_folder_that_is_not_there_is_named() {
    let place = place();
    let address = Address::Unix(place.folder.path().join("nowhere/s.sock"));
    let error = bind(&[address], Options::default()).await.unwrap_err().to_string();
    assert!(error.contains("nowhere"), "{error}");
}

#[tokio::test]
async fn a_socket_that_took_the_place_of_ours_stays() {
    let place = place();
    let listeners = place.bind().await.unwrap();
    std::fs::remove_file(&place.path).unwrap();
    let other = std::os::unix::net::UnixListener::bind(&place.path).unwrap();
    drop(listeners);
    assert!(place.path.exists(), "it is another's");
    drop(other);
}

#[tokio::test]
async fn all_addresses_are_bound_or_none() {
    let place = place();
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = Address::Tcp { host: "127.0.0.1".into(), port: taken.local_addr().unwrap().port() };
    let error = bind(&[place.address(), address.clone()], Options::default()).await.unwrap_err();
    assert!(error.to_string().contains(&address.to_string()), "{error}");
    assert!(!place.path.exists(), "a socket was left behind");
}

#[tokio::test]
async fn the_real_port_is_told() {
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
async fn what_others_can_reach_needs_a_word() {
    for text in ["tcp://0.0.0.0:0", "tcp://[::]:0"] {
        let address: Address = text.parse().unwrap();
        let error = bind(std::slice::from_ref(&address), Options::default()).await.unwrap_err();
        assert!(error.to_string().contains("--insecure-tcp"), "{error}");
    }
    let open = Options { insecure_tcp: true, ..Options::default() };
    assert!(bind(&["tcp://0.0.0.0:0".parse().unwrap()], open).await.is_ok());
}

#[tokio::test]
async fn a_unix_socket_is_for_those_whom_it_is_given_to() {
    let place = place();
    for (mode, group) in [(0o600, None), (0o666, None), (0o660, Some(rustix::process::getegid().as_raw()))] {
        let access = Access { mode, group };
        let _listeners = bind(&[place.address()], Options { access, ..Options::default() }).await.unwrap();
        let (found, of) = place.mode_and_group();
        assert_eq!(found, mode);
        assert_eq!(of, rustix::process::getegid().as_raw());
        place.assert_alone();
    }
    if rustix::process::geteuid().is_root() {
        let access = Access { mode: 0o660, group: Some(4242) };
        let _listeners = bind(&[place.address()], Options { access, ..Options::default() }).await.unwrap();
        assert_eq!(place.mode_and_group(), (0o660, 4242));
    } else {
        let access = Access { mode: 0o660, group: Some(0) };
        let error = bind(&[place.address()], Options { access, ..Options::default() }).await.unwrap_err().to_string();
        assert!(error.contains("group 0"), "{error}");
        assert!(!place.path.exists());
    }
}

#[tokio::test]
async fn a_socket_gets_its_mode_whatever_the_umask_and_leaves_that_alone() {
    let place = place();
    let before = umask();
    let listeners = place.bind().await.unwrap();
    assert_eq!((place.mode_and_group().0, umask()), (0o660, before));
    drop(listeners);
}

/// What Linux says of this process; to ask by setting it would be to change it for all threads.
fn umask() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    status.lines().find(|line| line.starts_with("Umask")).unwrap().to_owned()
}

#[tokio::test]
async fn what_was_never_passed_is_not_listened_on_and_costs_the_others_theirs() {
    let place = place();
    for text in ["fd://", "fd://3", "fd://api"] {
        let hosts = [Host::Own(place.address()), text.parse().unwrap()];
        let error = super::bind(&hosts, Options::default(), None, &Inherited::none()).await.unwrap_err().to_string();
        assert!(error.contains("LISTEN_FDS"), "{error}");
        assert!(!place.path.exists(), "a socket was left behind");
    }
}

#[tokio::test]
async fn a_listener_counts_whom_it_holds() {
    let place = place();
    let listeners = place.bind().await.unwrap();
    let backlog = listeners[0].backlog();
    let _clients = (UnixStream::connect(&place.path).await.unwrap(), UnixStream::connect(&place.path).await.unwrap());
    // Where the kernel does not tell, there is nothing to compare.
    assert!(matches!(backlog.waiting(), None | Some(2)), "{:?}", backlog.waiting());
}

#[tokio::test]
async fn all_who_wait_are_taken_at_once_whether_tokio_has_looked_or_not() {
    let place = place();
    let addresses = [place.address(), "tcp://127.0.0.1:0".parse().unwrap()];
    let listeners = bind(&addresses, Options::default()).await.unwrap();
    let Address::Tcp { port, .. } = *listeners[1].address() else { panic!("the second is TCP") };
    let _clients: Vec<_> = (0..500)
        .map(|_| {
            // Without a turn of the runtime in between.
            let unix = std::os::unix::net::UnixStream::connect(&place.path).unwrap();
            (unix, std::net::TcpStream::connect(("127.0.0.1", port)).unwrap())
        })
        .collect();
    for listener in &listeners {
        assert_eq!(std::iter::from_fn(|| listener.try_accept()).count(), 500);
    }
}
