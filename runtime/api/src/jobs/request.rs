//! `JobRequest`: the body of `POST /jobs`.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use capstan_core::env::Env;
use capstan_core::policy::PolicyRequest;
use capstan_core::retry::RetryPolicy;
use capstan_engine::job::{CommandLine, IdempotencyKey, JobId, stdin_from_base64};
use capstan_engine::job_store::{After, AfterMode, Dependency};
use futures_util::StreamExt as _;
use hyper::header::CONTENT_TYPE;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::super::error::Error;
use super::super::idempotency_key;
use super::super::request::Request;
use super::super::request_body;
use super::super::run;
use super::super::state::ApiState;
use super::when::When;

/// Bytes of the longest body. Longer stdin must be sent to `PUT /jobs/{id}/stdin`.
const MAX_BODY: u64 = 4 << 20;
/// Bytes of the longest body that is read without a slot. Larger bodies, and those of unknown length, share the slots of uploads.
const MAX_SMALL_BODY: u64 = 64 << 10;

/// A job to be submitted.
#[derive(Debug)]
pub(super) struct JobRequest {
    pub(super) line: CommandLine,
    pub(super) stdin: StdinSource,
    pub(super) policy: PolicyRequest,
    pub(super) key: Option<IdempotencyKey>,
    pub(super) concurrency_key: Option<String>,
    /// Whether the job survives the daemon.
    pub(super) is_durable: bool,
    pub(super) queue: QueueRequest,
}

/// What a request says about the queue.
#[derive(Debug, Default, PartialEq)]
pub(super) struct QueueRequest {
    pub(super) retry: Option<RetryPolicy>,
    pub(super) priority: i32,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) not_before: Option<When>,
    pub(super) start_deadline: Option<When>,
    pub(super) after: After,
    pub(super) stdin_from: Option<JobId>,
    pub(super) env_from: BTreeMap<String, JobId>,
    /// The number of jobs of an array.
    pub(super) count: Option<u32>,
}

/// Where the stdin of a job comes from.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum StdinSource {
    /// The request itself.
    Inline(Bytes),
    /// A later `PUT /jobs/{id}/stdin`, or an attached client.
    Later,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JobJson {
    handler: Option<String>,
    args: Option<Vec<String>>,
    env: Option<Env>,
    /// `handler`, `args` and `env` in one line.
    command: Option<String>,
    stdin: Option<String>,
    stdin_base64: Option<String>,
    #[serde(default)]
    stdin_later: bool,
    #[serde(default)]
    policy: PolicyRequest,
    key: Option<String>,
    concurrency_key: Option<String>,
    durable: Option<bool>,
    retry: Option<RetryPolicy>,
    #[serde(default)]
    priority: i32,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    not_before: Option<When>,
    start_deadline: Option<When>,
    #[serde(default)]
    after: Vec<Dependency>,
    #[serde(default)]
    after_mode: AfterMode,
    stdin_from: Option<JobId>,
    #[serde(default)]
    env_from: BTreeMap<String, JobId>,
    count: Option<u32>,
}

impl JobRequest {
    /// Returns a request for a durable job that asks for nothing of the queue.
    pub(super) fn durable(line: CommandLine, stdin: Bytes, key: Option<IdempotencyKey>) -> Self {
        Self {
            line,
            stdin: StdinSource::Inline(stdin),
            policy: PolicyRequest::default(),
            key,
            concurrency_key: None,
            is_durable: true,
            queue: QueueRequest::default(),
        }
    }

    /// Reads the body of `request`.
    ///
    /// # Errors
    /// [`Error`]:
    /// - 413 where it is too large
    /// - 408 where it arrives too slowly
    /// - 429 where too many large bodies are being read
    /// - 400 where it is cut, or invalid, with what is wrong and where
    pub(super) async fn read(state: &ApiState, request: Request) -> Result<Self, Error> {
        request.reject_encoded_body()?;
        if request.header_lists(&CONTENT_TYPE, run::MEDIA_TYPE) {
            return Self::read_with_stdin(state, request).await;
        }
        let length = request.content_length().unwrap_or(u64::MAX);
        if request.content_length().is_some() && length > MAX_BODY {
            return Err(Error::too_large(MAX_BODY));
        }
        let _permit = match length {
            ..=MAX_SMALL_BODY => None,
            _ => Some(state.slots.upload().await?),
        };
        let key = idempotency_key::from_headers(&request.head.headers)?;
        let body = request_body::read_to_end(request.body, MAX_BODY, &state.settings.http_limits).await?;
        parse(&body, None, key)
    }

    /// Reads a body whose first line is the JSON of the job, and whose rest is its stdin.
    async fn read_with_stdin(state: &ApiState, mut request: Request) -> Result<Self, Error> {
        let (limit, limits) = (state.settings.max_upload, &state.settings.http_limits);
        if request.content_length().is_some_and(|length| length > limit) {
            return Err(Error::too_large(limit));
        }
        let key = idempotency_key::from_headers(&request.head.headers)?;
        let _permit = state.slots.upload_of(request.content_length().unwrap_or(limit)).await?;
        let (line, read) = run::read_head_line(state, &mut request.body).await?;
        let mut stdin = BytesMut::from(read);
        let mut pieces = std::pin::pin!(request_body::data_stream(request.body, limit, limits));
        while let Some(piece) = pieces.next().await {
            stdin.extend_from_slice(&piece?);
        }
        parse(&line, Some(stdin.freeze()), key)
    }
}

/// Parses the JSON of a job. `stdin` is what follows it, if the body has that form, and `header` is the key in the head of the request.
pub(super) fn parse(body: &[u8], stdin: Option<Bytes>, header: Option<String>) -> Result<JobRequest, Error> {
    // The line of a batch is the same request as the body of `POST /jobs`, whatever ends it.
    let digest =
        Sha256::new().chain_update(body.trim_ascii()).chain_update(stdin.as_deref().unwrap_or_default()).finalize();
    let mut json: JobJson = request_body::parse_json(body)?;
    let stdin = json.take_stdin(stdin)?;
    let line = json.take_line()?;
    let text = match (header, json.key.take()) {
        (Some(header), Some(key)) if header != key => {
            return Err(Error::bad_request(
                "the header Idempotency-Key and the field key differ; send one of them, or the same value",
            ));
        }
        (Some(header), _) => Some(header),
        (None, key) => key.map(idempotency_key::validate).transpose()?,
    };
    let key = text.map(|text| IdempotencyKey { text, request_digest: Some(digest.into()) });
    let concurrency_key = json.concurrency_key.take().map(idempotency_key::validate).transpose()?;
    let policy = std::mem::take(&mut json.policy);
    let is_durable = match (json.durable, &stdin) {
        (Some(true), StdinSource::Later) => {
            return Err(Error::bad_request(
                "a job with stdin_later is not durable, because its stdin is gone after its run; send its stdin with it",
            ));
        }
        (Some(is_durable), _) => is_durable,
        (None, stdin) => *stdin != StdinSource::Later,
    };
    Ok(JobRequest { line, stdin, policy, key, concurrency_key, is_durable, queue: json.into_queue() })
}

impl JobJson {
    /// Takes stdin, of which there is one source. `following` is what follows the JSON in the body.
    fn take_stdin(&mut self, following: Option<Bytes>) -> Result<StdinSource, Error> {
        Ok(match (self.stdin.take(), self.stdin_base64.take(), self.stdin_later) {
            (None, None, false) if let Some(stdin) = following => StdinSource::Inline(stdin),
            _ if following.is_some_and(|stdin| !stdin.is_empty()) => {
                return Err(Error::bad_request("stdin follows the first line of the body; send no other stdin"));
            }
            (None, None, true) => StdinSource::Later,
            (None, None, false) => StdinSource::Inline(Bytes::new()),
            (Some(text), None, false) => StdinSource::Inline(text.into()),
            (None, Some(encoded), false) => StdinSource::Inline(
                stdin_from_base64(&encoded)
                    .map_err(|error| Error::bad_request(format!("cannot decode stdin_base64: {error}")))?,
            ),
            _ => return Err(Error::bad_request("use only one of stdin, stdin_base64 and stdin_later")),
        })
    }

    fn take_line(&mut self) -> Result<CommandLine, Error> {
        Ok(match (self.command.take(), self.handler.take(), self.args.take(), self.env.take()) {
            (Some(command), None, None, None) => command.parse()?,
            (Some(_), ..) => {
                return Err(Error::bad_request("command excludes handler, args and env: use either command or these"));
            }
            (None, Some(handler), args, env) => {
                CommandLine { handler, args: args.unwrap_or_default(), env: env.unwrap_or_default() }
            }
            (None, None, ..) => return Err(Error::bad_request("the body needs handler or command")),
        })
    }

    fn into_queue(self) -> QueueRequest {
        QueueRequest {
            retry: self.retry,
            priority: self.priority,
            labels: self.labels,
            not_before: self.not_before,
            start_deadline: self.start_deadline,
            after: After { jobs: self.after, mode: self.after_mode },
            stdin_from: self.stdin_from,
            env_from: self.env_from,
            count: self.count,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn parse_json(json: &str) -> Result<JobRequest, Error> {
        parse(json.as_bytes(), None, None)
    }

    #[test]
    fn parse_reads_all_fields() {
        let request = parse_json(
            r#"{"handler":"wc","args":["-l",""],"env":{"A":"1"},"stdin":"hi","policy":{"timeout":"5s","memory":65536},"key":"k"}"#,
        )
        .unwrap();
        let CommandLine { handler, args, env } = request.line;
        assert_eq!((handler.as_str(), args.as_slice()), ("wc", &["-l".to_owned(), String::new()][..]));
        assert_eq!(env.get("A"), Some("1"));
        assert_eq!(request.stdin, StdinSource::Inline("hi".into()));
        assert_eq!((request.policy.timeout, request.policy.memory), (Some(Duration::from_secs(5)), Some(65536)));
        assert_eq!(request.key.unwrap().text, "k");
    }

    #[test]
    fn parse_splits_command_into_handler_args_and_env() {
        let read = |json: &str| parse_json(json).unwrap().line;
        let parts = read(r#"{"handler":"wc","args":["-l","a b"],"env":{"A":"1"}}"#);
        assert_eq!(read(r#"{"command":"wc -l 'a b' A=1"}"#), parts);
        for (json, expected) in [
            (r#"{"command":"wc","handler":"wc"}"#, "excludes"),
            (r#"{"command":"wc","args":[]}"#, "excludes"),
            (r#"{"command":"wc","env":{}}"#, "excludes"),
            (r#"{"command":""}"#, "names no handler"),
            (r#"{"command":"wc 'a"}"#, "unclosed quote"),
            (r#"{"command":"wc \u0000"}"#, "NUL"),
            (r#"{"command":["wc"]}"#, "sequence"),
        ] {
            let error = parse_json(json).expect_err(json).to_string();
            assert!(error.starts_with("bad_request") && error.contains(expected), "{json}: {error}");
        }
    }

    #[test]
    fn parse_accepts_one_source_of_stdin() {
        for (json, input) in [
            (r#"{"handler":"a"}"#, StdinSource::Inline(Bytes::new())),
            (r#"{"handler":"a","stdin":null}"#, StdinSource::Inline(Bytes::new())),
            (r#"{"handler":"a","stdin_base64":"AP8="}"#, StdinSource::Inline(Bytes::from_static(b"\0\xff"))),
            (r#"{"handler":"a","stdin_later":true}"#, StdinSource::Later),
        ] {
            assert_eq!(parse_json(json).unwrap().stdin, input, "{json}");
        }
        assert!(parse_json(r#"{"handler":"a","stdin":"x","stdin_base64":"AP8="}"#).is_err());
        assert!(parse_json(r#"{"handler":"a","stdin":"x","stdin_later":true}"#).is_err());
    }

    #[test]
    fn parse_names_invalid_field() {
        for (json, expected) in [
            ("", "the body"),
            ("[]", "the body"),
            (r#"{"args":[]}"#, "handler"),
            (r#"{"handler":"a","memroy":1}"#, "memroy"),
            (r#"{"handler":"a","policy":{"memroy":1}}"#, "memroy"),
            (r#"{"handler":"a","policy":{"timeout":"soon"}}"#, "soon"),
            (r#"{"handler":"a","args":"x"}"#, "sequence"),
            (r#"{"handler":"a","args":[1]}"#, "integer"),
            (r#"{"handler":"a","env":{"A=B":"x"}}"#, "A=B"),
            (r#"{"handler":"a","stdin_base64":"!"}"#, "stdin_base64"),
            (r#"{"handler":"a","key":""}"#, "key"),
            (r#"{"handler":"a"} x"#, "trailing"),
        ] {
            let error = parse_json(json).expect_err(json).to_string();
            assert!(error.starts_with("bad_request") && error.contains(expected), "{json}: {error}");
        }
    }

    #[test]
    fn parse_takes_key_from_head_or_body() {
        let json = br#"{"handler":"a","key":"k"}"#;
        assert_eq!(parse(json, None, Some("k".into())).unwrap().key.unwrap().text, "k");
        assert!(parse(json, None, Some("other".into())).is_err());
        let same = |a: &str, b: &str| {
            parse_json(a).unwrap().key.unwrap().is_same_request(&parse_json(b).unwrap().key.unwrap())
        };
        assert!(same(r#"{"handler":"a","key":"k"}"#, r#"{"handler":"a","key":"k"}"#));
        assert!(!same(r#"{"handler":"a","key":"k"}"#, r#"{"handler":"b","key":"k"}"#));
    }
}
