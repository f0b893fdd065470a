//! [`AccessLog`]: one line for each request that a handler answers.
//!
//! A line is written when the response was sent, or its client has disconnected.

use std::fmt::{self, Write as _};
use std::pin::Pin;
use std::str::FromStr;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use capstan_core::caller::Caller;
use http_body_util::BodyExt as _;
use hyper::Response;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use jiff::Timestamp;
use serde_json::json;
use tokio::time::Instant;

use super::body::{Aborted, Body};
use super::headers::JOB;
use super::request::Request;

/// Writes the lines of the log. It must not block.
pub trait AccessLogWriter: fmt::Debug + Send + Sync {
    /// Writes a line, which ends with a line feed.
    fn write_line(&self, line: &[u8]);
}

/// The format of the lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AccessLogFormat {
    /// The common log format, followed by the job, the handler, the seconds and the trace.
    #[default]
    Common,
    /// One JSON object on each line.
    Json,
}

/// The text is no format of the access log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no format of the access log; use common or json")]
pub struct AccessLogFormatError(String);

/// A log of the requests that handlers answer.
#[derive(Clone, Debug)]
pub struct AccessLog {
    pub format: AccessLogFormat,
    pub writer: Arc<dyn AccessLogWriter>,
}

/// A request that is being answered. Its line is written when the body of the response is dropped.
#[derive(Debug)]
pub(crate) struct AccessLogEntry {
    log: AccessLog,
    start: Instant,
    time: Timestamp,
    client: String,
    method: String,
    host: String,
    target: String,
    version: &'static str,
    trace: String,
    pub(crate) handler: String,
}

impl FromStr for AccessLogFormat {
    type Err = AccessLogFormatError;

    fn from_str(text: &str) -> Result<Self, AccessLogFormatError> {
        match text {
            "common" => Ok(Self::Common),
            "json" => Ok(Self::Json),
            _ => Err(AccessLogFormatError(text.to_owned())),
        }
    }
}

impl AccessLog {
    /// Starts the line of a request that belongs to the trace with this id.
    pub(crate) fn start(&self, request: &Request, trace: &str) -> AccessLogEntry {
        let head = &request.head;
        let client = match request.peer.caller() {
            Caller::Unauthenticated { address: Some(address) } => address.ip().to_canonical().to_string(),
            Caller::Process { .. } => "unix".to_owned(),
            Caller::Certificate(_) | Caller::Unauthenticated { address: None } => "-".to_owned(),
        };
        let host = head.uri.authority().map(|authority| authority.as_str().to_owned());
        let named = || Some(String::from_utf8_lossy(head.headers.get(hyper::header::HOST)?.as_bytes()).into_owned());
        AccessLogEntry {
            log: self.clone(),
            start: Instant::now(),
            time: Timestamp::now(),
            client,
            method: head.method.to_string(),
            host: host.or_else(named).unwrap_or_default(),
            target: head.uri.path_and_query().map_or("/", |target| target.as_str()).to_owned(),
            version: if head.version >= hyper::Version::HTTP_2 { "HTTP/2.0" } else { "HTTP/1.1" },
            trace: trace.to_owned(),
            handler: "-".to_owned(),
        }
    }
}

impl AccessLogEntry {
    /// Returns the response, whose end writes the line.
    pub(crate) fn finish(self, response: Response<Body>) -> Response<Body> {
        let status = response.status().as_u16();
        let job = response.headers().get(JOB).and_then(|job| job.to_str().ok()).map(str::to_owned);
        response.map(|body| LoggedBody { body, entry: self, status, job, bytes: 0 }.boxed_unsync())
    }

    fn line(&self, status: u16, job: Option<&str>, bytes: u64) -> String {
        let seconds = self.start.elapsed().as_secs_f64();
        match self.log.format {
            AccessLogFormat::Json => {
                let line = json!({
                    "time": self.time, "client": self.client, "method": self.method, "host": self.host,
                    "target": self.target, "version": self.version, "status": status, "bytes": bytes,
                    "seconds": seconds, "handler": self.handler, "job": job, "trace": self.trace,
                });
                format!("{line}\n")
            }
            AccessLogFormat::Common => {
                let time = self.time.strftime("%d/%b/%Y:%H:%M:%S +0000");
                let (target, handler) = (Quoted(&self.target), Quoted(&self.handler));
                let job = job.unwrap_or("-");
                format!(
                    "{} - - [{time}] \"{} {target} {}\" {status} {bytes} {job} {handler} {seconds:.6} {}\n",
                    self.client, self.method, self.version, self.trace
                )
            }
        }
    }
}

/// Writes text so that it cannot end its field or its line.
struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|letter| match letter {
            '!' | '#'..='[' | ']'..='~' => formatter.write_char(letter),
            letter => write!(formatter, "{}", letter.escape_unicode()),
        })
    }
}

/// The body of a logged response. Dropping it writes the line.
struct LoggedBody {
    body: Body,
    entry: AccessLogEntry,
    status: u16,
    job: Option<String>,
    bytes: u64,
}

impl HttpBody for LoggedBody {
    type Data = Bytes;
    type Error = Aborted;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Aborted>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &frame {
            self.bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for LoggedBody {
    fn drop(&mut self) {
        let line = self.entry.line(self.status, self.job.as_deref(), self.bytes);
        self.entry.log.writer.write_line(line.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_text_cannot_end_its_field_or_line() {
        assert_eq!(Quoted("/a?b=%20&c").to_string(), "/a?b=%20&c");
        assert_eq!(Quoted("a\" b\\\n").to_string(), "a\\u{22}\\u{20}b\\u{5c}\\u{a}");
    }
}
