//! `capstan submit`: submits many jobs from a file.

use std::path::PathBuf;
use std::process::ExitCode;

use bytes::Bytes;
use clap::Args;
use hyper::Method;
use hyper::header::CONTENT_TYPE;
use serde_json::Value;

use super::client::{Client, request};
use super::error::CliError;
use super::stdin::GuestStdin;
use super::{exit_code, output, remote};

/// The command line of `capstan submit`.
#[derive(Debug, Args)]
pub(super) struct SubmitBatch {
    /// Print the responses as JSON, one per line [default: the id of each job]
    #[arg(long)]
    json: bool,
    /// File with one job on each line, as in the body of POST /jobs; `-` is stdin
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

impl SubmitBatch {
    /// Prints the id of each submitted job, and why a line was rejected. Returns 125 if one was.
    ///
    /// # Errors
    /// [`CliError`]
    pub(super) async fn run(self, client: &Client) -> Result<ExitCode, CliError> {
        let stdin_error = remote::StdinError::default();
        let body = remote::body_of(GuestStdin::for_job(Some(&self.file))?, stdin_error.clone())?;
        let request = request(Method::POST, "/jobs/batch").header(CONTENT_TYPE, "application/x-ndjson").body(body);
        let response = client.exchange(request.expect("the path is fixed")).await.map_err(CliError::from);
        let mut response = remote::or_stdin_error(response, &stdin_error)?;
        let (mut rest, mut code) = (Vec::new(), ExitCode::SUCCESS);
        while let Some(chunk) = response.chunk().await? {
            rest.extend_from_slice(&chunk);
            while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                let line: Bytes = rest.drain(..=end).collect::<Vec<_>>().into();
                if !self.print(client, &line)? {
                    code = ExitCode::from(exit_code::FAILED);
                }
            }
        }
        Ok(code)
    }

    /// Prints one response. Returns whether the job was submitted.
    fn print(&self, client: &Client, line: &[u8]) -> Result<bool, CliError> {
        let answer: Value = serde_json::from_slice(line).map_err(|error| client.unexpected_response(&error))?;
        let error = answer["error"]["message"].as_str();
        if self.json {
            output::print(line)?;
        } else if let Some(id) = answer["id"].as_str() {
            output::print(format!("{id}\n").as_bytes())?;
        } else if let Some(error) = error {
            output::print_error(format_args!("line {}: {error}", answer["line"]));
        }
        Ok(error.is_none())
    }
}
