//! `capstan handlers`: lists, shows and removes handlers.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use hyper::Method;
use jiff::Timestamp;
use percent_encoding::utf8_percent_encode;
use serde::Deserialize;

use super::client::{Client, ClientError, URL_ENCODE_SET};
use super::error::CliError;
use super::removal::remove_all;
use super::{format, output};

/// The maximum number of characters of a description in the list. `inspect` shows all of it.
const MAX_DESCRIPTION: usize = 56;

/// The command line of `capstan handlers`.
#[derive(Debug, Args)]
pub(super) struct Handlers {
    /// Print the response of the daemon as JSON [default: a table]
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List all handlers (the default)
    Ls,
    /// Show everything that the daemon knows about a handler, as a table
    Inspect {
        /// Name of the handler
        name: String,
    },
    /// Remove handlers
    ///
    /// Their running jobs continue. What they keep between their runs stays, unless --data is given.
    Rm {
        /// Also remove their buckets and containers [default: keep them]
        #[arg(long)]
        data: bool,
        /// Names of the handlers. If one cannot be removed, the command continues with the others
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
    #[serde(default)]
    library: bool,
    #[serde(default)]
    http: bool,
    digest: Option<String>,
    size: u64,
    created: String,
    #[serde(default)]
    service: bool,
    description: Option<String>,
}

impl Handlers {
    /// Runs the subcommand.
    ///
    /// # Errors
    /// [`CliError`]
    pub(super) async fn run(self, client: &Client) -> Result<ExitCode, CliError> {
        match self.command.unwrap_or(Command::Ls) {
            Command::Ls => {
                let response = client.call(Method::GET, "/handlers").await?;
                if self.json {
                    output::print_json(&response)?;
                } else {
                    let list: List =
                        serde_json::from_value(response).map_err(|error| client.unexpected_response(&error))?;
                    output::print(list.table(Timestamp::now()).as_bytes())?;
                }
                Ok(ExitCode::SUCCESS)
            }
            Command::Inspect { name } => {
                let handler = client.call(Method::GET, &path(&name)).await?;
                output::print_fields(&handler, self.json)?;
                Ok(ExitCode::SUCCESS)
            }
            Command::Rm { names, data } => {
                let path = |name: &str| path(name) + if data { "?data=true" } else { "" };
                remove_all(client, &names, path, self.json).await
            }
        }
    }
}

/// Removes one handler from the daemon.
///
/// # Errors
/// [`ClientError`]
pub(super) async fn remove(client: &Client, name: &str) -> Result<(), ClientError> {
    client.call(Method::DELETE, &path(name)).await.map(drop)
}

fn path(name: &str) -> String {
    format!("/handlers/{}", utf8_percent_encode(name, URL_ENCODE_SET))
}

impl List {
    fn table(self, now: Timestamp) -> String {
        let header = ["NAME", "KIND", "SIZE", "DIGEST", "CREATED", "DESCRIPTION"];
        format::table(&header, self.handlers.into_iter().map(|handler| handler.row(now)))
    }
}

impl Handler {
    fn row(self, now: Timestamp) -> Vec<String> {
        let role = [(self.service, "service"), (self.http, "http"), (self.library, "library")];
        let kind = match role.into_iter().find(|(is_set, _)| *is_set) {
            Some((_, role)) => format!("{}, {role}", self.kind),
            None => self.kind,
        };
        let size = if self.size == 0 { "-".to_owned() } else { format::size(self.size) };
        let digest = self.digest.as_deref().map_or("-", format::digest).to_owned();
        let description = format::truncate_line(MAX_DESCRIPTION, self.description.as_deref().unwrap_or_default());
        vec![self.name, kind, size, digest, format::age(&self.created, now), description]
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn list_is_formatted_as_table() {
        let list: List = serde_json::from_value(json!({"handlers": [
            {"name": "serveapi", "kind": "native", "size": 0, "created": "2026-01-01T00:00:00Z", "service": true, "description": "Serves"},
            {"name": "web", "kind": "component", "digest": "sha256:0123456789abcdef", "size": 2048, "created": "2026-01-01T00:59:59Z", "http": true},
            {"name": "wc", "kind": "module", "digest": "sha256:0123456789abcdef", "size": 2048, "created": "2026-01-01T00:59:59Z"},
        ]}))
        .unwrap();
        let table = list.table("2026-01-01T01:00:00Z".parse().unwrap());
        let expected = [
            "NAME      KIND             SIZE     DIGEST               CREATED     DESCRIPTION",
            "serveapi  native, service  -        -                    1 hour ago  Serves",
            "web       component, http  2.0 KiB  sha256:0123456789ab  just now",
            "wc        module           2.0 KiB  sha256:0123456789ab  just now",
        ];
        assert_eq!(table.lines().collect::<Vec<_>>(), expected);
    }
}
