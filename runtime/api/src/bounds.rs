//! `Bounds`: what a client may take of the HTTP layer, in room and in time.

use std::time::Duration;

/// What clients may take. Each has a default, see [`Bounds::default`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Connections that are served at a time; more wait in the backlogs of the listeners. Default 4096.
    pub connections: usize,
    /// Of those, how many may come from one address over TCP; who has them all is told `busy`. Default all.
    pub connections_per_peer: usize,
    /// Requests that an HTTP/2 connection may make at a time. Default 64.
    pub streams: u32,
    /// Bytes of the head of a request, with everything in it. Default 16 KiB.
    pub head: u32,
    /// Header fields of a request. Default 64.
    pub headers: usize,
    /// How long a client may take for the head of a request, from its first byte on; for the first from the connection on.
    /// Default 10 s.
    pub head_timeout: Duration,
    /// How long a connection may stay on which nothing is asked. Default 60 s.
    pub idle_timeout: Duration,
    /// How long a client may pause within a body that is read whole. Default 30 s.
    pub body_timeout: Duration,
    /// Bytes of such a body that must come in a second, once the pause that is allowed has been taken. 0 for none. Default 1 KiB.
    pub body_rate: u64,
    /// How long a client may leave a piece of an answer unread. Default 30 s.
    pub answer_timeout: Duration,
    /// The same for an answer that follows what happens, and for what is left of a run that has ended. Default 10 min.
    pub stream_timeout: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            connections: 4096,
            connections_per_peer: 4096,
            streams: 64,
            head: 16 << 10,
            headers: 64,
            head_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
            body_timeout: Duration::from_secs(30),
            body_rate: 1 << 10,
            answer_timeout: Duration::from_secs(30),
            stream_timeout: Duration::from_secs(600),
        }
    }
}

impl Bounds {
    /// The shortest of the times: nothing that begins now is too late before it is over.
    pub(super) fn shortest(&self) -> Duration {
        self.head_timeout.min(self.idle_timeout).min(self.answer_timeout).min(self.stream_timeout)
    }
}
