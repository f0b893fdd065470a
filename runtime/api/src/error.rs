//! `Error`: a failure as the client sees it, with a status, a stable code and a message.
//!
//! [`conversions`] maps the errors of the engine to it.

mod conversions;

use capstan_engine::handler_store::ForeignKind;
use capstan_engine::job::JobId;
use capstan_listen::listenbuffer::StartupPhase;
use hyper::header::{ALLOW, CONNECTION, HeaderValue, RETRY_AFTER, SEC_WEBSOCKET_VERSION, UPGRADE};
use hyper::{Response, StatusCode};
use serde_json::json;

use super::body::{self, Body};
use super::headers::{self, JOB, WEBSOCKET, WEBSOCKET_VERSION};
use super::http_limits::HttpLimits;

/// Seconds after which a client should retry while the daemon is busy, starts or stops.
const RETRY_SECONDS: HeaderValue = HeaderValue::from_static("1");

/// The most characters of an unknown job id that the message repeats. An id in a path may be as long as the head of a request.
const MAX_ID: usize = 32;

/// A failure that becomes the response to a request.
#[expect(clippy::error_impl_error, reason = "the one error of the API: `capstan_api::error::Error`")]
#[derive(Debug, thiserror::Error)]
#[error("{code}: {message}")]
pub(crate) struct Error {
    status: StatusCode,
    code: &'static str,
    message: String,
    /// Whether the response has `Retry-After`.
    is_retryable: bool,
    /// The methods for `Allow`.
    allowed_methods: Option<HeaderValue>,
    /// The protocol that the request must ask to upgrade to.
    required_upgrade: Option<&'static str>,
    /// The job that the error is about.
    job: Option<Box<JobId>>,
    /// The phase of the start that the daemon is in.
    phase: Option<StartupPhase>,
    /// What kind of program was rejected.
    kind: Option<ForeignKind>,
    /// Whether the connection ends with the response, because the rest of the request is not read.
    closes_connection: bool,
}

impl Error {
    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            is_retryable: false,
            allowed_methods: None,
            required_upgrade: None,
            job: None,
            phase: None,
            kind: None,
            closes_connection: false,
        }
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", message)
    }

    pub(crate) fn invalid_env(message: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_env", message)
    }

    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", message)
    }

    pub(crate) fn unknown_job(id: &str) -> Self {
        let id: String = id.chars().take(MAX_ID).collect();
        Self::new(StatusCode::NOT_FOUND, "unknown_job", format!("no job {id}"))
    }

    pub(crate) fn ambiguous_job(prefix: &str, first: JobId, second: JobId) -> Self {
        let message = format!(
            "several jobs have an id that starts with {prefix}, among them {first} and {second}; send more digits"
        );
        Self::new(StatusCode::CONFLICT, "ambiguous_job", message)
    }

    pub(crate) fn no_logs(job: JobId) -> Self {
        let message = format!("the output of job {job} was sent to the client that ran it, and was not stored");
        Self { job: Some(job.into()), ..Self::new(StatusCode::NOT_FOUND, "no_logs", message) }
    }

    pub(crate) fn unknown_attempt(job: JobId, attempt: u32) -> Self {
        let message = format!("job {job} has no attempt {attempt}");
        Self { job: Some(job.into()), ..Self::new(StatusCode::NOT_FOUND, "unknown_attempt", message) }
    }

    pub(crate) fn not_durable(job: JobId) -> Self {
        let message = format!("job {job} is not durable: the daemon does not keep what it would need to run again");
        Self { job: Some(job.into()), ..Self::new(StatusCode::CONFLICT, "not_durable", message) }
    }

    pub(crate) fn not_running(job: JobId) -> Self {
        let message = format!("job {job} is not running now");
        Self { job: Some(job.into()), ..Self::new(StatusCode::CONFLICT, "not_running", message) }
    }

    pub(crate) fn job_ended(job: JobId) -> Self {
        let message = format!("job {job} has already ended");
        Self { job: Some(job.into()), ..Self::new(StatusCode::CONFLICT, "job_ended", message) }
    }

    pub(crate) fn conflict(job: JobId, message: impl Into<String>) -> Self {
        Self { job: Some(job.into()), ..Self::new(StatusCode::CONFLICT, "conflict", message) }
    }

    pub(crate) fn too_large(limit: u64) -> Self {
        let message = format!(
            "the body is larger than the limit of {limit} bytes; for programs and stdin, the limit is `upload` under [compile] in the \
             configuration of the daemon"
        );
        Self { closes_connection: true, ..Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message) }
    }

    pub(crate) fn files_too_large(limit: u64) -> Self {
        let message = format!("the archive of the files is larger than the limit of {limit} bytes");
        Self { closes_connection: true, ..Self::new(StatusCode::PAYLOAD_TOO_LARGE, "files_too_large", message) }
    }

    pub(crate) fn head_too_large(limits: &HttpLimits) -> Self {
        let message = format!(
            "the head of the request has more than {} bytes (http.head) or {} fields (http.headers); \
             send arguments and variables in the body of the request",
            limits.head, limits.headers
        );
        Self::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "headers_too_large", message)
    }

    pub(crate) fn http10_output_too_large(limit: usize) -> Self {
        let message = format!(
            "the output has more than {limit} bytes, and HTTP/1.0 cannot report the outcome after it; use HTTP/1.1"
        );
        Self::new(StatusCode::HTTP_VERSION_NOT_SUPPORTED, "http_version_not_supported", message)
    }

    pub(crate) fn encoded_body(encoding: &str) -> Self {
        let message = format!("the body is encoded ({encoding}); send it without Content-Encoding");
        Self {
            closes_connection: true,
            ..Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_encoding", message)
        }
    }

    pub(crate) fn too_slow(message: impl Into<String>) -> Self {
        Self { closes_connection: true, ..Self::new(StatusCode::REQUEST_TIMEOUT, "too_slow", message) }
    }

    pub(crate) fn method_not_allowed(method: &hyper::Method, allowed: &str) -> Self {
        let message = format!("this path does not support {method}; it supports {allowed}");
        let error = Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message);
        let allowed = HeaderValue::from_str(allowed).expect("method names are header text");
        Self { allowed_methods: Some(allowed), ..error }
    }

    pub(crate) fn upgrade_required(protocol: &'static str) -> Self {
        let message = format!(
            "this path requires an upgrade: send the request with HTTP/1.1 and the headers \
             Connection: Upgrade and Upgrade: {protocol}"
        );
        let error = Self::new(StatusCode::UPGRADE_REQUIRED, "upgrade_required", message);
        Self { required_upgrade: Some(protocol), ..error }
    }

    pub(crate) fn websocket_version() -> Self {
        let message = format!(
            "only version {WEBSOCKET_VERSION} of WebSocket is supported: \
             send the header Sec-WebSocket-Version: {WEBSOCKET_VERSION}"
        );
        let error = Self::new(StatusCode::UPGRADE_REQUIRED, "upgrade_required", message);
        Self { required_upgrade: Some(WEBSOCKET), ..error }
    }

    pub(crate) fn unsupported_version(requested: &str, min: u32, max: u32) -> Self {
        let message = format!("API version {requested} is not supported; the lowest is {min} and the highest {max}");
        Self::new(StatusCode::BAD_REQUEST, "unsupported_version", message)
    }

    pub(crate) fn tls_required() -> Self {
        let message = "this address speaks TLS; use https://, or the option --tls-ca of the command";
        Self::new(StatusCode::BAD_REQUEST, "tls_required", message)
    }

    /// `key` is the key of `[http]` in the configuration that allows `value`.
    pub(crate) fn host_not_allowed(header: &str, value: &str, key: &str) -> Self {
        let message =
            format!("{header} {value:?} is not allowed at this address; the operator can add it to http.{key}");
        Self::new(StatusCode::FORBIDDEN, "host_not_allowed", message)
    }

    pub(crate) fn service(name: &str) -> Self {
        let message = format!("{name} is a service of the daemon, and only the daemon can start it");
        Self::new(StatusCode::FORBIDDEN, "service", message)
    }

    pub(crate) fn starting(reason: &str) -> Self {
        Self { is_retryable: true, ..Self::new(StatusCode::SERVICE_UNAVAILABLE, "starting", reason) }
    }

    pub(crate) fn starting_in(phase: StartupPhase) -> Self {
        Self { phase: Some(phase), ..Self::starting(&format!("the daemon is starting: {phase}")) }
    }

    pub(crate) fn busy(message: impl Into<String>) -> Self {
        Self { is_retryable: true, ..Self::new(StatusCode::TOO_MANY_REQUESTS, "busy", message) }
    }

    pub(crate) fn unavailable(message: impl Into<String>) -> Self {
        Self { is_retryable: true, ..Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", message) }
    }

    pub(crate) fn bad_gateway(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_GATEWAY, "handler_failed", message)
    }

    pub(crate) fn gateway_timeout(message: impl Into<String>) -> Self {
        Self::new(StatusCode::GATEWAY_TIMEOUT, "handler_timed_out", message)
    }

    pub(crate) fn no_upgrade() -> Self {
        let message = "handlers answer plain requests: a connection cannot be upgraded, also not to a WebSocket";
        Self::new(StatusCode::NOT_IMPLEMENTED, "no_upgrade", message)
    }

    /// A component that answers HTTP itself cannot do so in a durable job.
    pub(crate) fn async_unsupported(name: &str) -> Self {
        let message = format!(
            "{name} is a component of wasi:http, which answers only while its client waits; only commands support Prefer: respond-async"
        );
        Self::new(StatusCode::NOT_IMPLEMENTED, "async_unsupported", message)
    }

    pub(crate) fn builtin_cannot_answer(name: &str) -> Self {
        let message = format!("{name} is a builtin, and only pushed handlers answer requests");
        Self::new(StatusCode::FORBIDDEN, "builtin", message)
    }

    pub(crate) fn library_cannot_answer(name: &str) -> Self {
        let message = format!(
            "{name} is a library: it has no entry point that could answer a request; push a command or a component of wasi:http, \
             or invoke its functions with POST /handlers/{name}/run"
        );
        Self::new(StatusCode::NOT_IMPLEMENTED, "library", message)
    }

    pub(crate) fn no_cgi_output() -> Self {
        let message = "the command has printed nothing; a CGI response starts with header fields and an empty line";
        Self::new(StatusCode::BAD_GATEWAY, "no_cgi_output", message)
    }

    pub(crate) fn bad_cgi_head(reason: &str) -> Self {
        let message = format!("the output of the command is no CGI response: {reason}");
        Self::new(StatusCode::BAD_GATEWAY, "bad_cgi_head", message)
    }

    pub(crate) fn cgi_head_too_large(reason: &str) -> Self {
        let message = format!("the output of the command is no CGI response: {reason}");
        Self::new(StatusCode::BAD_GATEWAY, "cgi_head_too_large", message)
    }

    pub(crate) fn bad_signature(reason: &str) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "bad_signature", format!("the signature is not accepted: {reason}"))
    }

    /// Names the job that the error is about.
    pub(crate) fn with_job(self, job: JobId) -> Self {
        Self { job: Some(job.into()), ..self }
    }

    pub(crate) fn draining() -> Self {
        let message = "the daemon is stopping and accepts no more work; try again after its restart";
        Self { is_retryable: true, ..Self::new(StatusCode::SERVICE_UNAVAILABLE, "draining", message) }
    }

    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message)
    }

    /// Returns the body of the response.
    pub(crate) fn json(&self) -> serde_json::Value {
        let mut json = json!({"error": {"code": self.code, "message": self.message}});
        if let Some(job) = &self.job {
            json["error"]["job"] = json!(job);
        }
        if let Some(kind) = self.kind {
            json["error"]["kind"] = json!(kind.as_str());
        }
        if let Some(phase) = self.phase {
            json["error"]["phase"] = json!(phase.name());
        }
        json
    }

    /// Formats the whole response as text, for a connection that is closed before hyper reads its request.
    pub(crate) fn into_text(self) -> String {
        let (status, body) = (self.status, format!("{}\n", self.json()));
        let (length, retry) = (body.len(), if self.is_retryable { "retry-after: 1\r\n" } else { "" });
        format!(
            "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n{retry}connection: close\r\n\r\n{body}"
        )
    }

    /// Creates the response.
    pub(crate) fn into_response(self) -> Response<Body> {
        let mut response = body::json(self.status, &self.json());
        let headers = response.headers_mut();
        if self.is_retryable {
            headers.insert(RETRY_AFTER, RETRY_SECONDS);
        }
        if let Some(job) = &self.job {
            headers.insert(JOB, headers::job_id(**job));
        }
        if let Some(allowed) = self.allowed_methods {
            headers.insert(ALLOW, allowed);
        }
        if let Some(protocol) = self.required_upgrade {
            headers.insert(UPGRADE, HeaderValue::from_static(protocol));
            headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
            if protocol == WEBSOCKET {
                headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static(WEBSOCKET_VERSION));
            }
        }
        if self.closes_connection {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}
