//! The body of `POST /jobs`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use capstan_core::env::Env;
use capstan_core::policy::{self, PolicyRequest as Policy};
use capstan_engine::job::CommandLine;
use capstan_engine::job::IdempotencyKey;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::super::Api;
use super::super::error::Error;
use super::super::idempotency_key;
use super::super::read_progress;
use super::super::request::Request;

/// Bytes of the longest body. More input than fits is sent to `PUT /jobs/{id}/stdin`.
const BODY: u64 = 4 << 20;
/// Bytes of a body that is read at once. Of larger ones, and of those that do not say, only so many as of pushes are read at a time.
const SMALL: u64 = 64 << 10;

/// The job that is asked for.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) line: CommandLine,
    pub(super) stdin: Input,
    pub(super) policy: Policy,
    pub(super) key: Option<IdempotencyKey>,
    pub(super) concurrency_key: Option<String>,
}

/// Where its stdin comes from.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Input {
    Whole(Bytes),
    /// It comes later, through `PUT /jobs/{id}/stdin`.
    Later,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Json {
    handler: Option<String>,
    args: Option<Vec<String>>,
    env: Option<Env>,
    /// The three in one line.
    command: Option<String>,
    stdin: Option<String>,
    stdin_base64: Option<String>,
    #[serde(default)]
    stdin_later: bool,
    #[serde(default)]
    policy: Policy,
    key: Option<String>,
    concurrency_key: Option<String>,
}

impl Asked {
    /// Reads the body of `request`.
    ///
    /// # Errors
    /// [`Error`]: 413 where it is too large; 408 where it comes too slowly; 400 where it is cut, or is not as
    /// it should be, saying what and where.
    pub(super) async fn read(api: &Api, request: Request) -> Result<Self, Error> {
        let length = request.content_length().unwrap_or(u64::MAX);
        if request.content_length().is_some() && length > BODY {
            return Err(Error::too_large(BODY));
        }
        let _one_of_few = match length {
            ..=SMALL => None,
            _ => Some(api.one_of_few(&api.uploads).await?),
        };
        let key = idempotency_key::of(&request.head.headers)?;
        parse(&read_progress::whole(request.body, BODY, &api.settings.http).await?, key)
    }
}

fn parse(body: &[u8], header: Option<String>) -> Result<Asked, Error> {
    let json: Json = serde_json::from_slice(body)
        .map_err(|error| Error::bad_request(format!("the body: {}", policy::with_suggestion(&error.to_string()))))?;
    let stdin = match (json.stdin, json.stdin_base64, json.stdin_later) {
        (None, None, true) => Input::Later,
        (None, None, false) => Input::Whole(Bytes::new()),
        (Some(text), None, false) => Input::Whole(text.into()),
        (None, Some(encoded), false) => Input::Whole(
            STANDARD.decode(encoded).map_err(|error| Error::bad_request(format!("stdin_base64: {error}")))?.into(),
        ),
        _ => return Err(Error::bad_request("stdin, stdin_base64 and stdin_later exclude each other")),
    };
    let line = match (json.command, json.handler, json.args, json.env) {
        (Some(command), None, None, None) => command.parse()?,
        (Some(_), ..) => return Err(Error::bad_request("command excludes handler, args and env")),
        (None, Some(handler), args, env) => {
            CommandLine { handler, args: args.unwrap_or_default(), env: env.unwrap_or_default() }
        }
        (None, None, ..) => return Err(Error::bad_request("the body has neither handler nor command")),
    };
    let text = match (header, json.key) {
        (Some(header), Some(key)) if header != key => {
            return Err(Error::bad_request("Idempotency-Key and key are not the same"));
        }
        (Some(header), _) => Some(header),
        (None, key) => key.map(idempotency_key::checked).transpose()?,
    };
    let key = text.map(|text| IdempotencyKey { text, request_digest: Some(Sha256::digest(body).into()) });
    let concurrency_key = json.concurrency_key.map(idempotency_key::checked).transpose()?;
    Ok(Asked { line, stdin, policy: json.policy, key, concurrency_key })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn asked(json: &str) -> Result<Asked, Error> {
        parse(json.as_bytes(), None)
    }

    #[test]
    fn a_job_is_read_whole() {
        let asked = asked(
            r#"{"handler":"wc","args":["-l",""],"env":{"A":"1"},"stdin":"hi","policy":{"timeout":"5s","memory":65536},"key":"k"}"#,
        )
        .unwrap();
        let CommandLine { handler, args, env } = asked.line;
        assert_eq!((handler.as_str(), args.as_slice()), ("wc", &["-l".to_owned(), String::new()][..]));
        assert_eq!(env.get("A"), Some("1"));
        assert_eq!(asked.stdin, Input::Whole("hi".into()));
        assert_eq!((asked.policy.timeout, asked.policy.memory), (Some(Duration::from_secs(5)), Some(65536)));
        assert_eq!(asked.key.unwrap().text, "k");
    }

    #[test]
    fn a_command_is_handler_args_and_env_in_one_line() {
        let read = |json: &str| asked(json).unwrap().line;
        let parts = read(r#"{"handler":"wc","args":["-l","a b"],"env":{"A":"1"}}"#);
        assert_eq!(read(r#"{"command":"wc -l 'a b' A=1"}"#), parts);
        for (json, named) in [
            (r#"{"command":"wc","handler":"wc"}"#, "excludes"),
            (r#"{"command":"wc","args":[]}"#, "excludes"),
            (r#"{"command":"wc","env":{}}"#, "excludes"),
            (r#"{"command":""}"#, "names no handler"),
            (r#"{"command":"wc 'a"}"#, "not closed"),
            (r#"{"command":"wc \u0000"}"#, "NUL"),
            (r#"{"command":["wc"]}"#, "sequence"),
        ] {
            let error = asked(json).expect_err(json).to_string();
            assert!(error.starts_with("bad_request") && error.contains(named), "{json}: {error}");
        }
    }

    #[test]
    fn stdin_comes_in_one_way() {
        for (json, input) in [
            (r#"{"handler":"a"}"#, Input::Whole(Bytes::new())),
            (r#"{"handler":"a","stdin":null}"#, Input::Whole(Bytes::new())),
            (r#"{"handler":"a","stdin_base64":"AP8="}"#, Input::Whole(Bytes::from_static(b"\0\xff"))),
            (r#"{"handler":"a","stdin_later":true}"#, Input::Later),
        ] {
            assert_eq!(asked(json).unwrap().stdin, input, "{json}");
        }
        assert!(asked(r#"{"handler":"a","stdin":"x","stdin_base64":"AP8="}"#).is_err());
        assert!(asked(r#"{"handler":"a","stdin":"x","stdin_later":true}"#).is_err());
    }

    #[test]
    fn what_is_not_as_it_should_be_is_named() {
        for (json, named) in [
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
            let error = asked(json).expect_err(json).to_string();
            assert!(error.starts_with("bad_request") && error.contains(named), "{json}: {error}");
        }
    }

    #[test]
    fn a_key_stands_in_the_head_or_in_the_body() {
        let json = br#"{"handler":"a","key":"k"}"#;
        assert_eq!(parse(json, Some("k".into())).unwrap().key.unwrap().text, "k");
        assert!(parse(json, Some("other".into())).is_err());
        let same = |a: &str, b: &str| asked(a).unwrap().key.unwrap().is_same_request(&asked(b).unwrap().key.unwrap());
        assert!(same(r#"{"handler":"a","key":"k"}"#, r#"{"handler":"a","key":"k"}"#));
        assert!(!same(r#"{"handler":"a","key":"k"}"#, r#"{"handler":"b","key":"k"}"#));
    }
}
