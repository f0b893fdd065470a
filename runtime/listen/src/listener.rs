//! Listeners: addresses in text become sockets that connections come from.
//!
//! [`bind`] takes all hosts or none, so that a daemon that cannot have one of them leaves nothing behind. Sockets are closed, and
//! socket files removed, by dropping their [`Listener`]; of what was [passed](Inherited) to the daemon, whoever passed it keeps its own.

mod access;
mod address;
mod backlog;
mod backoff;
mod host;
mod inherited;
mod socket_file;
mod stream;

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::io::Errno;
use rustix::net::SocketFlags;
use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixListener, UnixStream};

pub use self::access::{Access, AccessError};
pub use self::address::{Address, AddressError};
pub use self::backlog::Backlog;
use self::backoff::persistently;
pub use self::host::{Host, Which};
use self::inherited::Adopted;
pub use self::inherited::{Activation, InheritError, Inherited};
use self::socket_file::SocketFile;
pub use self::socket_file::SocketFileError;
pub use self::stream::Stream;
use crate::listenbuffer::Listen;
use crate::tls;

/// How listeners are bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Connections that the kernel holds until they are accepted; it has a bound of its own, `net.core.somaxconn`. Default 4096.
    pub backlog: u32,
    /// Whether anyone who reaches this machine may be served without being asked who they are. Default no.
    pub insecure_tcp: bool,
    /// Who may connect to unix sockets that are made.
    pub access: Access,
}

impl Default for Options {
    fn default() -> Self {
        Self { backlog: 4096, insecure_tcp: false, access: Access::default() }
    }
}

/// A bound socket; dropping it closes it, and takes the file of a unix socket away that was made here.
#[derive(Debug)]
pub struct Listener {
    address: Address,
    socket: Socket,
    /// How connections are secured; over TCP only.
    tls: Option<Arc<tls::Server>>,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener, #[expect(dead_code, reason = "removes the file when it is dropped")] Option<SocketFile>),
}

/// Why an address could not be listened on.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    #[error(
        "{0} can be reached from other machines, and nobody would be asked who they are; ask them for certificates with --tls-cert, --tls-key and --tls-ca, bind a loopback address, or allow it with --insecure-tcp"
    )]
    Exposed(Address),
    #[error("cannot listen on {address}: {source}")]
    Tcp { address: Address, source: io::Error },
    #[error("cannot listen on {address}: {source}")]
    Unix { address: Address, source: SocketFileError },
    #[error("cannot listen on {host}: {source}")]
    Passed { host: Host, source: InheritError },
}

/// Binds all of `hosts` and listens on them, or on none; over TCP under `tls`, if there is any. Those of `inherited` that nobody asked
/// for are closed.
///
/// # Errors
/// [`BindError`] for the first that cannot be had; those bound before it are closed again.
pub async fn bind(
    hosts: &[Host],
    options: Options,
    tls: Option<&Arc<tls::Server>>,
    inherited: &Inherited,
) -> Result<Vec<Listener>, BindError> {
    let mut listeners = Vec::with_capacity(hosts.len());
    for host in hosts {
        match host {
            Host::Own(address @ Address::Unix(path)) => {
                let (listener, file) = socket_file::bind(path, options.backlog, options.access)
                    .map_err(|source| BindError::Unix { address: address.clone(), source })?;
                listeners.push(Listener {
                    address: address.clone(),
                    socket: Socket::Unix(listener, Some(file)),
                    tls: None,
                });
            }
            Host::Own(address @ Address::Tcp { host, port }) => {
                listeners.push(bind_tcp(address, host, *port, options, tls).await?);
            }
            Host::Passed(which) => {
                let failed = |source| BindError::Passed { host: host.clone(), source };
                for adopted in inherited.adopt(which).map_err(failed)? {
                    listeners.push(adopted.listener(options, tls)?);
                }
            }
        }
    }
    let unused = inherited.close_the_rest();
    if !unused.is_empty() {
        tracing::warn!(closed = unused.join(", "), "sockets were passed that no -H fd:// asks for");
    }
    Ok(listeners)
}

impl Adopted {
    /// Under the same rule as a socket of our own: it was bound by another, and is served by us.
    fn listener(self, options: Options, tls: Option<&Arc<tls::Server>>) -> Result<Listener, BindError> {
        match self {
            Self::Tcp(address, listener) => {
                let is_exposed = listener.local_addr().map_or(true, |bound| !is_loopback(&bound));
                if is_exposed && !may_be_exposed(options, tls) {
                    return Err(BindError::Exposed(address));
                }
                Ok(Listener { address, socket: Socket::Tcp(listener), tls: tls.cloned() })
            }
            Self::Unix(address, listener) => Ok(Listener { address, socket: Socket::Unix(listener, None), tls: None }),
        }
    }
}

/// Whether sockets may be served that other machines reach: where everyone must prove who they are, or the operator does not care.
fn may_be_exposed(options: Options, tls: Option<&Arc<tls::Server>>) -> bool {
    options.insecure_tcp || tls.is_some_and(|tls| tls.is_mutual())
}

async fn bind_tcp(
    address: &Address,
    host: &str,
    port: u16,
    options: Options,
    tls: Option<&Arc<tls::Server>>,
) -> Result<Listener, BindError> {
    let failed = |source| BindError::Tcp { address: address.clone(), source };
    let resolved = tokio::net::lookup_host((host, port)).await.map_err(failed)?.next();
    let resolved = resolved.ok_or_else(|| failed(io::Error::other("the host has no address")))?;
    if !is_loopback(&resolved) && !may_be_exposed(options, tls) {
        return Err(BindError::Exposed(address.clone()));
    }
    let listener = listen(resolved, options.backlog).map_err(failed)?;
    let port = listener.local_addr().map_err(failed)?.port();
    let address = Address::Tcp { host: host.to_owned(), port };
    Ok(Listener { address, socket: Socket::Tcp(listener), tls: tls.cloned() })
}

fn listen(address: SocketAddr, backlog: u32) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // Connections of a daemon that has just ended do not keep its successor from the port.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(backlog)
}

fn is_loopback(address: &SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

impl Listener {
    /// Where it listens, with the real port.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// The real port, where it listens on TCP.
    pub fn tcp_port(&self) -> Option<u16> {
        match &self.socket {
            Socket::Tcp(listener) => listener.local_addr().map(|bound| bound.port()).ok(),
            Socket::Unix(..) => None,
        }
    }

    /// How its connections are to be secured.
    pub fn tls(&self) -> Option<&Arc<tls::Server>> {
        self.tls.as_ref()
    }

    /// Where the kernel holds connections for it.
    pub fn backlog(&self) -> Backlog {
        match &self.socket {
            Socket::Tcp(listener) => Backlog::of_tcp(listener.local_addr().ok()),
            Socket::Unix(listener, _) => Backlog::of_unix(listener),
        }
    }
}

impl Listen for Listener {
    type Stream = Stream;

    async fn accept(&self) -> Stream {
        match &self.socket {
            Socket::Tcp(listener) => {
                let (stream, _) = persistently(&self.address, || listener.accept()).await;
                Stream::tcp(stream)
            }
            Socket::Unix(listener, _) => {
                let (stream, _) = persistently(&self.address, || listener.accept()).await;
                Stream::Unix(stream)
            }
        }
    }

    /// Asks the kernel itself: tokio knows of those who wait only once it has looked, and lets a task take some hundred at a time.
    fn try_accept(&self) -> Option<Stream> {
        let stream = match &self.socket {
            Socket::Tcp(listener) => TcpStream::from_std(accept_now(listener)?.into()).map(Stream::tcp),
            Socket::Unix(listener, _) => UnixStream::from_std(accept_now(listener)?.into()).map(Stream::Unix),
        };
        stream.ok()
    }
}

/// The next connection if one waits; who has gone meanwhile is passed over.
fn accept_now(listener: impl AsFd) -> Option<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    loop {
        match rustix::net::accept_with(&listener, flags) {
            Err(Errno::CONNABORTED | Errno::INTR) => {}
            accepted => return accepted.ok(),
        }
    }
}

#[cfg(test)]
mod tests;
