//! `capstan run -d`: a job that is left to the daemon.

use std::io::{self, IsTerminal as _, Read};
use std::process::ExitCode;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use capstan_engine::job::JobId;
use hyper::Method;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::client::Client;
use super::error::{self, CliError};
use super::interrupt::Interrupt;
use super::program::Target;
use super::run::Given;
use super::{output, remote};

/// Bytes of stdin that are sent with a job.
const MAX_STDIN: u64 = 1 << 20;

/// Submits a job, and prints its id alone. One that is `interactive` has its stdin left open, any other is sent what there is of it. Of a file only this job is left: a job keeps the program that it was made with.
///
/// # Errors
/// [`CliError`]
pub(super) async fn submit(
    client: &Client,
    target: Target,
    given: &Given,
    interactive: bool,
) -> Result<ExitCode, CliError> {
    let stdin = match interactive {
        true => None,
        false if io::stdin().is_terminal() => Some(Vec::new()),
        false => Some(read(io::stdin().lock())?),
    };
    let stdin = stdin.as_deref();
    let id = match target {
        Target::Handler(name) => post(client, &name, given, stdin).await?,
        Target::File(file) => {
            let mut interrupt = Interrupt::listen()?;
            let submit = async |name: &str, _: &mut Interrupt| post(client, name, given, stdin).await;
            match remote::with_pushed(client, &file, given, &mut interrupt, submit).await? {
                Ok(id) => id,
                Err(_) => return Ok(ExitCode::from(error::KILLED)),
            }
        }
    };
    output::print(format!("{id}\n").as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// All of `stdin`, if that is not too much to be sent at once.
fn read(stdin: impl Read) -> Result<Vec<u8>, CliError> {
    let mut bytes = Vec::new();
    stdin.take(MAX_STDIN + 1).read_to_end(&mut bytes).map_err(CliError::Stdin)?;
    if bytes.len() as u64 > MAX_STDIN { Err(CliError::StdinTooLarge(MAX_STDIN)) } else { Ok(bytes) }
}

async fn post(client: &Client, name: &str, given: &Given, stdin: Option<&[u8]>) -> Result<JobId, CliError> {
    #[derive(Deserialize)]
    struct Submitted {
        id: JobId,
    }
    let answer = client.tell(Method::POST, "/jobs", &order(name, given, stdin)).await?;
    let submitted: Submitted = serde_json::from_value(answer).map_err(|error| client.foreign(&error))?;
    Ok(submitted.id)
}

/// What is asked for; without `stdin`, it comes later.
fn order(name: &str, given: &Given, stdin: Option<&[u8]>) -> Value {
    let env: Map<_, _> = given.env.iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
    let (name_of_stdin, stdin) = match stdin {
        Some(bytes) => ("stdin_base64", STANDARD.encode(bytes).into()),
        None => ("stdin_later", Value::Bool(true)),
    };
    let mut order =
        json!({"handler": name, "args": given.args, "env": env, name_of_stdin: stdin, "policy": given.asked});
    if let Some(key) = &given.concurrency_key {
        order["concurrency_key"] = key.as_str().into();
    }
    order
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use capstan_core::env::Env;
    use capstan_core::policy::PolicyRequest;

    use super::*;

    #[test]
    fn an_order_has_all_that_a_job_is_given() {
        let mut env = Env::new();
        env.set("A", "1 ü").unwrap();
        let asked = PolicyRequest {
            timeout: Some(Duration::from_millis(1500)),
            memory: Some(65_536),
            ..PolicyRequest::default()
        };
        let given = Given { args: vec!["--top".into(), String::new()], env, asked, concurrency_key: Some("k".into()) };
        let expected = json!({
            "handler": "wc", "args": ["--top", ""], "env": {"A": "1 ü"}, "stdin_base64": "AP8=",
            "policy": {"timeout": 1.5, "memory": 65536}, "concurrency_key": "k",
        });
        assert_eq!(order("wc", &given, Some(b"\0\xff")), expected);
        let later = order("wc", &given, None);
        assert_eq!((&later["stdin_later"], later.get("stdin_base64")), (&json!(true), None));
    }

    #[test]
    fn what_is_too_much_to_be_sent_is_refused_before_all_of_it_is_read() {
        let fits = read(io::repeat(7).take(MAX_STDIN)).unwrap();
        assert_eq!(fits.len() as u64, MAX_STDIN);
        let error = read(io::repeat(7)).unwrap_err().to_string();
        assert_eq!(error, "stdin has more than 1.0 MiB that can be sent with a job; use `run` without -d to stream it");
    }
}
