//! `capstan run -d`: submits a background job.

use std::path::Path;
use std::process::ExitCode;

use capstan_engine::job::JobId;
use hyper::Method;
use hyper::header::CONTENT_TYPE;
use serde::Deserialize;
use serde_json::Value;

use super::client::{Client, request};
use super::error::CliError;
use super::interrupt::Interrupt;
use super::job_spec::JobSpec;
use super::program::Target;
use super::push::Parts;
use super::queue_args::QueueArgs;
use super::remote::{RUN_MEDIA_TYPE, StdinError};
use super::stdin::GuestStdin;
use super::{archive, exit_code, output, remote, script};

/// Submits a job and prints its id.
///
/// `stdin` is read to its end and sent with the job. Without it, the stdin of the job stays open for `capstan attach`. A program file is pushed
/// as a temporary handler and removed again: the job keeps the program with which it was created. So is a script. `files` is a directory that
/// the job finds at `/app`.
///
/// # Errors
/// [`CliError`]
pub(super) async fn submit(
    client: &Client,
    target: Target,
    files: Option<&Path>,
    spec: &JobSpec,
    queue: &QueueArgs,
    stdin: Option<GuestStdin>,
) -> Result<ExitCode, CliError> {
    let parts = match &target {
        Target::Handler(_) => None,
        Target::File(_) | Target::Script(_) if !queue.is_empty() => return Err(CliError::FileIsNotDurable),
        Target::File(file) => {
            let files = files.map(archive::pack).transpose()?;
            Some(Parts { files, ..remote::file_parts(file, spec)? })
        }
        Target::Script(file) => Some(script::parts(client, file, files, spec).await?),
    };
    let id = match (target, parts) {
        (Target::Handler(name), _) => {
            let mut json = job_json(&name, spec, stdin.is_none());
            json.as_object_mut().expect("it is an object").extend(queue.to_json());
            post(client, &json, stdin).await?
        }
        (Target::File(_) | Target::Script(_), parts) => {
            let mut interrupt = Interrupt::listen()?;
            let submit = async |name: &str, _: &mut Interrupt| {
                let mut json = job_json(name, spec, stdin.is_none());
                // Its handler is removed at once, so it could not run after a restart.
                json["durable"] = false.into();
                post(client, &json, stdin).await
            };
            let parts = parts.unwrap_or_default();
            match remote::with_temporary_handler(client, parts, &mut interrupt, submit).await? {
                Ok(id) => id,
                Err(_) => return Ok(ExitCode::from(exit_code::KILLED)),
            }
        }
    };
    output::print(format!("{id}\n").as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

async fn post(client: &Client, json: &Value, stdin: Option<GuestStdin>) -> Result<JobId, CliError> {
    #[derive(Deserialize)]
    struct Submitted {
        id: JobId,
    }
    let stdin_error = StdinError::default();
    let body = remote::body_with_stdin(json, stdin.unwrap_or(GuestStdin::Empty), stdin_error.clone())?;
    let request = request(Method::POST, "/jobs").header(CONTENT_TYPE, RUN_MEDIA_TYPE).body(body);
    let response = client.upload(request.expect("the path is fixed")).await.map_err(CliError::from);
    let response = remote::or_stdin_error(response, &stdin_error)?;
    let submitted: Submitted = serde_json::from_value(response).map_err(|error| client.unexpected_response(&error))?;
    Ok(submitted.id)
}

/// Returns the first line of the body of `POST /jobs`.
fn job_json(name: &str, spec: &JobSpec, stdin_later: bool) -> Value {
    let mut json = remote::run_json(spec);
    json["handler"] = name.into();
    if stdin_later {
        json["stdin_later"] = true.into();
    }
    json
}

#[cfg(test)]
mod tests {
    use capstan_core::env::Env;
    use capstan_core::policy::PolicyRequest;
    use serde_json::json;

    use super::*;

    #[test]
    fn job_json_names_handler_and_says_whether_stdin_stays_open() {
        let spec = JobSpec {
            args: vec!["x".into()],
            env: Env::new(),
            policy: PolicyRequest::default(),
            concurrency_key: None,
            invoke: None,
        };
        let expected = json!({"handler": "wc", "args": ["x"], "env": {}, "policy": {}});
        assert_eq!(job_json("wc", &spec, false), expected);
        assert_eq!(job_json("wc", &spec, true)["stdin_later"], true);
    }
}
