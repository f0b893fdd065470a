//! `Stream`: a TCP, unix or TLS connection that is read and written through shared references.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::task::{Context, Poll};
use std::time::Duration;

use capstan_core::caller::Caller;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{RecvFlags, Shutdown, recv, sockopt};
use tokio::io::{Interest, ReadBuf, Ready};
use tokio::net::{TcpStream, UnixStream};

use crate::tls::TlsStream;

/// A TCP, unix or TLS connection.
#[derive(Debug)]
pub enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<TlsStream>),
}

impl Stream {
    pub(super) fn from_tcp(stream: TcpStream) -> Self {
        // Without delay, small responses are sent at once. Keepalive detects a peer that disappeared after about 30 s. The connection works
        // without these options, so errors are ignored.
        let _ = stream.set_nodelay(true);
        let _ = sockopt::set_socket_keepalive(&stream, true);
        let _ = sockopt::set_tcp_keepidle(&stream, Duration::from_secs(15));
        let _ = sockopt::set_tcp_keepintvl(&stream, Duration::from_secs(5));
        let _ = sockopt::set_tcp_keepcnt(&stream, 3);
        Self::Tcp(stream)
    }

    /// Returns the address of the client. Returns `None` on a unix socket, and if the client has disconnected.
    pub fn peer(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(stream) => stream.peer_addr().ok(),
            Self::Tls(stream) => stream.tcp().peer_addr().ok(),
            Self::Unix(_) => None,
        }
    }

    /// Returns the identity of the client.
    pub fn caller(&self) -> Caller {
        match self {
            Self::Tcp(_) => Caller::Unauthenticated { address: self.peer() },
            Self::Tls(stream) => match stream.identity() {
                Some(identity) => Caller::Certificate(identity.clone()),
                None => Caller::Unauthenticated { address: self.peer() },
            },
            Self::Unix(stream) => match stream.peer_cred() {
                Ok(cred) => Caller::Process { uid: cred.uid(), gid: cred.gid(), pid: cred.pid() },
                Err(_) => Caller::Unauthenticated { address: None },
            },
        }
    }

    /// Waits until the socket is ready. A TLS connection may have decrypted bytes although its socket is not readable. Cancel-safe.
    pub async fn ready(&self, interest: Interest) -> io::Result<Ready> {
        match self {
            Self::Tcp(stream) => stream.ready(interest).await,
            Self::Unix(stream) => stream.ready(interest).await,
            Self::Tls(stream) => stream.tcp().ready(interest).await,
        }
    }

    /// Asks the kernel whether both directions are closed. [`ready`](Self::ready) may learn of it later.
    pub fn is_hung_up(&self) -> bool {
        let mut descriptors = [match self {
            Self::Tcp(stream) => PollFd::new(stream, PollFlags::empty()),
            Self::Unix(stream) => PollFd::new(stream, PollFlags::empty()),
            Self::Tls(stream) => PollFd::new(stream.tcp(), PollFlags::empty()),
        }];
        let no_wait = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut descriptors, Some(&no_wait)).is_ok() && descriptors[0].revents().contains(PollFlags::HUP)
    }

    /// Polls for readiness to read.
    pub fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(stream) => stream.poll_read_ready(cx),
            Self::Unix(stream) => stream.poll_read_ready(cx),
            Self::Tls(stream) => stream.poll_read_ready(cx),
        }
    }

    /// Polls for readiness to write.
    pub fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(stream) => stream.poll_write_ready(cx),
            Self::Unix(stream) => stream.poll_write_ready(cx),
            Self::Tls(stream) => stream.tcp().poll_write_ready(cx),
        }
    }

    /// Reads without waiting. Returns `WouldBlock` if there is nothing to read.
    pub fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.try_read(buffer),
            Self::Unix(stream) => stream.try_read(buffer),
            Self::Tls(stream) => stream.try_read(buffer),
        }
    }

    /// Like [`try_read`](Self::try_read), into the unfilled part of `buffer`.
    pub fn try_read_buf(&self, buffer: &mut ReadBuf<'_>) -> io::Result<usize> {
        let (room, mut size) = (buffer.remaining(), 0);
        // A read that leaves room has emptied the socket. It counts as not readable from then on, until more arrives: otherwise the next read
        // would take a system call to find out. tokio does the same where it reads through `&mut`.
        let mut check_emptied = |read: io::Result<usize>| {
            size = read?;
            if (1..room).contains(&size) { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
        };
        let read = match self {
            Self::Tcp(stream) => stream.try_io(Interest::READABLE, || check_emptied(stream.try_read_buf(buffer))),
            Self::Unix(stream) => stream.try_io(Interest::READABLE, || check_emptied(stream.try_read_buf(buffer))),
            Self::Tls(stream) => {
                let read = stream.try_read(buffer.initialize_unfilled())?;
                buffer.advance(read);
                return Ok(read);
            }
        };
        match read {
            Err(error) if size == 0 => Err(error),
            _ => Ok(size),
        }
    }

    /// Copies the received bytes without taking them from the socket. Those of a TLS connection are encrypted.
    pub fn try_peek(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let peeked = match self {
            Self::Tcp(stream) => peek(stream, buffer),
            Self::Tls(stream) => peek(stream.tcp(), buffer),
            Self::Unix(stream) => {
                stream.try_io(Interest::READABLE, || Ok(recv(stream, &mut *buffer, RecvFlags::PEEK)?))
            }
        };
        peeked.map(|(copied, _)| copied)
    }

    /// Writes without waiting. Returns `WouldBlock` if there is no room.
    pub fn try_write_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.try_write_vectored(slices),
            Self::Unix(stream) => stream.try_write_vectored(slices),
            Self::Tls(stream) => stream.try_write_vectored(slices),
        }
    }

    /// Passes written bytes to the kernel. Only a TLS connection buffers any.
    pub fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(_) | Self::Unix(_) => Poll::Ready(Ok(())),
            Self::Tls(stream) => stream.poll_flush(cx),
        }
    }

    /// Closes the connection for writing. Call it again if it returns `WouldBlock`, which only a TLS connection does.
    pub fn shutdown(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => rustix::net::shutdown(stream, Shutdown::Write)?,
            Self::Unix(stream) => rustix::net::shutdown(stream, Shutdown::Write)?,
            Self::Tls(stream) => stream.shutdown()?,
        }
        Ok(())
    }

    /// Makes dropping a TCP or TLS connection send a reset. Returns whether it will.
    pub fn reset_when_dropped(&self) -> bool {
        match self {
            Self::Tcp(stream) => sockopt::set_socket_linger(stream, Some(Duration::ZERO)).is_ok(),
            Self::Tls(stream) => sockopt::set_socket_linger(stream.tcp(), Some(Duration::ZERO)).is_ok(),
            Self::Unix(_) => false,
        }
    }
}

fn peek(stream: &TcpStream, buffer: &mut [u8]) -> io::Result<(usize, usize)> {
    stream.try_io(Interest::READABLE, || Ok(recv(stream, buffer, RecvFlags::PEEK)?))
}
