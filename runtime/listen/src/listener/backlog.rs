//! `Backlog`: how many connections the kernel holds for a listener that has not accepted them.
//!
//! The kernel tells this for one socket of either kind through its diagnostics (`man 7 sock_diag`), without a look at all others. Where it
//! is not asked so, in a container that forbids it, nothing is known.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;

use rustix::net::netlink::{self, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

/// The type of a message that asks for, and tells of, one family's sockets.
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLM_F_REQUEST: u16 = 1;
/// Bytes before what a message says.
const HEADER: usize = 16;
/// What stands for the cookie of a socket by whoever does not know it.
const NO_COOKIE: [u8; 8] = [0xff; 8];
const TCP: u8 = 6;
/// The states of a socket as bits: only those that listen.
const LISTENING: u32 = 1 << 10;
/// The length of the queue is asked for, and told as the attribute 4.
const UDIAG_SHOW_RQLEN: u32 = 0x10;
const UNIX_DIAG_RQLEN: u16 = 4;

/// The queue of a socket that listens, as long as that is open.
#[derive(Clone, Debug)]
pub struct Backlog(PolicyRequest);

#[derive(Clone, Debug)]
enum PolicyRequest {
    Tcp(SocketAddr),
    /// By the number of its inode.
    Unix(u32),
    Nothing,
}

impl Backlog {
    pub(super) fn of_tcp(address: Option<SocketAddr>) -> Self {
        Self(address.map_or(PolicyRequest::Nothing, PolicyRequest::Tcp))
    }

    pub(super) fn of_unix(socket: impl AsFd) -> Self {
        let inode = rustix::fs::fstat(socket).ok().and_then(|stat| u32::try_from(stat.st_ino).ok());
        Self(inode.map_or(PolicyRequest::Nothing, PolicyRequest::Unix))
    }

    /// The connections in it; `None` where the kernel does not tell. Takes two system calls and no wait.
    pub fn waiting(&self) -> Option<usize> {
        let question = match &self.0 {
            PolicyRequest::Tcp(address) => tcp_question(*address),
            PolicyRequest::Unix(inode) => unix_question(*inode),
            PolicyRequest::Nothing => return None,
        };
        let answer = ask(&question)?;
        match &self.0 {
            PolicyRequest::Tcp(_) => word(&answer, 56),
            PolicyRequest::Unix(_) => attribute(answer.get(16..)?, UNIX_DIAG_RQLEN),
            PolicyRequest::Nothing => None,
        }
    }
}

/// `struct inet_diag_req_v2`
fn tcp_question(address: SocketAddr) -> Vec<u8> {
    let (family, source) = match address.ip() {
        IpAddr::V4(ip) => (AddressFamily::INET, [&ip.octets()[..], &[0; 12]].concat()),
        IpAddr::V6(ip) => (AddressFamily::INET6, ip.octets().to_vec()),
    };
    let mut question = vec![family_byte(family), TCP, 0, 0];
    question.extend(LISTENING.to_ne_bytes());
    question.extend(address.port().to_be_bytes());
    question.extend([0; 2]);
    question.extend(source);
    // Nobody at the other end, and no interface in particular.
    question.extend([0; 16 + 4]);
    question.extend(NO_COOKIE);
    question
}

/// `struct unix_diag_req`
fn unix_question(inode: u32) -> Vec<u8> {
    let mut question = vec![family_byte(AddressFamily::UNIX), 0, 0, 0];
    question.extend(u32::MAX.to_ne_bytes());
    question.extend(inode.to_ne_bytes());
    question.extend(UDIAG_SHOW_RQLEN.to_ne_bytes());
    question.extend(NO_COOKIE);
    question
}

fn family_byte(family: AddressFamily) -> u8 {
    u8::try_from(family.as_raw()).expect("the three families have small numbers")
}

/// Sends a question, and gives what is said after the header of the answer.
fn ask(question: &[u8]) -> Option<Vec<u8>> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let kind = Some(netlink::SOCK_DIAG);
    let socket = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, kind).ok()?;
    let mut message = Vec::with_capacity(HEADER + question.len());
    message.extend(u32::try_from(HEADER + question.len()).ok()?.to_ne_bytes());
    message.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    message.extend(NLM_F_REQUEST.to_ne_bytes());
    message.extend([0; 8]);
    message.extend(question);
    rustix::net::sendto(&socket, &message, SendFlags::empty(), &SocketAddrNetlink::new(0, 0)).ok()?;
    // The kernel answers within the call before.
    let mut answer = vec![0; 4096];
    let (length, _) = rustix::net::recv(&socket, &mut answer[..], RecvFlags::empty()).ok()?;
    answer.truncate(length);
    let kind = u16::from_ne_bytes(answer.get(4..6)?.try_into().ok()?);
    (kind == SOCK_DIAG_BY_FAMILY).then(|| answer.split_off(HEADER))
}

fn word(bytes: &[u8], at: usize) -> Option<usize> {
    let word = u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?);
    usize::try_from(word).ok()
}

/// The first word of the attribute of this type.
fn attribute(mut bytes: &[u8], wanted: u16) -> Option<usize> {
    loop {
        let length = usize::from(u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(bytes.get(2..4)?.try_into().ok()?);
        if kind == wanted {
            return word(bytes, 4);
        }
        bytes = bytes.get(length.max(4).next_multiple_of(4)..)?;
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::os::unix::net::{UnixListener, UnixStream};

    use super::*;

    #[test]
    fn what_waits_is_counted_until_it_is_accepted() {
        for text in ["127.0.0.1:0", "0.0.0.0:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(text) else {
                // A machine may have no IPv6.
                assert!(text.contains("::1"), "{text}");
                continue;
            };
            let address = listener.local_addr().unwrap();
            let backlog = Backlog::of_tcp(Some(address));
            let _clients: Vec<_> = (0..5).map(|_| TcpStream::connect(address).unwrap()).collect();
            counts_down(&backlog, || drop(listener.accept().unwrap()));
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let listener = UnixListener::bind(&path).unwrap();
        let backlog = Backlog::of_unix(&listener);
        let _clients: Vec<_> = (0..5).map(|_| UnixStream::connect(&path).unwrap()).collect();
        counts_down(&backlog, || drop(listener.accept().unwrap()));
    }

    fn counts_down(backlog: &Backlog, accept: impl Fn()) {
        let Some(waiting) = backlog.waiting() else {
            // Where the kernel is not asked, nothing must be made up.
            eprintln!("the kernel does not tell how long the queues of listeners are");
            return;
        };
        assert_eq!(waiting, 5);
        for left in (0..5).rev() {
            accept();
            assert_eq!(backlog.waiting(), Some(left));
        }
    }

    #[test]
    fn of_what_is_not_there_nothing_is_known() {
        assert_eq!(Backlog(PolicyRequest::Nothing).waiting(), None);
        assert_eq!(Backlog(PolicyRequest::Unix(1)).waiting(), None);
    }
}
