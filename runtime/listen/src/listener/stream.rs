//! `Stream`: a connection, of any kind, whose halves are used by reference.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{RecvFlags, Shutdown, recv, sockopt};
use tokio::io::{Interest, ReadBuf, Ready};
use tokio::net::{TcpStream, UnixStream};

use crate::tls::Tls;
use capstan_core::caller::Caller;

/// A connection of any kind.
#[derive(Debug)]
pub enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<Tls>),
}

impl Stream {
    pub(super) fn tcp(stream: TcpStream) -> Self {
        // Both only make it quicker: to send what is small, and to find out that a machine has gone without a word.
        let _ = stream.set_nodelay(true);
        let _ = sockopt::set_socket_keepalive(&stream, true);
        let _ = sockopt::set_tcp_keepidle(&stream, Duration::from_secs(15));
        let _ = sockopt::set_tcp_keepintvl(&stream, Duration::from_secs(5));
        let _ = sockopt::set_tcp_keepcnt(&stream, 3);
        Self::Tcp(stream)
    }

    /// Where it comes from over TCP, unless it is gone already.
    pub fn peer(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(stream) => stream.peer_addr().ok(),
            Self::Tls(stream) => stream.tcp().peer_addr().ok(),
            Self::Unix(_) => None,
        }
    }

    /// Who is at its other end.
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

    /// How the socket itself is: of a secured connection, there may be more to read than the socket knows.
    pub async fn ready(&self, interest: Interest) -> io::Result<Ready> {
        match self {
            Self::Tcp(stream) => stream.ready(interest).await,
            Self::Unix(stream) => stream.ready(interest).await,
            Self::Tls(stream) => stream.tcp().ready(interest).await,
        }
    }

    /// Whether both halves are closed, by the kernel's word of this moment. [`ready`](Self::ready) may not have heard of it yet.
    pub fn is_hung_up(&self) -> bool {
        let mut asked = [match self {
            Self::Tcp(stream) => PollFd::new(stream, PollFlags::empty()),
            Self::Unix(stream) => PollFd::new(stream, PollFlags::empty()),
            Self::Tls(stream) => PollFd::new(stream.tcp(), PollFlags::empty()),
        }];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut asked, Some(&now)).is_ok() && asked[0].revents().contains(PollFlags::HUP)
    }

    pub fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(stream) => stream.poll_read_ready(cx),
            Self::Unix(stream) => stream.poll_read_ready(cx),
            Self::Tls(stream) => stream.poll_read_ready(cx),
        }
    }

    pub fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(stream) => stream.poll_write_ready(cx),
            Self::Unix(stream) => stream.poll_write_ready(cx),
            Self::Tls(stream) => stream.tcp().poll_write_ready(cx),
        }
    }

    pub fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.try_read(buffer),
            Self::Unix(stream) => stream.try_read(buffer),
            Self::Tls(stream) => stream.try_read(buffer),
        }
    }

    pub fn try_read_buf(&self, buffer: &mut ReadBuf<'_>) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.try_read_buf(buffer),
            Self::Unix(stream) => stream.try_read_buf(buffer),
            Self::Tls(stream) => {
                let read = stream.try_read(buffer.initialize_unfilled())?;
                buffer.advance(read);
                Ok(read)
            }
        }
    }

    /// What has come, without taking it; of a secured connection, as it came.
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

    pub fn try_write_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.try_write_vectored(slices),
            Self::Unix(stream) => stream.try_write_vectored(slices),
            Self::Tls(stream) => stream.try_write_vectored(slices),
        }
    }

    /// Hands the kernel what was written, which a secured connection may still have.
    pub fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(_) | Self::Unix(_) => Poll::Ready(Ok(())),
            Self::Tls(stream) => stream.poll_flush(cx),
        }
    }

    /// Closes the writing half. Of a secured connection, it is to be called again once there is room where there was none.
    pub fn shutdown(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => rustix::net::shutdown(stream, Shutdown::Write)?,
            Self::Unix(stream) => rustix::net::shutdown(stream, Shutdown::Write)?,
            Self::Tls(stream) => stream.shutdown()?,
        }
        Ok(())
    }

    /// Makes the end of a TCP connection a reset; whether it will be.
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
