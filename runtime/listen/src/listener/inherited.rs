//! `InheritedSockets`: sockets that the process that started the daemon has bound, with the protocol of systemd's socket activation
//! (`man 3 sd_listen_fds`).
//!
//! The sockets are the file descriptors from 3 on. `LISTEN_FDS` is their number, `LISTEN_PID` the process that they are for, and
//! `LISTEN_FDNAMES` their names. The daemon takes them once, before it opens any file, and parses the variables strictly. An error is
//! reported when a `-H fd://…` uses the sockets; sockets that no `-H` uses are closed.

use std::io;
use std::net::TcpListener as StdTcpListener;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixListener as StdUnixListener;
use std::sync::{Mutex, PoisonError};

use rustix::io::FdFlags;
use rustix::net::{AddressFamily, SocketType, sockopt};
use tokio::net::{TcpListener, UnixListener};

use super::address::Address;
use super::host::{FIRST_PASSED_FD, FdSelector};

/// The limit on the number of sockets. A larger `LISTEN_FDS` is a mistake.
const MAX_SOCKETS: u32 = 1024;

/// The environment variables of socket activation.
#[derive(Clone, Debug, Default)]
pub struct SocketActivation {
    /// `LISTEN_FDS`
    pub fds: Option<String>,
    /// `LISTEN_PID`
    pub pid: Option<String>,
    /// `LISTEN_FDNAMES`
    pub names: Option<String>,
}

/// The sockets that were passed to this process, or why there are none.
#[derive(Debug)]
pub struct InheritedSockets(Mutex<Result<Vec<InheritedSocket>, InheritError>>);

#[derive(Debug)]
struct InheritedSocket {
    number: u32,
    name: String,
    /// `None` once it is in use or closed.
    socket: Option<OwnedFd>,
}

/// A passed socket that can accept, with its address.
#[derive(Debug)]
pub(super) enum InheritedListener {
    Tcp(Address, TcpListener),
    Unix(Address, UnixListener),
}

/// Why a passed socket cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InheritError {
    #[error(
        "no sockets were passed: LISTEN_FDS is not set, or 0; start the daemon by a .socket unit, or bind an address"
    )]
    NonePassed,
    #[error("LISTEN_FDS is {0:?}, which is not a number from 0 to {MAX_SOCKETS}")]
    InvalidCount(String),
    #[error("LISTEN_PID is {0:?}, which is not the id of a process")]
    InvalidPid(String),
    #[error("the sockets were passed to process {pid} according to LISTEN_PID, and this is process {own_pid}")]
    OtherProcess { pid: u32, own_pid: u32 },
    #[error("LISTEN_FDNAMES names {names} file descriptors, but LISTEN_FDS passes {fds}")]
    NameCount { names: usize, fds: usize },
    #[error("LISTEN_FDS passes {fds} file descriptors, but {number} is not open")]
    NotOpen { fds: usize, number: u32 },
    #[error("file descriptor {number} was not passed; these were: {passed}")]
    UnknownNumber { number: u32, passed: String },
    #[error("no passed file descriptor is named {name:?}; these were passed: {passed}")]
    UnknownName { name: String, passed: String },
    #[error("another -H listens on file descriptor {0} already")]
    InUse(u32),
    #[error("file descriptor {number} ({name}) {reason}")]
    Unusable { number: u32, name: String, reason: String },
}

impl InheritedSockets {
    /// Returns an empty set, for a process that was passed no sockets.
    pub fn none() -> Self {
        Self(Mutex::new(Err(InheritError::NonePassed)))
    }

    /// Takes ownership of the file descriptors that `activation` announces. `is_open` returns whether a descriptor with this number is open.
    ///
    /// Call this once per process and before it opens any file, which could otherwise get one of these numbers.
    pub fn take(activation: &SocketActivation, is_open: impl Fn(u32) -> bool) -> Self {
        Self(Mutex::new(take(activation, is_open)))
    }

    /// Returns listeners on the sockets that `selector` chooses. They cannot be chosen again.
    pub(super) fn listeners(&self, selector: &FdSelector) -> Result<Vec<InheritedListener>, InheritError> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let all = all.as_mut().map_err(|error| error.clone())?;
        let passed = || {
            let labels: Vec<_> = all.iter().map(InheritedSocket::label).collect();
            labels.join(", ")
        };
        let selected: Vec<usize> = match selector {
            FdSelector::All => (0..all.len()).collect(),
            FdSelector::Number(number) => all.iter().position(|socket| socket.number == *number).into_iter().collect(),
            FdSelector::Name(name) => (0..all.len()).filter(|index| all[*index].name == *name).collect(),
        };
        match selector {
            FdSelector::Number(number) if selected.is_empty() => {
                return Err(InheritError::UnknownNumber { number: *number, passed: passed() });
            }
            FdSelector::Name(name) if selected.is_empty() => {
                return Err(InheritError::UnknownName { name: name.clone(), passed: passed() });
            }
            _ => {}
        }
        selected.into_iter().map(|index| all[index].listener()).collect()
    }

    /// Closes the sockets that no `-H` uses, and returns their labels.
    pub(super) fn close_unused(&self) -> Vec<String> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Ok(all) = all.as_mut() else { return Vec::new() };
        let unused = all.iter_mut().filter_map(|socket| socket.socket.take().map(|_| socket));
        unused.map(|socket| socket.label()).collect()
    }
}

fn take(activation: &SocketActivation, is_open: impl Fn(u32) -> bool) -> Result<Vec<InheritedSocket>, InheritError> {
    let (names, count) = parse_names(activation, std::process::id())?;
    if let Some(number) = (FIRST_PASSED_FD..FIRST_PASSED_FD + count).find(|number| !is_open(*number)) {
        return Err(InheritError::NotOpen { fds: names.len(), number });
    }
    // It reads the same variables again. They are valid here, so it does not fail.
    let sockets = sd_listen_fds::get().map_err(|_| InheritError::NonePassed)?;
    let sockets = (FIRST_PASSED_FD..).zip(names).zip(sockets).map(|((number, name), (_, socket))| {
        let socket = socket.into_std();
        // Compiler processes must not inherit the socket. This cannot fail for an open descriptor.
        let _ = rustix::io::fcntl_setfd(&socket, FdFlags::CLOEXEC);
        InheritedSocket { number, name, socket: Some(socket) }
    });
    Ok(sockets.collect())
}

/// Returns the names of the sockets that were passed to process `own_pid`, and their number.
fn parse_names(activation: &SocketActivation, own_pid: u32) -> Result<(Vec<String>, u32), InheritError> {
    let Some(fds) = &activation.fds else { return Err(InheritError::NonePassed) };
    let pid = activation.pid.clone().unwrap_or_default();
    match parse_digits(&pid) {
        None => return Err(InheritError::InvalidPid(pid)),
        Some(pid) if pid != own_pid => return Err(InheritError::OtherProcess { pid, own_pid }),
        Some(_) => {}
    }
    let count = parse_digits(fds).filter(|count| *count <= MAX_SOCKETS);
    let count = count.ok_or_else(|| InheritError::InvalidCount(fds.clone()))?;
    if count == 0 {
        return Err(InheritError::NonePassed);
    }
    let names: Vec<String> = match &activation.names {
        Some(names) => names.split(':').map(str::to_owned).collect(),
        // The name that systemd uses for a socket without one.
        None => (0..count).map(|_| "unknown".to_owned()).collect(),
    };
    if names.len() != count as usize {
        return Err(InheritError::NameCount { names: names.len(), fds: count as usize });
    }
    Ok((names, count))
}

/// Parses a number that consists of digits only, without a sign.
fn parse_digits(text: &str) -> Option<u32> {
    text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()))
}

impl InheritedSocket {
    /// Returns its number and its name, for messages.
    fn label(&self) -> String {
        format!("{} ({})", self.number, self.name)
    }

    fn listener(&mut self) -> Result<InheritedListener, InheritError> {
        let socket = self.socket.take().ok_or(InheritError::InUse(self.number))?;
        let unusable = |reason| InheritError::Unusable { number: self.number, name: self.name.clone(), reason };
        listener(socket).map_err(unusable)
    }
}

/// Returns a listener on `socket`, or what is wrong with the socket.
fn listener(socket: OwnedFd) -> Result<InheritedListener, String> {
    let failed = |error: io::Error| format!("cannot be used: {error}");
    let kind = sockopt::socket_type(socket.as_fd()).map_err(|error| match error {
        rustix::io::Errno::NOTSOCK => "is not a socket".to_owned(),
        other => failed(other.into()),
    })?;
    if kind != SocketType::STREAM {
        return Err("is not a stream socket".to_owned());
    }
    if !sockopt::socket_acceptconn(socket.as_fd()).map_err(|error| failed(error.into()))? {
        return Err("is a socket that does not listen".to_owned());
    }
    match sockopt::socket_domain(socket.as_fd()).map_err(|error| failed(error.into()))? {
        AddressFamily::INET | AddressFamily::INET6 => {
            let listener = StdTcpListener::from(socket);
            listener.set_nonblocking(true).map_err(failed)?;
            let bound = listener.local_addr().map_err(failed)?;
            let address = Address::Tcp { host: bound.ip().to_string(), port: bound.port() };
            Ok(InheritedListener::Tcp(address, TcpListener::from_std(listener).map_err(failed)?))
        }
        AddressFamily::UNIX => {
            let listener = StdUnixListener::from(socket);
            listener.set_nonblocking(true).map_err(failed)?;
            let bound = listener.local_addr().map_err(failed)?;
            let address = Address::Unix(bound_path(&bound));
            Ok(InheritedListener::Unix(address, UnixListener::from_std(listener).map_err(failed)?))
        }
        _ => Err("is neither a TCP nor a unix socket".to_owned()),
    }
}

/// Returns the path that a unix socket is bound to, or `@` and the name of an abstract one.
fn bound_path(bound: &std::os::unix::net::SocketAddr) -> std::path::PathBuf {
    use std::os::linux::net::SocketAddrExt as _;
    match (bound.as_pathname(), bound.as_abstract_name()) {
        (Some(path), _) => path.to_owned(),
        (None, name) => format!("@{}", String::from_utf8_lossy(name.unwrap_or_default())).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn activation(fds: &str, pid: &str, names: Option<&str>) -> SocketActivation {
        SocketActivation { fds: Some(fds.into()), pid: Some(pid.into()), names: names.map(str::to_owned) }
    }

    #[test]
    fn parse_names_rejects_inconsistent_variables() {
        let read = |fds: &str, pid: &str, names| {
            parse_names(&activation(fds, pid, names), 7).map(|(names, _)| names.join(","))
        };
        assert_eq!(read("2", "7", Some("api:metrics")), Ok("api,metrics".into()));
        assert_eq!(read("2", "7", None), Ok("unknown,unknown".into()));
        assert_eq!(read("2", "7", Some("x:")), Ok("x,".into()));
        assert_eq!(read("0", "7", None), Err(InheritError::NonePassed));
        assert_eq!(read("2", "8", None), Err(InheritError::OtherProcess { pid: 8, own_pid: 7 }));
        for pid in ["", "+7", " 7", "seven", "-7", "99999999999"] {
            assert_eq!(read("1", pid, None), Err(InheritError::InvalidPid(pid.into())));
        }
        for fds in ["", "+1", "1 ", "one", "-1", "1025", "4294967295", "99999999999"] {
            assert_eq!(read(fds, "7", None), Err(InheritError::InvalidCount(fds.into())));
        }
        assert_eq!(read("1", "7", Some("a:b")), Err(InheritError::NameCount { names: 2, fds: 1 }));
        assert_eq!(read("3", "7", Some("a:b")), Err(InheritError::NameCount { names: 2, fds: 3 }));
        assert_eq!(parse_names(&SocketActivation::default(), 7).unwrap_err(), InheritError::NonePassed);
    }

    #[test]
    fn take_of_a_closed_descriptor_fails() {
        let activation = activation("2", &std::process::id().to_string(), None);
        let error = take(&activation, |number| number == 3).unwrap_err();
        assert_eq!(error, InheritError::NotOpen { fds: 2, number: 4 });
    }

    #[tokio::test]
    async fn listener_accepts_only_listening_stream_sockets() {
        let rejected = |socket: OwnedFd| listener(socket).unwrap_err();
        assert_eq!(rejected(tempfile::tempfile().unwrap().into()), "is not a socket");
        assert_eq!(rejected(std::net::UdpSocket::bind("127.0.0.1:0").unwrap().into()), "is not a stream socket");
        let (one, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        assert_eq!(rejected(one.into()), "is a socket that does not listen");
        let tcp = StdTcpListener::bind("127.0.0.1:0").unwrap();
        let port = tcp.local_addr().unwrap().port();
        let InheritedListener::Tcp(address, _) = listener(tcp.into()).unwrap() else { panic!("it is TCP") };
        assert_eq!(address, Address::Tcp { host: "127.0.0.1".into(), port });
        let name = format!("capstan-inherited-{}", std::process::id());
        let abstract_address =
            <std::os::unix::net::SocketAddr as std::os::linux::net::SocketAddrExt>::from_abstract_name(&name);
        let unix = StdUnixListener::bind_addr(&abstract_address.unwrap()).unwrap();
        let InheritedListener::Unix(address, _) = listener(unix.into()).unwrap() else { panic!("it is a unix socket") };
        assert_eq!(address.to_string(), format!("unix://@{name}"));
    }

    #[tokio::test]
    async fn inherited_sockets_are_used_once_and_the_unused_ones_closed() {
        let passed = |number, name: &str| {
            let socket = StdTcpListener::bind("127.0.0.1:0").unwrap();
            InheritedSocket { number, name: name.into(), socket: Some(socket.into()) }
        };
        let inherited = InheritedSockets(Mutex::new(Ok(vec![
            passed(3, "api"),
            passed(4, "other"),
            passed(5, "api"),
            passed(6, "spare"),
        ])));
        assert_eq!(inherited.listeners(&FdSelector::Name("api".into())).unwrap().len(), 2);
        assert_eq!(inherited.listeners(&FdSelector::Number(5)).unwrap_err(), InheritError::InUse(5));
        assert_eq!(inherited.listeners(&FdSelector::Number(4)).unwrap().len(), 1);
        let error = inherited.listeners(&FdSelector::Number(7)).unwrap_err().to_string();
        assert!(error.contains("3 (api), 4 (other), 5 (api), 6 (spare)"), "{error}");
        let error = inherited.listeners(&FdSelector::Name("foo".into())).unwrap_err().to_string();
        assert!(error.contains("\"foo\"") && error.contains("6 (spare)"), "{error}");
        assert_eq!(inherited.close_unused(), ["6 (spare)"]);
        assert_eq!(inherited.close_unused(), [""; 0]);
        assert_eq!(inherited.listeners(&FdSelector::All).unwrap_err(), InheritError::InUse(3));
    }
}
