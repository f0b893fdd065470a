//! `Error`: the one place where what went wrong becomes a status, a stable code and a sentence.

use capstan_core::manifest::ManifestError;
use capstan_core::units::UnitError;
use capstan_engine::engine::{MAX_NAME, RegistryError};
use capstan_engine::events::FilterError;
use capstan_engine::handler_store::{HandlerStoreError, LoadError, StoreError};
use capstan_engine::history::RemoveError;
use capstan_engine::job::{JobError, JobId, LineError, StartError};
use capstan_listen::listenbuffer::StartupPhase;
use hyper::header::{ALLOW, CONNECTION, HeaderValue, RETRY_AFTER, SEC_WEBSOCKET_VERSION, UPGRADE};
use hyper::{Response, StatusCode};
use serde_json::json;

use super::body::{self, Body};
use super::run::{self, JOB};
use super::websocket;

/// Seconds after which it is worth coming back to a daemon that is full or goes away.
const RETRY_SECONDS: HeaderValue = HeaderValue::from_static("1");

/// What a caller is told instead of an answer.
#[expect(clippy::error_impl_error, reason = "the one error of its side of the boundary: `api::error::Error`")]
#[derive(Debug, thiserror::Error)]
#[error("{code}: {message}")]
pub(crate) struct Error {
    status: StatusCode,
    code: &'static str,
    message: String,
    retry: bool,
    allow: Option<HeaderValue>,
    /// The protocol that is to be asked for.
    upgrade: Option<&'static str>,
    /// The job that it is about.
    job: Option<Box<JobId>>,
    /// What the start is at.
    phase: Option<StartupPhase>,
    /// What is left of the request is not read: the connection ends with the answer.
    close: bool,
}

impl Error {
    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            retry: false,
            allow: None,
            upgrade: None,
            job: None,
            phase: None,
            close: false,
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
        // An id in a path may be as long as a request's head.
        let id: String = id.chars().take(32).collect();
        Self::new(StatusCode::NOT_FOUND, "unknown_job", format!("no job {id}"))
    }

    pub(crate) fn no_logs(job: JobId) -> Self {
        let message = format!("what job {job} printed went to whoever ran it, and was not kept");
        Self { job: Some(job.into()), ..Self::new(StatusCode::NOT_FOUND, "no_logs", message) }
    }

    pub(crate) fn job_ended(job: JobId) -> Self {
        let message = format!("job {job} has ended");
        Self { job: Some(job.into()), ..Self::new(StatusCode::CONFLICT, "job_ended", message) }
    }

    pub(crate) fn conflict(job: JobId, message: impl Into<String>) -> Self {
        Self { job: Some(job.into()), ..Self::new(StatusCode::CONFLICT, "conflict", message) }
    }

    pub(crate) fn profiled(message: &str) -> Self {
        Self::new(StatusCode::CONFLICT, "conflict", message)
    }

    pub(crate) fn too_large(limit: u64) -> Self {
        let message = format!("the body is larger than the {limit} bytes that are taken");
        Self { close: true, ..Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message) }
    }

    pub(crate) fn too_slow(message: impl Into<String>) -> Self {
        Self { close: true, ..Self::new(StatusCode::REQUEST_TIMEOUT, "too_slow", message) }
    }

    pub(crate) fn method_not_allowed(method: &hyper::Method, allow: &str) -> Self {
        let message = format!("{method} is not served here; {allow} are");
        let error = Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message);
        Self { allow: Some(HeaderValue::from_str(allow).expect("method names are header text")), ..error }
    }

    pub(crate) fn upgrade_required(protocol: &'static str) -> Self {
        let message = format!("ask with HTTP/1.1 and the headers Connection: Upgrade and Upgrade: {protocol}");
        Self { upgrade: Some(protocol), ..Self::new(StatusCode::UPGRADE_REQUIRED, "upgrade_required", message) }
    }

    pub(crate) fn websocket_version() -> Self {
        let (protocol, version) = (websocket::PROTOCOL, websocket::VERSION);
        let message =
            format!("version {version} of WebSocket is spoken here: ask with Sec-WebSocket-Version: {version}");
        Self { upgrade: Some(protocol), ..Self::new(StatusCode::UPGRADE_REQUIRED, "upgrade_required", message) }
    }

    pub(crate) fn unsupported_version(asked: &str, min: u32, max: u32) -> Self {
        let message = format!("API version {asked} is not served; the lowest is {min} and the highest {max}");
        Self::new(StatusCode::BAD_REQUEST, "unsupported_version", message)
    }

    pub(crate) fn tls_required() -> Self {
        Self::new(StatusCode::BAD_REQUEST, "tls_required", "this address speaks TLS; ask with https://, or --tls-ca")
    }

    pub(crate) fn host_not_allowed(what: &str, value: &str) -> Self {
        let message = format!("{what} {value:?} is none that this address is served under");
        Self::new(StatusCode::FORBIDDEN, "host_not_allowed", message)
    }

    pub(crate) fn service(name: &str) -> Self {
        let message = format!("{name} is a service of the daemon, and only the daemon starts those");
        Self::new(StatusCode::FORBIDDEN, "service", message)
    }

    pub(crate) fn starting(reason: &str) -> Self {
        Self { retry: true, ..Self::new(StatusCode::SERVICE_UNAVAILABLE, "starting", reason) }
    }

    pub(crate) fn booting(phase: StartupPhase) -> Self {
        Self { phase: Some(phase), ..Self::starting(&format!("the daemon starts: {phase}")) }
    }

    pub(crate) fn busy(message: impl Into<String>) -> Self {
        Self { retry: true, ..Self::new(StatusCode::TOO_MANY_REQUESTS, "busy", message) }
    }

    pub(crate) fn draining() -> Self {
        let message = "the daemon stops and takes no more work";
        Self { retry: true, ..Self::new(StatusCode::SERVICE_UNAVAILABLE, "draining", message) }
    }

    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message)
    }

    fn json(&self) -> serde_json::Value {
        let mut json = json!({"error": {"code": self.code, "message": self.message}});
        if let Some(job) = &self.job {
            json["error"]["job"] = json!(job);
        }
        if let Some(phase) = self.phase {
            json["error"]["phase"] = json!(phase.name());
        }
        json
    }

    /// The answer that tells it, for a connection that is closed without a look at what it asked.
    pub(crate) fn into_text(self) -> String {
        let (status, body) = (self.status, format!("{}\n", self.json()));
        let (length, retry) = (body.len(), if self.retry { "retry-after: 1\r\n" } else { "" });
        format!(
            "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n{retry}connection: close\r\n\r\n{body}"
        )
    }

    /// The answer that tells it.
    pub(crate) fn into_response(self) -> Response<Body> {
        let mut response = body::json(self.status, &self.json());
        let headers = response.headers_mut();
        if self.retry {
            headers.insert(RETRY_AFTER, RETRY_SECONDS);
        }
        if let Some(job) = &self.job {
            headers.insert(JOB, run::job_id(**job));
        }
        if let Some(allow) = self.allow {
            headers.insert(ALLOW, allow);
        }
        if let Some(protocol) = self.upgrade {
            headers.insert(UPGRADE, HeaderValue::from_static(protocol));
            headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
            if protocol == websocket::PROTOCOL {
                headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static(websocket::VERSION));
            }
        }
        if self.close {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

impl From<RegistryError> for Error {
    fn from(error: RegistryError) -> Self {
        let (status, code) = match &error {
            RegistryError::BadName(_) => (StatusCode::BAD_REQUEST, "invalid_name"),
            RegistryError::Duplicate(_) | RegistryError::DuplicateCatchAll => (StatusCode::CONFLICT, "conflict"),
            RegistryError::Builtin(_) => (StatusCode::FORBIDDEN, "builtin"),
            RegistryError::Unknown(name) => {
                // A name may be as long as a request's head.
                let name: String = name.chars().take(MAX_NAME).collect();
                return Self::new(StatusCode::NOT_FOUND, "unknown_handler", RegistryError::Unknown(name).to_string());
            }
            RegistryError::Precondition(_) => (StatusCode::PRECONDITION_FAILED, "precondition_failed"),
        };
        Self::new(status, code, error.to_string())
    }
}

impl From<JobError> for Error {
    fn from(error: JobError) -> Self {
        match error {
            JobError::ArgHoldsNul(_) => Self::new(StatusCode::BAD_REQUEST, "invalid_arg", error.to_string()),
            JobError::Denied(_) => Self::new(StatusCode::FORBIDDEN, "policy_denied", error.to_string()),
            JobError::GuestPath(_) => Self::new(StatusCode::BAD_REQUEST, "bad_mount", error.to_string()),
            // Only jobs that run have children.
            JobError::TooDeep => Self::internal(error.to_string()),
            JobError::TooLarge(_) => Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", error.to_string()),
        }
    }
}

impl From<LineError> for Error {
    fn from(error: LineError) -> Self {
        Self::bad_request(format!("command: {error}"))
    }
}

impl From<StartError> for Error {
    fn from(error: StartError) -> Self {
        match error {
            StartError::ShuttingDown => Self::draining(),
            StartError::Busy { .. } => Self::busy(error.to_string()),
            StartError::Taken { job, .. } => Self::conflict(job, error.to_string()),
            StartError::AlreadyStarted => Self::internal(error.to_string()),
        }
    }
}

impl From<RemoveError> for Error {
    fn from(error: RemoveError) -> Self {
        match error {
            RemoveError::Unknown(job) => Self::unknown_job(&job.to_string()),
            RemoveError::GoesOn(job) => {
                Self { job: Some(job.into()), ..Self::new(StatusCode::CONFLICT, "job_running", error.to_string()) }
            }
        }
    }
}

impl From<HandlerStoreError> for Error {
    fn from(error: HandlerStoreError) -> Self {
        match error {
            HandlerStoreError::Load(error) => error.into(),
            HandlerStoreError::Registry(error) => error.into(),
            HandlerStoreError::Store(error) => error.into(),
            HandlerStoreError::Denied(_) => Self::new(StatusCode::FORBIDDEN, "policy_denied", error.to_string()),
        }
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        let (status, code) = match &error {
            StoreError::Full => (StatusCode::INSUFFICIENT_STORAGE, "disk_full"),
            StoreError::Damaged(_) => (StatusCode::INTERNAL_SERVER_ERROR, "damaged"),
            StoreError::Io { .. } => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
        };
        Self::new(status, code, error.to_string())
    }
}

impl From<LoadError> for Error {
    fn from(error: LoadError) -> Self {
        let message = error.to_string();
        let code = match error {
            LoadError::NotWasm(_) | LoadError::Invalid { .. } => "invalid_module",
            LoadError::TextFormat => "text_format",
            LoadError::Precompiled => "precompiled",
            LoadError::FeatureDisabled(_) => "feature_disabled",
            LoadError::TooComplex(_) => "module_too_complex",
            LoadError::UnknownImports(_) => "unknown_import",
            LoadError::NotACommand(_) => "not_a_command",
            LoadError::CompileLimit(_) => "compile_limit",
            LoadError::Unavailable(_) => {
                let error = Self::new(StatusCode::SERVICE_UNAVAILABLE, "compile_unavailable", message);
                return Self { retry: true, ..error };
            }
        };
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, message)
    }
}

impl From<ManifestError> for Error {
    fn from(error: ManifestError) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_manifest", error.to_string())
    }
}

impl From<FilterError> for Error {
    fn from(error: FilterError) -> Self {
        Self::bad_request(format!("filter: {error}"))
    }
}

impl From<UnitError> for Error {
    fn from(error: UnitError) -> Self {
        Self::bad_request(error.to_string())
    }
}
