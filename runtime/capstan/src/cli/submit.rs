//! `capstan run -d`: submits a background job.

use std::io::{self, IsTerminal as _, Read};
use std::process::ExitCode;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use capstan_engine::job::JobId;
use hyper::Method;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::client::Client;
use super::error::CliError;
use super::interrupt::Interrupt;
use super::job_spec::JobSpec;
use super::program::Target;
use super::{exit_code, output, remote};

/// The maximum size of the stdin that is sent with a job, in bytes.
const MAX_STDIN: u64 = 1 << 20;

/// Submits a job and prints its id.
///
/// The stdin of an `interactive` job stays open for `capstan attach`. Otherwise stdin is read to its end and sent with the job. A program
/// file is pushed as a temporary handler and removed again: the job keeps the program with which it was created.
///
/// # Errors
/// [`CliError`]
pub(super) async fn submit(
    client: &Client,
    target: Target,
    spec: &JobSpec,
    interactive: bool,
) -> Result<ExitCode, CliError> {
    let stdin = match interactive {
        true => None,
        false if io::stdin().is_terminal() => Some(Vec::new()),
        false => Some(read_stdin(io::stdin().lock())?),
    };
    let stdin = stdin.as_deref();
    let id = match target {
        Target::Handler(name) => post(client, &name, spec, stdin).await?,
        Target::File(file) => {
            let mut interrupt = Interrupt::listen()?;
            let submit = async |name: &str, _: &mut Interrupt| post(client, name, spec, stdin).await;
            match remote::with_temporary_handler(client, &file, spec, &mut interrupt, submit).await? {
                Ok(id) => id,
                Err(_) => return Ok(ExitCode::from(exit_code::KILLED)),
            }
        }
    };
    output::print(format!("{id}\n").as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// Reads all of `stdin`.
///
/// # Errors
/// [`CliError::Stdin`], or [`CliError::StdinTooLarge`] if it has more than [`MAX_STDIN`] bytes.
fn read_stdin(stdin: impl Read) -> Result<Vec<u8>, CliError> {
    let mut bytes = Vec::new();
    stdin.take(MAX_STDIN + 1).read_to_end(&mut bytes).map_err(CliError::Stdin)?;
    if bytes.len() as u64 > MAX_STDIN { Err(CliError::StdinTooLarge(MAX_STDIN)) } else { Ok(bytes) }
}

async fn post(client: &Client, name: &str, spec: &JobSpec, stdin: Option<&[u8]>) -> Result<JobId, CliError> {
    #[derive(Deserialize)]
    struct Submitted {
        id: JobId,
    }
    let response = client.call_with_json(Method::POST, "/jobs", &request_body(name, spec, stdin)).await?;
    let submitted: Submitted = serde_json::from_value(response).map_err(|error| client.unexpected_response(&error))?;
    Ok(submitted.id)
}

/// Returns the JSON of `POST /jobs`. Without `stdin`, the stdin of the job stays open.
fn request_body(name: &str, spec: &JobSpec, stdin: Option<&[u8]>) -> Value {
    let env: Map<_, _> = spec.env.iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
    let (stdin_key, stdin) = match stdin {
        Some(bytes) => ("stdin_base64", STANDARD.encode(bytes).into()),
        None => ("stdin_later", Value::Bool(true)),
    };
    let mut body = json!({"handler": name, "args": spec.args, "env": env, stdin_key: stdin, "policy": spec.policy});
    if let Some(key) = &spec.concurrency_key {
        body["concurrency_key"] = key.as_str().into();
    }
    body
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use capstan_core::env::Env;
    use capstan_core::policy::PolicyRequest;

    use super::*;

    #[test]
    fn request_body_has_every_part_of_job_spec() {
        let mut env = Env::new();
        env.set("A", "1 ü").unwrap();
        let policy = PolicyRequest {
            timeout: Some(Duration::from_millis(1500)),
            memory: Some(65_536),
            ..PolicyRequest::default()
        };
        let spec =
            JobSpec { args: vec!["--top".into(), String::new()], env, policy, concurrency_key: Some("k".into()) };
        let expected = json!({
            "handler": "wc", "args": ["--top", ""], "env": {"A": "1 ü"}, "stdin_base64": "AP8=",
            "policy": {"timeout": 1.5, "memory": 65536}, "concurrency_key": "k",
        });
        assert_eq!(request_body("wc", &spec, Some(b"\0\xff")), expected);
        let later = request_body("wc", &spec, None);
        assert_eq!((&later["stdin_later"], later.get("stdin_base64")), (&json!(true), None));
    }

    #[test]
    fn stdin_over_limit_is_rejected_before_it_is_read_completely() {
        let fits = read_stdin(io::repeat(7).take(MAX_STDIN)).unwrap();
        assert_eq!(fits.len() as u64, MAX_STDIN);
        let error = read_stdin(io::repeat(7)).unwrap_err().to_string();
        assert_eq!(
            error,
            "stdin has more than the 1.0 MiB that can be sent with a job: use `run` without -d to stream it"
        );
    }
}
