//! Binds the addresses that the operator names, and accepts connections from them.
//!
//! [`bind`] binds all hosts or none, so that a failed start leaves nothing behind. Dropping a [`Listener`] closes its socket and removes its
//! socket file. The process that [passed a socket](InheritedSockets) keeps its own copy of it.
//!
//! - [`Address`] and [`Host`]: what `-H` means;
//! - [`SocketPermissions`]: the mode and the group of a unix socket;
//! - [`InheritedSockets`]: the sockets that systemd passes;
//! - [`Stream`]: a connection;
//! - [`Backlog`]: the number of connections that are not accepted yet.

mod address;
mod backlog;
mod backoff;
mod host;
mod inherited;
mod permissions;
mod socket_file;
mod stream;

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::io::Errno;
use rustix::net::SocketFlags;
use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixListener, UnixStream};

pub use self::address::{Address, AddressError};
pub use self::backlog::Backlog;
use self::backoff::accept_with_backoff;
pub use self::host::{FdSelector, Host};
use self::inherited::InheritedListener;
pub use self::inherited::{InheritError, InheritedSockets, SocketActivation};
pub use self::permissions::{PermissionsError, SocketPermissions};
use self::socket_file::SocketFile;
pub use self::socket_file::SocketFileError;
pub use self::stream::Stream;
use crate::listenbuffer::Listen;
use crate::tls;

/// The options of [`bind`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// The number of connections that the kernel holds until they are accepted. The kernel's own limit is `net.core.somaxconn`.
    /// Default: 4096.
    pub backlog: u32,
    /// Whether clients on other machines may connect without authentication. Default: no.
    pub insecure_tcp: bool,
    /// Who may connect to unix sockets that the daemon creates.
    pub permissions: SocketPermissions,
}

impl Default for Options {
    fn default() -> Self {
        Self { backlog: 4096, insecure_tcp: false, permissions: SocketPermissions::default() }
    }
}

/// A socket that accepts connections. Dropping it closes the socket, and removes the file of a unix socket that [`bind`] created.
#[derive(Debug)]
pub struct Listener {
    address: Address,
    socket: Socket,
    /// TLS for the connections. Always `None` on a unix socket.
    tls: Option<Arc<tls::Server>>,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener, #[expect(dead_code, reason = "dropping it removes the file")] Option<SocketFile>),
}

/// Why the daemon cannot listen on a host.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    #[error(
        "{0} is reachable from other machines, and clients would not be authenticated; require client certificates with --tls-cert, --tls-key and --tls-ca, bind a loopback address, or allow everyone with --insecure-tcp"
    )]
    Exposed(Address),
    #[error("cannot listen on {address}: {source}")]
    Tcp { address: Address, source: io::Error },
    #[error("cannot listen on {address}: {source}")]
    Unix { address: Address, source: SocketFileError },
    #[error("cannot listen on {host}: {source}")]
    Inherited { host: Host, source: InheritError },
}

/// Listens on all `hosts`, with `tls` on TCP if it is given. Closes the sockets of `inherited` that no host uses.
///
/// # Errors
/// [`BindError`] of the first host that fails. The sockets that were bound before it are closed again.
pub async fn bind(
    hosts: &[Host],
    options: Options,
    tls: Option<&Arc<tls::Server>>,
    inherited: &InheritedSockets,
) -> Result<Vec<Listener>, BindError> {
    let [listeners] = bind_groups([(hosts, options)], tls, inherited).await?;
    Ok(listeners)
}

/// Listens on all hosts of all groups, like [`bind`]. Each group has its own options and its own listeners.
///
/// # Errors
/// [`BindError`] of the first host that fails. The sockets that were bound before it are closed again.
pub async fn bind_groups<const N: usize>(
    groups: [(&[Host], Options); N],
    tls: Option<&Arc<tls::Server>>,
    inherited: &InheritedSockets,
) -> Result<[Vec<Listener>; N], BindError> {
    let mut bound = std::array::from_fn(|_| Vec::new());
    for ((hosts, options), bound) in groups.into_iter().zip(&mut bound) {
        *bound = bind_hosts(hosts, options, tls, inherited).await?;
    }
    let closed = inherited.close_unused();
    if !closed.is_empty() {
        tracing::warn!(closed = closed.join(", "), "closed passed sockets, because no -H fd:// uses them");
    }
    Ok(bound)
}

async fn bind_hosts(
    hosts: &[Host],
    options: Options,
    tls: Option<&Arc<tls::Server>>,
    inherited: &InheritedSockets,
) -> Result<Vec<Listener>, BindError> {
    let mut listeners = Vec::with_capacity(hosts.len());
    for host in hosts {
        match host {
            Host::Bind(address @ Address::Unix(path)) => {
                let (listener, file) = socket_file::bind(path, options.backlog, options.permissions)
                    .map_err(|source| BindError::Unix { address: address.clone(), source })?;
                listeners.push(Listener {
                    address: address.clone(),
                    socket: Socket::Unix(listener, Some(file)),
                    tls: None,
                });
            }
            Host::Bind(address @ Address::Tcp { host, port }) => {
                listeners.push(bind_tcp(address, host, *port, options, tls).await?);
            }
            Host::Inherited(selector) => {
                let failed = |source| BindError::Inherited { host: host.clone(), source };
                for inherited in inherited.listeners(selector).map_err(failed)? {
                    listeners.push(Listener::from_inherited(inherited, options, tls)?);
                }
            }
        }
    }
    Ok(listeners)
}

/// Returns whether other machines may reach a TCP socket: if clients must authenticate, or if the operator allows everyone.
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
    let resolved = resolved.ok_or_else(|| failed(io::Error::other("the name of the host has no IP address")))?;
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
    // Old connections of a daemon that has just stopped do not block the port.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(backlog)
}

fn is_loopback(address: &SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

impl Listener {
    /// Checks the address of a passed TCP socket like that of a bound one: this daemon serves it, no matter who bound it.
    fn from_inherited(
        inherited: InheritedListener,
        options: Options,
        tls: Option<&Arc<tls::Server>>,
    ) -> Result<Self, BindError> {
        match inherited {
            InheritedListener::Tcp(address, listener) => {
                let is_exposed = listener.local_addr().map_or(true, |bound| !is_loopback(&bound));
                if is_exposed && !may_be_exposed(options, tls) {
                    return Err(BindError::Exposed(address));
                }
                Ok(Self { address, socket: Socket::Tcp(listener), tls: tls.cloned() })
            }
            InheritedListener::Unix(address, listener) => {
                Ok(Self { address, socket: Socket::Unix(listener, None), tls: None })
            }
        }
    }

    /// Returns the address, with the real port.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Returns the real port of a TCP listener.
    pub fn tcp_port(&self) -> Option<u16> {
        match &self.socket {
            Socket::Tcp(listener) => listener.local_addr().map(|bound| bound.port()).ok(),
            Socket::Unix(..) => None,
        }
    }

    /// Returns the TLS for its connections, or `None` if they are plain.
    pub fn tls(&self) -> Option<&Arc<tls::Server>> {
        self.tls.as_ref()
    }

    /// Returns the queue of connections that are not accepted yet.
    pub fn backlog(&self) -> Backlog {
        match &self.socket {
            Socket::Tcp(listener) => Backlog::from_tcp(listener.local_addr().ok()),
            Socket::Unix(listener, _) => Backlog::from_unix(listener),
        }
    }
}

impl Listen for Listener {
    type Stream = Stream;

    async fn accept(&self) -> Stream {
        match &self.socket {
            Socket::Tcp(listener) => {
                let (stream, _) = accept_with_backoff(&self.address, || listener.accept()).await;
                Stream::from_tcp(stream)
            }
            Socket::Unix(listener, _) => {
                let (stream, _) = accept_with_backoff(&self.address, || listener.accept()).await;
                Stream::Unix(stream)
            }
        }
    }

    /// Calls the kernel directly. Tokio would only know of connections after its next poll, and its coop budget limits a task to some hundred
    /// at a time.
    fn try_accept(&self) -> Option<Stream> {
        let stream = match &self.socket {
            Socket::Tcp(listener) => TcpStream::from_std(accept_now(listener)?.into()).map(Stream::from_tcp),
            Socket::Unix(listener, _) => UnixStream::from_std(accept_now(listener)?.into()).map(Stream::Unix),
        };
        stream.ok()
    }
}

/// Accepts the next connection without waiting. Skips connections that were aborted.
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
