//! `capstan handlers`: what the daemon can run.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use hyper::Method;
use jiff::Timestamp;
use percent_encoding::utf8_percent_encode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::client::{Client, ClientError, URL};
use super::error::CliError;
use super::{output, show};

/// Characters of a description that a row of the list has; `inspect` shows all.
const DESCRIPTION: usize = 56;

/// What `capstan handlers` is called with.
#[derive(Debug, Args)]
pub(super) struct Handlers {
    /// Print what the daemon says as JSON.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List all handlers; what is done where nothing is said.
    Ls,
    /// Show all there is to know of a handler.
    Inspect {
        /// The handler.
        name: String,
    },
    /// Remove handlers; jobs that run go on to their end.
    Rm {
        /// The handlers; one that cannot be removed does not keep the others.
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
    },
}

#[derive(Debug, Deserialize)]
struct List {
    handlers: Vec<Handler>,
}

#[derive(Debug, Deserialize)]
struct Handler {
    name: String,
    kind: String,
    digest: Option<String>,
    size: u64,
    created: String,
    #[serde(default)]
    service: bool,
    description: Option<String>,
}

impl Handlers {
    /// Asks, and shows the answer.
    ///
    /// # Errors
    /// [`CliError`]
    pub(super) async fn run(self, client: &Client) -> Result<ExitCode, CliError> {
        match self.command.unwrap_or(Command::Ls) {
            Command::Ls => {
                let answer = client.ask(Method::GET, "/handlers").await?;
                if self.json {
                    output::print_json(&answer)?;
                } else {
                    let list: List = serde_json::from_value(answer).map_err(|error| client.foreign(&error))?;
                    output::print(list.table(Timestamp::now()).as_bytes())?;
                }
                Ok(ExitCode::SUCCESS)
            }
            Command::Inspect { name } => {
                let handler = client.ask(Method::GET, &path(&name)).await?;
                show(&handler, self.json)?;
                Ok(ExitCode::SUCCESS)
            }
            Command::Rm { names } => remove_all(client, &names, self.json).await,
        }
    }
}

/// Removes a handler from the daemon.
///
/// # Errors
/// [`ClientError`]
pub(super) async fn remove(client: &Client, name: &str) -> Result<(), ClientError> {
    client.ask(Method::DELETE, &path(name)).await.map(drop)
}

/// Removes what can be removed; the exit code is that of the last which could not.
async fn remove_all(client: &Client, names: &[String], json: bool) -> Result<ExitCode, CliError> {
    let (mut removed, mut exit_code) = (Vec::new(), ExitCode::SUCCESS);
    for name in names {
        match remove(client, name).await.map_err(CliError::Client) {
            Ok(()) => removed.push(name),
            Err(error) => {
                output::complain(&error);
                exit_code = ExitCode::from(error.exit_code());
            }
        }
    }
    if json {
        output::print_json(&json!({"removed": removed}))?;
    } else {
        removed.iter().try_for_each(|name| output::print(format!("{name}\n").as_bytes()))?;
    }
    Ok(exit_code)
}

/// Prints a record for people or for programs.
///
/// # Errors
/// [`CliError::Output`]
pub(super) fn show(record: &Value, json: bool) -> Result<(), CliError> {
    if json { output::print_json(record) } else { output::print(show::record(record).as_bytes()) }
}

fn path(name: &str) -> String {
    format!("/handlers/{}", utf8_percent_encode(name, URL))
}

impl List {
    fn table(self, now: Timestamp) -> String {
        let header = ["NAME", "KIND", "SIZE", "DIGEST", "CREATED", "DESCRIPTION"];
        show::table(&header, self.handlers.into_iter().map(|handler| handler.row(now)))
    }
}

impl Handler {
    fn row(self, now: Timestamp) -> Vec<String> {
        let kind = if self.service { format!("{}, service", self.kind) } else { self.kind };
        let size = if self.size == 0 { "-".to_owned() } else { show::size(self.size) };
        let digest = self.digest.as_deref().map_or("-", show::digest).to_owned();
        let description = show::first(DESCRIPTION, self.description.as_deref().unwrap_or_default());
        vec![self.name, kind, size, digest, show::age(&self.created, now), description]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_a_table() {
        let list: List = serde_json::from_value(json!({"handlers": [
            {"name": "serveapi", "kind": "native", "size": 0, "created": "2026-01-01T00:00:00Z", "service": true, "description": "Serves"},
            {"name": "wc", "kind": "module", "digest": "sha256:0123456789abcdef", "size": 2048, "created": "2026-01-01T00:59:59Z"},
        ]}))
        .unwrap();
        let table = list.table("2026-01-01T01:00:00Z".parse().unwrap());
        let expected = [
            "NAME      KIND             SIZE     DIGEST               CREATED     DESCRIPTION",
            "serveapi  native, service  -        -                    1 hour ago  Serves",
            "wc        module           2.0 KiB  sha256:0123456789ab  just now",
        ];
        assert_eq!(table.lines().collect::<Vec<_>>(), expected);
    }
}
