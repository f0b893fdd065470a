//! Sockets that were passed to the daemon by whoever started it, as systemd does it: from file descriptor 3 on, with `LISTEN_FDS`,
//! `LISTEN_PID` and `LISTEN_FDNAMES` to say how many, for whom, and what they are called.
//!
//! They are taken once, before anything else is opened, and read strictly: the ancestor panicked at a number that was none. What cannot be
//! used is told when somebody asks for it, and what nobody asks for is closed.

use std::io;
use std::net::TcpListener as StdTcpListener;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixListener as StdUnixListener;
use std::sync::{Mutex, PoisonError};

use rustix::io::FdFlags;
use rustix::net::{AddressFamily, SocketType, sockopt};
use tokio::net::{TcpListener, UnixListener};

use super::address::Address;
use super::host::{FIRST_PASSED, Which};

/// More than this many are not passed by anyone in his right mind.
const MOST: u32 = 1024;

/// What the environment says of the sockets that were passed.
#[derive(Clone, Debug, Default)]
pub struct Activation {
    /// `LISTEN_FDS`
    pub fds: Option<String>,
    /// `LISTEN_PID`
    pub pid: Option<String>,
    /// `LISTEN_FDNAMES`
    pub names: Option<String>,
}

/// The sockets that were passed to this process and are not listened on yet, or why they cannot be had.
#[derive(Debug)]
pub struct Inherited(Mutex<Result<Vec<Passed>, InheritError>>);

#[derive(Debug)]
struct Passed {
    number: u32,
    name: String,
    /// Until it is listened on.
    socket: Option<OwnedFd>,
}

/// A socket to listen on, and where it is bound.
#[derive(Debug)]
pub(super) enum Adopted {
    Tcp(Address, TcpListener),
    Unix(Address, UnixListener),
}

/// Why sockets that were asked for cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InheritError {
    #[error("no sockets were passed: LISTEN_FDS is not set, or 0")]
    None,
    #[error("LISTEN_FDS is {0:?}, and not a number up to {MOST}")]
    Count(String),
    #[error("LISTEN_PID is {0:?}, and not the number of a process")]
    Pid(String),
    #[error("the sockets were passed to process {pid}, which LISTEN_PID names, and this is process {me}")]
    Another { pid: u32, me: u32 },
    #[error("LISTEN_FDNAMES names {names} file descriptors where LISTEN_FDS passes {fds}")]
    Names { names: usize, fds: usize },
    #[error("LISTEN_FDS passes {fds} file descriptors, and {number} is not open")]
    NotOpen { fds: usize, number: u32 },
    #[error("file descriptor {number} was not passed; {passed} were")]
    NoSuchNumber { number: u32, passed: String },
    #[error("no file descriptor is named {name:?}; {passed} were passed")]
    NoSuchName { name: String, passed: String },
    #[error("file descriptor {0} is listened on already, by another -H")]
    Taken(u32),
    #[error("file descriptor {number} ({name}) {why}")]
    Unfit { number: u32, name: String, why: String },
}

impl Inherited {
    /// None at all.
    pub fn none() -> Self {
        Self(Mutex::new(Err(InheritError::None)))
    }

    /// Takes what `said` says was passed. To be called once in a process, before it opens anything: the numbers are only those of what was
    /// passed for as long as nothing else has them. `is_open` tells whether a number is that of something.
    pub fn take(said: &Activation, is_open: impl Fn(u32) -> bool) -> Self {
        Self(Mutex::new(take(said, is_open)))
    }

    /// The sockets that `which` names, made ready to be listened on.
    pub(super) fn adopt(&self, which: &Which) -> Result<Vec<Adopted>, InheritError> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let all = all.as_mut().map_err(|error| error.clone())?;
        let passed = || {
            let passed: Vec<_> = all.iter().map(|passed| format!("{} ({})", passed.number, passed.name)).collect();
            passed.join(", ")
        };
        let chosen: Vec<usize> = match which {
            Which::All => (0..all.len()).collect(),
            Which::Number(number) => all.iter().position(|passed| passed.number == *number).into_iter().collect(),
            Which::Name(name) => (0..all.len()).filter(|at| all[*at].name == *name).collect(),
        };
        match which {
            Which::Number(number) if chosen.is_empty() => {
                return Err(InheritError::NoSuchNumber { number: *number, passed: passed() });
            }
            Which::Name(name) if chosen.is_empty() => {
                return Err(InheritError::NoSuchName { name: name.clone(), passed: passed() });
            }
            _ => {}
        }
        chosen.into_iter().map(|at| all[at].adopt()).collect()
    }

    /// Closes what nobody has asked for; tells what that was.
    pub(super) fn close_the_rest(&self) -> Vec<String> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Ok(all) = all.as_mut() else { return Vec::new() };
        let unused = all.iter_mut().filter_map(|passed| passed.socket.take().map(|_| passed));
        unused.map(|passed| format!("{} ({})", passed.number, passed.name)).collect()
    }
}

fn take(said: &Activation, is_open: impl Fn(u32) -> bool) -> Result<Vec<Passed>, InheritError> {
    let (names, count) = announced(said, std::process::id())?;
    if let Some(number) = (FIRST_PASSED..FIRST_PASSED + count).find(|number| !is_open(*number)) {
        return Err(InheritError::NotOpen { fds: names.len(), number });
    }
    // It reads the same variables again, which were found to be in order.
    let sockets = sd_listen_fds::get().map_err(|_| InheritError::None)?;
    let passed = (FIRST_PASSED..).zip(names).zip(sockets).map(|((number, name), (_, socket))| {
        let socket = socket.into_std();
        // A compiler that is started must not hold what it has no use for. There is nothing this could fail of.
        let _ = rustix::io::fcntl_setfd(&socket, FdFlags::CLOEXEC);
        Passed { number, name, socket: Some(socket) }
    });
    Ok(passed.collect())
}

/// The names of what was passed to process `me`, and how many there are.
fn announced(said: &Activation, me: u32) -> Result<(Vec<String>, u32), InheritError> {
    let Some(fds) = &said.fds else { return Err(InheritError::None) };
    let pid = said.pid.clone().unwrap_or_default();
    match strictly(&pid) {
        None => return Err(InheritError::Pid(pid)),
        Some(pid) if pid != me => return Err(InheritError::Another { pid, me }),
        Some(_) => {}
    }
    let count = strictly(fds).filter(|count| *count <= MOST).ok_or_else(|| InheritError::Count(fds.clone()))?;
    if count == 0 {
        return Err(InheritError::None);
    }
    let names: Vec<String> = match &said.names {
        Some(names) => names.split(':').map(str::to_owned).collect(),
        // What systemd calls them where nobody has.
        None => (0..count).map(|_| "unknown".to_owned()).collect(),
    };
    if names.len() != count as usize {
        return Err(InheritError::Names { names: names.len(), fds: count as usize });
    }
    Ok((names, count))
}

/// A number of nothing but digits.
fn strictly(text: &str) -> Option<u32> {
    text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()))
}

impl Passed {
    fn adopt(&mut self) -> Result<Adopted, InheritError> {
        let socket = self.socket.take().ok_or(InheritError::Taken(self.number))?;
        adopt(socket).map_err(|why| InheritError::Unfit { number: self.number, name: self.name.clone(), why })
    }
}

fn adopt(socket: OwnedFd) -> Result<Adopted, String> {
    let failed = |error: io::Error| format!("cannot be used: {error}");
    let kind = sockopt::socket_type(socket.as_fd()).map_err(|error| match error {
        rustix::io::Errno::NOTSOCK => "is no socket".to_owned(),
        other => failed(other.into()),
    })?;
    if kind != SocketType::STREAM {
        return Err("is no stream socket".to_owned());
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
            Ok(Adopted::Tcp(address, TcpListener::from_std(listener).map_err(failed)?))
        }
        AddressFamily::UNIX => {
            let listener = StdUnixListener::from(socket);
            listener.set_nonblocking(true).map_err(failed)?;
            let bound = listener.local_addr().map_err(failed)?;
            Ok(Adopted::Unix(Address::Unix(path_of(&bound)), UnixListener::from_std(listener).map_err(failed)?))
        }
        _ => Err("is neither a TCP nor a unix socket".to_owned()),
    }
}

/// Where it is bound; with an `@` before it where that is no file.
fn path_of(bound: &std::os::unix::net::SocketAddr) -> std::path::PathBuf {
    use std::os::linux::net::SocketAddrExt as _;
    match (bound.as_pathname(), bound.as_abstract_name()) {
        (Some(path), _) => path.to_owned(),
        (None, name) => format!("@{}", String::from_utf8_lossy(name.unwrap_or_default())).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(fds: &str, pid: &str, names: Option<&str>) -> Activation {
        Activation { fds: Some(fds.into()), pid: Some(pid.into()), names: names.map(str::to_owned) }
    }

    #[test]
    fn what_is_announced_is_read_strictly() {
        let read = |fds: &str, pid: &str, names| announced(&said(fds, pid, names), 7).map(|(names, _)| names.join(","));
        assert_eq!(read("2", "7", Some("api:metrics")), Ok("api,metrics".into()));
        assert_eq!(read("2", "7", None), Ok("unknown,unknown".into()));
        assert_eq!(read("2", "7", Some("x:")), Ok("x,".into()));
        assert_eq!(read("0", "7", None), Err(InheritError::None));
        assert_eq!(read("2", "8", None), Err(InheritError::Another { pid: 8, me: 7 }));
        for pid in ["", "+7", " 7", "seven", "-7", "99999999999"] {
            assert_eq!(read("1", pid, None), Err(InheritError::Pid(pid.into())));
        }
        for fds in ["", "+1", "1 ", "one", "-1", "1025", "4294967295", "99999999999"] {
            assert_eq!(read(fds, "7", None), Err(InheritError::Count(fds.into())));
        }
        assert_eq!(read("1", "7", Some("a:b")), Err(InheritError::Names { names: 2, fds: 1 }));
        assert_eq!(read("3", "7", Some("a:b")), Err(InheritError::Names { names: 2, fds: 3 }));
        assert_eq!(announced(&Activation::default(), 7).unwrap_err(), InheritError::None);
    }

    #[test]
    fn what_is_announced_and_not_open_is_not_touched() {
        let said = said("2", &std::process::id().to_string(), None);
        let error = take(&said, |number| number == 3).unwrap_err();
        assert_eq!(error, InheritError::NotOpen { fds: 2, number: 4 });
    }

    #[tokio::test]
    async fn only_stream_sockets_that_listen_are_adopted() {
        let unfit = |socket: OwnedFd| adopt(socket).unwrap_err();
        assert_eq!(unfit(tempfile::tempfile().unwrap().into()), "is no socket");
        assert_eq!(unfit(std::net::UdpSocket::bind("127.0.0.1:0").unwrap().into()), "is no stream socket");
        let (one, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        assert_eq!(unfit(one.into()), "is a socket that does not listen");
        let listener = StdTcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let Adopted::Tcp(address, _) = adopt(listener.into()).unwrap() else { panic!("it is TCP") };
        assert_eq!(address, Address::Tcp { host: "127.0.0.1".into(), port });
        let name = format!("capstan-adopted-{}", std::process::id());
        let unnamed = <std::os::unix::net::SocketAddr as std::os::linux::net::SocketAddrExt>::from_abstract_name(&name);
        let listener = StdUnixListener::bind_addr(&unnamed.unwrap()).unwrap();
        let Adopted::Unix(address, _) = adopt(listener.into()).unwrap() else { panic!("it is a unix socket") };
        assert_eq!(address.to_string(), format!("unix://@{name}"));
    }

    #[tokio::test]
    async fn what_was_passed_is_listened_on_once_and_the_rest_is_closed() {
        let passed = |number, name: &str| {
            let socket = StdTcpListener::bind("127.0.0.1:0").unwrap();
            Passed { number, name: name.into(), socket: Some(socket.into()) }
        };
        let inherited =
            Inherited(Mutex::new(Ok(vec![passed(3, "api"), passed(4, "other"), passed(5, "api"), passed(6, "spare")])));
        assert_eq!(inherited.adopt(&Which::Name("api".into())).unwrap().len(), 2);
        assert_eq!(inherited.adopt(&Which::Number(5)).unwrap_err(), InheritError::Taken(5));
        assert_eq!(inherited.adopt(&Which::Number(4)).unwrap().len(), 1);
        let error = inherited.adopt(&Which::Number(7)).unwrap_err().to_string();
        assert!(error.contains("3 (api), 4 (other), 5 (api), 6 (spare)"), "{error}");
        let error = inherited.adopt(&Which::Name("foo".into())).unwrap_err().to_string();
        assert!(error.contains("\"foo\"") && error.contains("6 (spare)"), "{error}");
        assert_eq!(inherited.close_the_rest(), ["6 (spare)"]);
        assert_eq!(inherited.close_the_rest(), [""; 0]);
        assert_eq!(inherited.adopt(&Which::All).unwrap_err(), InheritError::Taken(3));
    }
}
