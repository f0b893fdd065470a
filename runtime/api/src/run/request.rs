//! What a request asks for besides the streams: arguments, variables, limits.

use capstan_core::env::Env;
use capstan_core::policy::{self, PolicyRequest as Policy};
use capstan_core::units;

use super::super::error::Error;
use super::super::idempotency_key;
use super::super::request::{Request, decoded};

/// The name of the header with a variable.
const ENV: &str = "capstan-env";

/// What a run is asked to be given.
#[derive(Debug, Default)]
pub(in super::super) struct Asked {
    pub(super) args: Vec<String>,
    pub(super) env: Env,
    pub(in super::super) policy: Policy,
    pub(super) concurrency_key: Option<String>,
}

impl Asked {
    /// Reads query and headers.
    ///
    /// # Errors
    /// [`Error`] for a key that is not known, a value that is not understood, and what is not UTF-8.
    pub(super) fn of(request: &Request) -> Result<Self, Error> {
        let lines = request.head.headers.get_all(ENV).iter().map(hyper::header::HeaderValue::as_bytes);
        Ok(Self { env: env(lines)?, ..query(request.query()?)? })
    }
}

pub(in super::super) fn query(parameters: Vec<(String, String)>) -> Result<Asked, Error> {
    let mut asked = Asked::default();
    let once = |key: &str, given: bool| {
        if given { Err(Error::bad_request(format!("query parameter {key} is given twice"))) } else { Ok(()) }
    };
    for (key, value) in parameters {
        match key.as_str() {
            "arg" => asked.args.push(value),
            "timeout" => {
                once(&key, asked.policy.timeout.is_some())?;
                asked.policy.timeout = Some(units::time_limit(&value)?);
            }
            "memory" => {
                once(&key, asked.policy.memory.is_some())?;
                asked.policy.memory = Some(units::size_limit(&value)?);
            }
            "policy" => {
                once(&key, asked.policy != Policy::EMPTY)?;
                let read = serde_json::from_str(&value);
                let why = |error: serde_json::Error| policy::with_suggestion(&error.to_string());
                asked.policy = read.map_err(|error| Error::bad_request(format!("policy: {}", why(error))))?;
            }
            "concurrency_key" => {
                once(&key, asked.concurrency_key.is_some())?;
                asked.concurrency_key = Some(idempotency_key::checked(value)?);
            }
            _ => {
                return Err(Error::bad_request(format!(
                    "query parameter {key:?} is not known; arg, timeout, memory, policy and concurrency_key are"
                )));
            }
        }
    }
    Ok(asked)
}

/// Reads variables, each `NAME=VALUE` with both sides percent-encoded.
fn env<'a>(lines: impl Iterator<Item = &'a [u8]>) -> Result<Env, Error> {
    let mut env = Env::new();
    for line in lines {
        let text = std::str::from_utf8(line).map_err(|_| not_text(&String::from_utf8_lossy(line)))?;
        let (name, value) = text.split_once('=').unwrap_or((text, ""));
        let set = match (decoded(name), decoded(value)) {
            (Ok(_), Ok(_)) if !text.contains('=') => env.set_pair(text),
            (Ok(name), Ok(value)) => env.set(name, value),
            _ => return Err(not_text(text)),
        };
        set.map_err(|error| Error::invalid_env(&error.to_string()))?;
    }
    Ok(env)
}

fn not_text(line: &str) -> Error {
    Error::invalid_env(&format!("{line:?} is not UTF-8 once decoded"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn asked(pairs: &[(&str, &str)]) -> Result<Asked, Error> {
        query(pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn a_query_becomes_arguments_and_limits() {
        let asked = asked(&[("arg", "b"), ("timeout", "5s"), ("arg", ""), ("memory", "64MiB"), ("arg", "a")]).unwrap();
        assert_eq!(asked.args, ["b", "", "a"]);
        assert_eq!(asked.policy.timeout, Some(Duration::from_secs(5)));
        assert_eq!(asked.policy.memory, Some(64 << 20));
    }

    #[test]
    fn what_is_not_understood_is_named() {
        for (pairs, named) in [
            (&[("memroy", "1")][..], "memroy"),
            (&[("timeout", "soon")], "soon"),
            (&[("memory", "-1")], "-1"),
            (&[("timeout", "0")], "no time"),
            (&[("memory", "0")], "no room"),
            (&[("timeout", "1"), ("timeout", "2")], "timeout"),
        ] {
            let error = asked(pairs).unwrap_err().to_string();
            assert!(error.starts_with("bad_request") && error.contains(named), "{error}");
        }
    }

    fn env_of(lines: &[&str]) -> Result<Env, Error> {
        env(lines.iter().map(|line| line.as_bytes()))
    }

    #[test]
    fn variables_are_decoded_on_both_sides_of_the_first_equals_sign() {
        let env = env_of(&["A%3DB=x", "K=a=b", "U=%C3%BC+", "EMPTY=", "K=last"]);
        assert!(env.is_err(), "a name that holds an equals sign reaches no guest");
        let env = env_of(&["K=a=b", "U=%C3%BC+", "EMPTY=", "Z=1", "Z=2"]).unwrap();
        assert_eq!(env.iter().collect::<Vec<_>>(), [("K", "a=b"), ("U", "ü+"), ("EMPTY", ""), ("Z", "2")]);
    }

    #[test]
    fn what_is_no_variable_is_refused() {
        for line in ["NO_VALUE", "=x", "", "K=%FF", "%FF=x", "K=%00", "K%00=x"] {
            let error = env_of(&[line]).expect_err(line).to_string();
            assert!(error.starts_with("invalid_env"), "{error}");
        }
        assert!(env([&b"K=\xff"[..]].into_iter()).is_err());
    }
}
