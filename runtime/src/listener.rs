//! Listeners: addresses in text become sockets that connections come from.
//!
//! [`bind`] takes all addresses or none, so that a daemon that cannot have one of them leaves nothing behind. Sockets are closed, and
//! socket files removed, by dropping their [`Listener`].

mod address;
mod backoff;
mod socketfile;
mod stream;

use std::io;
use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpSocket, UnixListener};

pub use self::address::{Address, AddressError};
use self::backoff::persistently;
use self::socketfile::SocketFile;
pub use self::socketfile::SocketFileError;
pub use self::stream::Stream;
use crate::listenbuffer::Listen;

/// How listeners are bound.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Connections that the kernel holds until they are accepted; it has a bound of its own, `net.core.somaxconn`. Default 4096.
    pub backlog: u32,
    /// Whether anyone who reaches this machine may be served, unencrypted and unauthenticated. Default no.
    pub insecure_tcp: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { backlog: 4096, insecure_tcp: false }
    }
}

/// A bound socket; dropping it closes it, and takes a unix socket's file away.
#[derive(Debug)]
pub struct Listener {
    address: Address,
    socket: Socket,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener, #[expect(dead_code, reason = "removes the file when it is dropped")] SocketFile),
}

/// Why an address could not be listened on.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    #[error(
        "{0} can be reached from other machines, and nobody would be asked who they are; bind a loopback address, or allow it with --insecure-tcp"
    )]
    Exposed(Address),
    #[error("cannot listen on {address}: {source}")]
    Tcp { address: Address, source: io::Error },
    #[error("cannot listen on {address}: {source}")]
    Unix { address: Address, source: SocketFileError },
}

/// Binds all of `addresses` and listens on them, or on none.
///
/// # Errors
/// [`BindError`] for the first that cannot be had; those bound before it are closed again.
pub async fn bind(addresses: &[Address], options: Options) -> Result<Vec<Listener>, BindError> {
    let mut listeners = Vec::with_capacity(addresses.len());
    for address in addresses {
        listeners.push(match address {
            Address::Unix(path) => {
                let (listener, file) = socketfile::bind(path, options.backlog)
                    .map_err(|source| BindError::Unix { address: address.clone(), source })?;
                Listener { address: address.clone(), socket: Socket::Unix(listener, file) }
            }
            Address::Tcp { host, port } => bind_tcp(address, host, *port, options).await?,
        });
    }
    Ok(listeners)
}

async fn bind_tcp(address: &Address, host: &str, port: u16, options: Options) -> Result<Listener, BindError> {
    let failed = |source| BindError::Tcp { address: address.clone(), source };
    let resolved = tokio::net::lookup_host((host, port)).await.map_err(failed)?.next();
    let resolved = resolved.ok_or_else(|| failed(io::Error::other("the host has no address")))?;
    if !options.insecure_tcp && !is_loopback(&resolved) {
        return Err(BindError::Exposed(address.clone()));
    }
    let listener = listen(resolved, options.backlog).map_err(failed)?;
    let port = listener.local_addr().map_err(failed)?.port();
    Ok(Listener { address: Address::Tcp { host: host.to_owned(), port }, socket: Socket::Tcp(listener) })
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

    fn try_accept(&self) -> Option<Stream> {
        use futures_util::FutureExt as _;
        match &self.socket {
            Socket::Tcp(listener) => listener.accept().now_or_never()?.ok().map(|(stream, _)| Stream::tcp(stream)),
            Socket::Unix(listener, _) => listener.accept().now_or_never()?.ok().map(|(stream, _)| Stream::Unix(stream)),
        }
    }
}

#[cfg(test)]
mod tests;
