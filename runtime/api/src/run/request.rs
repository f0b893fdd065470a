//! `RunRequest`: what a run is requested with besides its streams, from the query and the headers, or from the first line of the body.

use bytes::Bytes;
use capstan_core::env::Env;
use capstan_core::policy::{self, PolicyRequest};
use capstan_core::units;
use hyper::header::CONTENT_TYPE;
use serde::Deserialize;

use super::super::error::Error;
use super::super::idempotency_key;
use super::super::request::{Request, percent_decode};
use super::super::state::ApiState;
use super::head_line;

/// The type of a body whose first line is JSON with what the run is requested with. The rest is stdin. Unlike a query and headers, it has
/// room for all that a run may be given.
pub(in super::super) const MEDIA_TYPE: &str = "application/vnd.capstan.run";

/// The name of the header with an environment variable. It may occur any number of times.
const ENV: &str = "capstan-env";

/// Arguments, environment and limits that a run is requested with.
#[derive(Debug, Default, PartialEq)]
pub(in super::super) struct RunRequest {
    pub(super) args: Vec<String>,
    pub(super) env: Env,
    pub(in super::super) policy: PolicyRequest,
    pub(super) concurrency_key: Option<String>,
    /// The function to call in place of the entry point.
    pub(super) invoke: Option<String>,
}

/// The first line of a body of type [`MEDIA_TYPE`].
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RunJson {
    args: Vec<String>,
    env: Env,
    policy: PolicyRequest,
    concurrency_key: Option<String>,
    invoke: Option<String>,
}

impl RunRequest {
    /// Reads what the run is requested with, and returns it with the part of stdin that was read with it.
    ///
    /// # Errors
    /// [`Error`]: those of [`Self::parse`] and of [`head_line::read`].
    pub(super) async fn read(state: &ApiState, request: &mut Request) -> Result<(Self, Bytes), Error> {
        let parsed = Self::parse(request)?;
        if !request.header_lists(&CONTENT_TYPE, MEDIA_TYPE) {
            return Ok((parsed, Bytes::new()));
        }
        if parsed != Self::default() {
            return Err(Error::bad_request(format!(
                "a body of type {MEDIA_TYPE} describes the run; send nothing of it in the query and in headers"
            )));
        }
        let (line, rest) = head_line::read(state, &mut request.body).await?;
        let json: RunJson = serde_json::from_slice(&line).map_err(|error| {
            let reason = policy::with_suggestion(&error.to_string());
            Error::bad_request(format!("cannot parse the first line of the body: {reason}"))
        })?;
        let concurrency_key = json.concurrency_key.map(idempotency_key::validate).transpose()?;
        let request =
            Self { args: json.args, env: json.env, policy: json.policy, concurrency_key, invoke: json.invoke };
        Ok((request, rest))
    }

    /// Parses the query and the headers of a request.
    ///
    /// # Errors
    /// [`Error`], 400, for an unknown key, an invalid value, and text that is not UTF-8.
    fn parse(request: &Request) -> Result<Self, Error> {
        let lines = request.head.headers.get_all(ENV).iter().map(hyper::header::HeaderValue::as_bytes);
        Ok(Self { env: parse_env(lines)?, ..parse_query(request.query()?)? })
    }
}

/// Parses the parameters of a query. The environment stays empty.
pub(in super::super) fn parse_query(parameters: Vec<(String, String)>) -> Result<RunRequest, Error> {
    let mut request = RunRequest::default();
    let (mut policy, mut timeout, mut memory) = (None, None, None);
    for (key, value) in parameters {
        match key.as_str() {
            "arg" => request.args.push(value),
            "timeout" => set_once(&mut timeout, &key, units::time_limit(&value)?)?,
            "memory" => set_once(&mut memory, &key, units::size_limit(&value)?)?,
            "policy" => set_once(&mut policy, &key, parse_policy(&value)?)?,
            "concurrency_key" => {
                set_once(&mut request.concurrency_key, &key, idempotency_key::validate(value)?)?;
            }
            "invoke" => set_once(&mut request.invoke, &key, value)?,
            _ => {
                return Err(Error::bad_request(format!(
                    "unknown query parameter {key:?}; known: arg, timeout, memory, policy, concurrency_key, invoke"
                )));
            }
        }
    }
    request.policy = policy.unwrap_or_default();
    set_unless_in_policy(&mut request.policy.timeout, "timeout", timeout)?;
    set_unless_in_policy(&mut request.policy.memory, "memory", memory)?;
    Ok(request)
}

/// Sets a limit to the value of its own parameter, if there is one.
fn set_unless_in_policy<T>(limit: &mut Option<T>, key: &str, parameter: Option<T>) -> Result<(), Error> {
    if parameter.is_some() && limit.is_some() {
        return Err(Error::bad_request(format!(
            "{key} is both a query parameter and a key of policy; use one of them"
        )));
    }
    *limit = parameter.or(limit.take());
    Ok(())
}

/// Sets a value that may occur once in a query.
fn set_once<T>(slot: &mut Option<T>, key: &str, value: T) -> Result<(), Error> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(Error::bad_request(format!("query parameter {key} occurs more than once"))),
    }
}

fn parse_policy(text: &str) -> Result<PolicyRequest, Error> {
    serde_json::from_str(text).map_err(|error| {
        let reason = policy::with_suggestion(&error.to_string());
        Error::bad_request(format!("cannot parse policy: {reason}"))
    })
}

/// Parses variables, each `NAME=VALUE` with both sides percent-encoded. A later value of a name replaces an earlier one.
fn parse_env<'a>(lines: impl Iterator<Item = &'a [u8]>) -> Result<Env, Error> {
    let mut env = Env::new();
    for line in lines {
        let text = std::str::from_utf8(line).map_err(|_| not_utf8(&String::from_utf8_lossy(line)))?;
        let (name, value) = text.split_once('=').unwrap_or((text, ""));
        let result = match (percent_decode(name), percent_decode(value)) {
            (Ok(_), Ok(_)) if !text.contains('=') => env.set_pair(text),
            (Ok(name), Ok(value)) => env.set(name, value),
            _ => return Err(not_utf8(text)),
        };
        result.map_err(|error| Error::invalid_env(&error.to_string()))?;
    }
    Ok(env)
}

fn not_utf8(line: &str) -> Error {
    Error::invalid_env(&format!("the variable {line:?} is not UTF-8 after percent-decoding"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn parse(pairs: &[(&str, &str)]) -> Result<RunRequest, Error> {
        parse_query(pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn parse_query_reads_arguments_and_limits() {
        let request =
            parse(&[("arg", "b"), ("timeout", "5s"), ("arg", ""), ("memory", "64MiB"), ("arg", "a")]).unwrap();
        assert_eq!(request.args, ["b", "", "a"]);
        assert_eq!(request.policy.timeout, Some(Duration::from_secs(5)));
        assert_eq!(request.policy.memory, Some(64 << 20));
    }

    #[test]
    fn parse_query_merges_policy_with_timeout_and_memory() {
        for pairs in [
            [("timeout", "5s"), ("policy", r#"{"files":3}"#), ("memory", "1MiB")],
            [("policy", r#"{"files":3,"memory":1048576}"#), ("timeout", "5s"), ("arg", "a")],
        ] {
            let policy = parse(&pairs).unwrap().policy;
            assert_eq!((policy.timeout, policy.memory), (Some(Duration::from_secs(5)), Some(1 << 20)));
            assert_eq!(policy.files, Some(3));
        }
    }

    #[test]
    fn parse_query_names_invalid_parameter() {
        for (pairs, expected) in [
            (&[("memroy", "1")][..], "memroy"),
            (&[("timeout", "soon")], "soon"),
            (&[("memory", "-1")], "-1"),
            (&[("timeout", "0")], "no time"),
            (&[("memory", "0")], "no room"),
            (&[("timeout", "1"), ("timeout", "2")], "timeout"),
            (&[("policy", "{}"), ("policy", "{}")], "policy"),
            (&[("timeout", "1"), ("policy", r#"{"timeout":1}"#)], "timeout"),
        ] {
            let error = parse(pairs).unwrap_err().to_string();
            assert!(error.starts_with("bad_request") && error.contains(expected), "{error}");
        }
    }

    fn parse_lines(lines: &[&str]) -> Result<Env, Error> {
        parse_env(lines.iter().map(|line| line.as_bytes()))
    }

    #[test]
    fn parse_env_decodes_both_sides_of_first_equals_sign() {
        let env = parse_lines(&["A%3DB=x", "K=a=b", "U=%C3%BC+", "EMPTY=", "K=last"]);
        assert!(env.is_err(), "a name that holds an equals sign reaches no guest");
        let env = parse_lines(&["K=a=b", "U=%C3%BC+", "EMPTY=", "Z=1", "Z=2"]).unwrap();
        assert_eq!(env.iter().collect::<Vec<_>>(), [("K", "a=b"), ("U", "ü+"), ("EMPTY", ""), ("Z", "2")]);
    }

    #[test]
    fn parse_env_rejects_invalid_variables() {
        for line in ["NO_VALUE", "=x", "", "K=%FF", "%FF=x", "K=%00", "K%00=x"] {
            let error = parse_lines(&[line]).expect_err(line).to_string();
            assert!(error.starts_with("invalid_env"), "{error}");
        }
        assert!(parse_env([&b"K=\xff"[..]].into_iter()).is_err());
    }
}
