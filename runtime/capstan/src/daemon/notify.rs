//! `Notify`: what the service manager is told, over the socket that it named in `NOTIFY_SOCKET` (`man 3 sd_notify`).
//!
//! A datagram a message, sent without waiting: a manager that does not read must not hold the daemon. The crate for this takes no abstract
//! socket, and reads the environment at each message; what is needed of it are these lines.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::time::Duration;

/// The way to the service manager; clones are the same. Without one, all that is told goes nowhere.
#[derive(Clone, Debug, Default)]
pub(super) struct Notify(Option<Arc<(UnixDatagram, SocketAddr)>>);

impl Notify {
    /// To the socket of this name: a path, or `@` and the name of an abstract one. A name that cannot be used is logged and left.
    pub(super) fn to(socket: Option<&OsStr>) -> Self {
        let Some(socket) = socket else { return Self::default() };
        match open(socket) {
            Ok(open) => Self(Some(Arc::new(open))),
            Err(error) => {
                let socket = socket.as_bytes().escape_ascii();
                tracing::warn!(%socket, %error, "the service manager cannot be told anything: NOTIFY_SOCKET");
                Self::default()
            }
        }
    }

    /// The start begins, and may take this long before the manager should give up.
    pub(super) fn starting(&self, deadline: Duration) {
        self.send(&format!("EXTEND_TIMEOUT_USEC={}\nSTATUS=starting", deadline.as_micros()));
    }

    /// The listeners are bound, and the gate is open.
    pub(super) fn ready(&self) {
        self.send("READY=1\nSTATUS=ready");
    }

    /// What it was told is read anew; [`Notify::reloaded`] follows.
    pub(super) fn reloading(&self) {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let micros = i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1000;
        self.send(&format!("RELOADING=1\nMONOTONIC_USEC={micros}\nSTATUS=reloading"));
    }

    /// That is over.
    pub(super) fn reloaded(&self, status: &str) {
        self.send(&format!("READY=1\nSTATUS={}", line(status)));
    }

    /// The end has begun.
    pub(super) fn stopping(&self, why: &str) {
        self.send(&format!("STOPPING=1\nSTATUS={}", line(why)));
    }

    /// What it is at.
    pub(super) fn status(&self, status: &str) {
        self.send(&format!("STATUS={}", line(status)));
    }

    /// It is alive.
    pub(super) fn alive(&self) {
        self.send("WATCHDOG=1");
    }

    fn send(&self, message: &str) {
        let Some((socket, to)) = self.0.as_deref() else { return };
        if let Err(error) = socket.send_to_addr(message.as_bytes(), to) {
            tracing::warn!(%error, message, "the service manager was not told");
        }
    }
}

fn open(name: &OsStr) -> io::Result<(UnixDatagram, SocketAddr)> {
    let to = match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        [b'/', ..] => SocketAddr::from_pathname(name)?,
        _ => return Err(io::Error::other("it is neither a path nor an abstract socket")),
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    Ok((socket, to))
}

/// A text as one line: what follows a line break would be taken for another message.
fn line(text: &str) -> String {
    text.replace(char::is_control, " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(from: &UnixDatagram) -> String {
        let mut buffer = [0; 1024];
        let length = from.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    #[test]
    fn a_message_is_a_datagram_to_a_path_or_to_an_abstract_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let by_path = UnixDatagram::bind(&path).unwrap();
        let name = format!("capstan-notify-{}", std::process::id());
        let by_name = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        for (socket, named) in [(by_path, path.into_os_string()), (by_name, format!("@{name}").into())] {
            let notify = Notify::to(Some(&named));
            notify.starting(Duration::from_secs(90));
            assert_eq!(received(&socket), "EXTEND_TIMEOUT_USEC=90000000\nSTATUS=starting");
            notify.ready();
            assert_eq!(received(&socket), "READY=1\nSTATUS=ready");
            notify.stopping("no\nREADY=1");
            assert_eq!(received(&socket), "STOPPING=1\nSTATUS=no READY=1");
        }
    }

    #[test]
    fn a_manager_that_is_not_there_or_does_not_read_costs_nothing() {
        for name in ["", "notify", "vsock:2:9", "/nowhere/notify", "@no-such-socket-here"] {
            Notify::to(Some(OsStr::new(name))).ready();
        }
        Notify::to(Some(OsStr::new(&format!("/{}", "x".repeat(200))))).ready();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let _deaf = UnixDatagram::bind(&path).unwrap();
        let notify = Notify::to(Some(path.as_os_str()));
        for _ in 0..10_000 {
            notify.alive();
        }
    }
}
