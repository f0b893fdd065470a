//! `Backlog`: the number of connections that the kernel holds until a listener accepts them.
//!
//! The kernel reports it for one TCP or unix socket through socket diagnostics (`man 7 sock_diag`), without listing all sockets. A container
//! may forbid this interface; the number is unknown then.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;

use rustix::net::netlink::{self, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

/// The type of a request for the sockets of one address family, and of its response.
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLM_F_REQUEST: u16 = 1;
/// The length of `struct nlmsghdr`, in bytes.
const HEADER: usize = 16;
/// The cookie of a socket in a request that does not know it.
const NO_COOKIE: [u8; 8] = [0xff; 8];
const TCP: u8 = 6;
/// The states of the requested sockets, as bits: only `TCP_LISTEN`.
const LISTENING: u32 = 1 << 10;
/// Requests the length of the queue, which the response contains as attribute [`UNIX_DIAG_RQLEN`].
const UDIAG_SHOW_RQLEN: u32 = 0x10;
const UNIX_DIAG_RQLEN: u16 = 4;

/// The queue of a listening socket. It is valid as long as the socket is open.
#[derive(Clone, Debug)]
pub struct Backlog(Socket);

#[derive(Clone, Debug)]
enum Socket {
    Tcp(SocketAddr),
    /// The number of its inode.
    Unix(u32),
    Unknown,
}

impl Backlog {
    pub(super) fn from_tcp(address: Option<SocketAddr>) -> Self {
        Self(address.map_or(Socket::Unknown, Socket::Tcp))
    }

    pub(super) fn from_unix(socket: impl AsFd) -> Self {
        let inode = rustix::fs::fstat(socket).ok().and_then(|stat| u32::try_from(stat.st_ino).ok());
        Self(inode.map_or(Socket::Unknown, Socket::Unix))
    }

    /// Returns the number of connections in the queue, or `None` if the kernel does not report it. Takes a few system calls and never
    /// waits.
    pub fn waiting(&self) -> Option<usize> {
        let request = match &self.0 {
            Socket::Tcp(address) => tcp_request(*address),
            Socket::Unix(inode) => unix_request(*inode),
            Socket::Unknown => return None,
        };
        let response = query(&request)?;
        match &self.0 {
            Socket::Tcp(_) => read_u32(&response, 56),
            Socket::Unix(_) => attribute(response.get(16..)?, UNIX_DIAG_RQLEN),
            Socket::Unknown => None,
        }
    }
}

/// Returns a `struct inet_diag_req_v2`.
fn tcp_request(address: SocketAddr) -> Vec<u8> {
    let (family, source) = match address.ip() {
        IpAddr::V4(ip) => (AddressFamily::INET, [&ip.octets()[..], &[0; 12]].concat()),
        IpAddr::V6(ip) => (AddressFamily::INET6, ip.octets().to_vec()),
    };
    let mut request = vec![family_byte(family), TCP, 0, 0];
    request.extend(LISTENING.to_ne_bytes());
    request.extend(address.port().to_be_bytes());
    request.extend([0; 2]);
    request.extend(source);
    // The destination and the interface are empty.
    request.extend([0; 16 + 4]);
    request.extend(NO_COOKIE);
    request
}

/// Returns a `struct unix_diag_req`.
fn unix_request(inode: u32) -> Vec<u8> {
    let mut request = vec![family_byte(AddressFamily::UNIX), 0, 0, 0];
    request.extend(u32::MAX.to_ne_bytes());
    request.extend(inode.to_ne_bytes());
    request.extend(UDIAG_SHOW_RQLEN.to_ne_bytes());
    request.extend(NO_COOKIE);
    request
}

fn family_byte(family: AddressFamily) -> u8 {
    u8::try_from(family.as_raw()).expect("all address families used here have small numbers")
}

/// Sends a request and returns the response without its header.
fn query(request: &[u8]) -> Option<Vec<u8>> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let kind = Some(netlink::SOCK_DIAG);
    let socket = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, kind).ok()?;
    let mut message = Vec::with_capacity(HEADER + request.len());
    message.extend(u32::try_from(HEADER + request.len()).ok()?.to_ne_bytes());
    message.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    message.extend(NLM_F_REQUEST.to_ne_bytes());
    message.extend([0; 8]);
    message.extend(request);
    rustix::net::sendto(&socket, &message, SendFlags::empty(), &SocketAddrNetlink::new(0, 0)).ok()?;
    // The kernel has put its response into the socket before `sendto` returns.
    let mut response = vec![0; 4096];
    let (length, _) = rustix::net::recv(&socket, &mut response[..], RecvFlags::empty()).ok()?;
    response.truncate(length);
    let kind = u16::from_ne_bytes(response.get(4..6)?.try_into().ok()?);
    (kind == SOCK_DIAG_BY_FAMILY).then(|| response.split_off(HEADER))
}

fn read_u32(bytes: &[u8], at: usize) -> Option<usize> {
    let value = u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?);
    usize::try_from(value).ok()
}

/// Returns the first four bytes of the attribute of type `kind`, as a number.
fn attribute(mut bytes: &[u8], kind: u16) -> Option<usize> {
    loop {
        let length = usize::from(u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?));
        let current = u16::from_ne_bytes(bytes.get(2..4)?.try_into().ok()?);
        if current == kind {
            return read_u32(bytes, 4);
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
    fn waiting_counts_connections_until_they_are_accepted() {
        for text in ["127.0.0.1:0", "0.0.0.0:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(text) else {
                // A machine may have no IPv6.
                assert!(text.contains("::1"), "{text}");
                continue;
            };
            let address = listener.local_addr().unwrap();
            let backlog = Backlog::from_tcp(Some(address));
            let _clients: Vec<_> = (0..5).map(|_| TcpStream::connect(address).unwrap()).collect();
            assert_accept_counts_down(&backlog, || drop(listener.accept().unwrap()));
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let listener = UnixListener::bind(&path).unwrap();
        let backlog = Backlog::from_unix(&listener);
        let _clients: Vec<_> = (0..5).map(|_| UnixStream::connect(&path).unwrap()).collect();
        assert_accept_counts_down(&backlog, || drop(listener.accept().unwrap()));
    }

    fn assert_accept_counts_down(backlog: &Backlog, accept: impl Fn()) {
        let Some(waiting) = backlog.waiting() else {
            eprintln!("the kernel does not report the backlog of listeners here");
            return;
        };
        assert_eq!(waiting, 5);
        for left in (0..5).rev() {
            accept();
            assert_eq!(backlog.waiting(), Some(left));
        }
    }

    #[test]
    fn waiting_of_an_unknown_socket_is_none() {
        assert_eq!(Backlog(Socket::Unknown).waiting(), None);
        assert_eq!(Backlog(Socket::Unix(1)).waiting(), None);
    }
}
