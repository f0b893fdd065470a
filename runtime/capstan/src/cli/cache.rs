//! `capstan cache`: the compiled code of programs that were run from files.

use std::process::ExitCode;

use capstan_store::{Artifacts, CachedCode, StoreError};
use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::environment::Environment;
use super::error::CliError;
use super::io_error::describe_store;
use super::{format, output, paths};

/// The maximum size of the cache in bytes, by default.
const DEFAULT_SIZE: u64 = 1 << 30;

/// The command line of `capstan cache`.
#[derive(Debug, Args)]
pub(super) struct Cache {
    /// Print JSON [default: a table]
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the programs whose code is in the cache, the last used first (the default)
    Ls,
    /// Remove all code from the cache
    Clear,
}

/// Opens the cache, of at most `size` bytes. If that fails, says so on stderr and returns `None`: a run works without it.
pub(super) fn open(environment: &Environment, size: Option<u64>) -> Option<Artifacts> {
    match try_open(environment, size) {
        Ok(artifacts) => Some(artifacts),
        // Where there is no home directory, nobody expects a cache.
        Err(CliError::NoCacheDir) => None,
        Err(error) => {
            output::print_error(format_args!("{error}; the program is compiled without it (see --no-cache)"));
            None
        }
    }
}

fn try_open(environment: &Environment, size: Option<u64>) -> Result<Artifacts, CliError> {
    let dir = paths::cache_dir(environment)?;
    Artifacts::open_cache(&dir, size.unwrap_or(DEFAULT_SIZE)).map_err(cache_error)
}

impl Cache {
    /// Runs the subcommand.
    ///
    /// # Errors
    /// [`CliError`]
    pub(super) fn run(self, environment: &Environment) -> Result<ExitCode, CliError> {
        let artifacts = try_open(environment, None)?;
        match self.command.unwrap_or(Command::Ls) {
            Command::Ls => {
                let entries = artifacts.entries().map_err(cache_error)?;
                if self.json {
                    output::print_json(&json!({"programs": entries.iter().map(to_json).collect::<Vec<_>>()}))?;
                } else {
                    output::print(table(&entries, Timestamp::now()).as_bytes())?;
                }
            }
            Command::Clear => {
                let removed = artifacts.clear().map_err(cache_error)?;
                let bytes: u64 = removed.iter().map(|entry| entry.bytes).sum();
                if self.json {
                    output::print_json(&json!({"removed": removed.len(), "bytes": bytes}))?;
                } else {
                    let programs = if removed.len() == 1 { "program" } else { "programs" };
                    let text = format!("removed the code of {} {programs}, {}\n", removed.len(), format::size(bytes));
                    output::print(text.as_bytes())?;
                }
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn table(entries: &[CachedCode], now: Timestamp) -> String {
    let rows = entries.iter().map(|entry| {
        let used = format::age(&used(entry).to_string(), now);
        vec![format::digest(&entry.digest).to_owned(), entry.fingerprint.clone(), format::size(entry.bytes), used]
    });
    format::table(&["PROGRAM", "COMPILED FOR", "SIZE", "USED"], rows)
}

fn to_json(entry: &CachedCode) -> Value {
    json!({
        "digest": format!("sha256:{}", entry.digest),
        "fingerprint": entry.fingerprint,
        "bytes": entry.bytes,
        "used": used(entry).to_string(),
    })
}

fn used(entry: &CachedCode) -> Timestamp {
    Timestamp::try_from(entry.used).unwrap_or_default()
}

#[expect(clippy::needless_pass_by_value, reason = "it is passed to map_err")]
fn cache_error(error: StoreError) -> CliError {
    CliError::Cache(describe_store(&error))
}
