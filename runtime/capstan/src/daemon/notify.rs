//! `Notifier`: reports the state of the daemon to the service manager, over the socket in `NOTIFY_SOCKET` (`man 3 sd_notify`).
//!
//! Each message is one datagram, sent without waiting: a manager that does not read must not block the daemon. The crate for this protocol
//! supports no abstract sockets and reads the environment for each message.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::time::Duration;

/// A connection to the service manager. Clones share it. Without a service manager, all messages are dropped.
#[derive(Clone, Debug, Default)]
pub(super) struct Notifier(Option<Arc<(UnixDatagram, SocketAddr)>>);

impl Notifier {
    /// Creates a notifier for the socket with this name, which is a path, or `@` and the name of an abstract socket. A name that cannot be used
    /// is logged, and the notifier drops all messages then.
    pub(super) fn new(socket: Option<&OsStr>) -> Self {
        let Some(socket) = socket else { return Self::default() };
        match open(socket) {
            Ok(open) => Self(Some(Arc::new(open))),
            Err(error) => {
                let socket = socket.as_bytes().escape_ascii();
                tracing::warn!(%socket, %error, "cannot use NOTIFY_SOCKET, so the service manager gets no notifications");
                Self::default()
            }
        }
    }

    /// Reports that the start has begun, and may take until `deadline`.
    pub(super) fn starting(&self, deadline: Duration) {
        self.send(&format!("EXTEND_TIMEOUT_USEC={}\nSTATUS=starting", deadline.as_micros()));
    }

    /// Reports that the listeners are bound and the gate is open.
    pub(super) fn ready(&self) {
        self.send("READY=1\nSTATUS=ready");
    }

    /// Reports that a reload has begun. [`Notifier::reloaded`] must follow.
    pub(super) fn reloading(&self) {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let micros = i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1000;
        self.send(&format!("RELOADING=1\nMONOTONIC_USEC={micros}\nSTATUS=reloading"));
    }

    /// Reports that the reload is over.
    pub(super) fn reloaded(&self, status: &str) {
        self.send(&format!("READY=1\nSTATUS={}", line(status)));
    }

    /// Reports that the daemon is stopping, for this reason.
    pub(super) fn stopping(&self, reason: &str) {
        self.send(&format!("STOPPING=1\nSTATUS={}", line(reason)));
    }

    /// Reports what the daemon is doing.
    pub(super) fn status(&self, status: &str) {
        self.send(&format!("STATUS={}", line(status)));
    }

    /// Reports to the watchdog that the daemon is alive.
    pub(super) fn alive(&self) {
        self.send("WATCHDOG=1");
    }

    fn send(&self, message: &str) {
        let Some((socket, to)) = self.0.as_deref() else { return };
        if let Err(error) = socket.send_to_addr(message.as_bytes(), to) {
            tracing::warn!(%error, message, "cannot notify the service manager");
        }
    }
}

fn open(name: &OsStr) -> io::Result<(UnixDatagram, SocketAddr)> {
    let to = match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        [b'/', ..] => SocketAddr::from_pathname(name)?,
        _ => return Err(io::Error::other("it is neither an absolute path nor an abstract socket")),
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    Ok((socket, to))
}

/// Returns a text as one line, because a line break would start another field.
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
    fn message_is_sent_to_a_path_or_an_abstract_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let by_path = UnixDatagram::bind(&path).unwrap();
        let name = format!("capstan-notify-{}", std::process::id());
        let by_name = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        for (socket, named) in [(by_path, path.into_os_string()), (by_name, format!("@{name}").into())] {
            let notifier = Notifier::new(Some(&named));
            notifier.starting(Duration::from_secs(90));
            assert_eq!(received(&socket), "EXTEND_TIMEOUT_USEC=90000000\nSTATUS=starting");
            notifier.ready();
            assert_eq!(received(&socket), "READY=1\nSTATUS=ready");
            notifier.stopping("no\nREADY=1");
            assert_eq!(received(&socket), "STOPPING=1\nSTATUS=no READY=1");
        }
    }

    #[test]
    fn missing_or_blocked_service_manager_is_ignored() {
        for name in ["", "notify", "vsock:2:9", "/nowhere/notify", "@no-such-socket-here"] {
            Notifier::new(Some(OsStr::new(name))).ready();
        }
        Notifier::new(Some(OsStr::new(&format!("/{}", "x".repeat(200))))).ready();
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let _blocked = UnixDatagram::bind(&path).unwrap();
        let notifier = Notifier::new(Some(path.as_os_str()));
        for _ in 0..10_000 {
            notifier.alive();
        }
    }
}
