//! `HttpLimits`: the limits of the HTTP layer for clients, in number, size and time.

use std::time::Duration;

/// The limits for clients. Each field is a key of the table `[http]` of the configuration file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpLimits {
    /// Connections that are served at a time; more wait in the backlogs of the listeners. Default 4096.
    pub connections: usize,
    /// Of those, connections over TCP from one address; more are rejected with `busy`. Default 4096.
    pub connections_per_peer: usize,
    /// Concurrent requests of an HTTP/2 connection. Default 64.
    pub streams: u32,
    /// Bytes of the head of a request, including all header fields. Default 16 KiB.
    pub head: u32,
    /// Header fields of a request. Default 64.
    pub headers: usize,
    /// Time for the head of a request, from its first byte; for the first request from the start of the connection. Default 10 s.
    pub head_timeout: Duration,
    /// Time between the requests of a connection. Default 60 s.
    pub idle_timeout: Duration,
    /// Time between two pieces of a body that is read to its end before it is used. Default 30 s.
    pub body_timeout: Duration,
    /// Bytes per second at which such a body must arrive, on top of one `body_timeout`. 0 for no such limit. Default 1 KiB.
    pub body_rate: u64,
    /// Time for the client to read a piece of a response. Default 30 s.
    pub answer_timeout: Duration,
    /// The same for a response that follows events or logs, and for the rest of the output of a run that has ended. Default 10 min.
    pub stream_timeout: Duration,
}

impl Default for HttpLimits {
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

impl HttpLimits {
    /// Returns the shortest timeout of a connection: nothing that starts now can time out before it has passed.
    pub(super) fn shortest_timeout(&self) -> Duration {
        self.head_timeout.min(self.idle_timeout).min(self.answer_timeout).min(self.stream_timeout)
    }
}
