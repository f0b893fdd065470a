//! `capstan schedule put`: the definition of a schedule from options, or from a file.

use std::ffi::OsString;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use serde_json::{Map, Value, json};

use super::super::environment::Environment;
use super::super::error::CliError;
use super::super::paths;
use super::super::policy_args::PolicyArgs;
use super::super::queue_args::parse_label;
use super::super::run::{guest_args, guest_env};

/// The options of `capstan schedule put`. The daemon checks their values.
#[derive(Debug, Args)]
#[group(id = "times", required = true, multiple = false, args = ["cron", "every", "at", "file"])]
pub(super) struct Put {
    /// Cron pattern: minute, hour, day of the month, month and day of the week, or six fields with seconds first, or @daily
    #[arg(long, value_name = "PATTERN")]
    cron: Option<String>,
    /// Time between two jobs, counted from 1970 in UTC: 30s, 15m, 1h, or seconds. At least 1s
    #[arg(long, value_name = "TIME")]
    every: Option<String>,
    /// The only time: 2027-01-31T12:00:00Z
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    /// JSON file with the whole definition; `-` is stdin
    #[arg(long, value_name = "FILE", conflicts_with_all = ["time_zone", "overlap", "catch_up", "jitter", "env", "stdin", "priority", "label", "retry", "concurrency_key", "words"])]
    file: Option<PathBuf>,
    /// Time zone of --cron, as in Europe/Berlin [default: UTC]
    #[arg(long, value_name = "ZONE", conflicts_with_all = ["every", "at"])]
    time_zone: Option<String>,
    /// If earlier jobs of the schedule have not ended: `allow` another, `skip` this time, `queue` the job behind them, or `replace` them [default: allow]
    #[arg(long, value_name = "ACTION")]
    overlap: Option<String>,
    /// For times that passed while the daemon was down: run for `none` of them, for the `last`, or for `all` [default: last]
    #[arg(long, value_name = "WHICH")]
    catch_up: Option<String>,
    /// Start each job at a random time up to this much later [default: 0]
    #[arg(long, value_name = "TIME")]
    jitter: Option<String>,
    /// Variable of the guest. May be repeated [default: none]
    ///
    /// Without =VALUE it takes the value that it has now in the environment of this command, if it is set.
    #[arg(long, value_name = "NAME[=VALUE]")]
    env: Vec<String>,
    /// File that each job gets as stdin, read now; `-` is the stdin of this command [default: empty]
    #[arg(long, value_name = "FILE")]
    stdin: Option<PathBuf>,
    /// Runs in total if a job fails, with growing times between them [default: the manifest, else 1]
    #[arg(long, value_name = "N")]
    retry: Option<u32>,
    /// Jobs of a handler with a higher priority start first [default: 0]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    priority: Option<i32>,
    /// Label by which jobs can be listed and cancelled. May be repeated [default: none]
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_label)]
    label: Vec<(String, String)>,
    /// Key that limits concurrency: jobs of the handler with the same key run one after the other [default: none]
    #[arg(long, value_name = "KEY")]
    concurrency_key: Option<String>,
    #[command(flatten)]
    policy: PolicyArgs,
    /// Name of the schedule: a-z, 0-9, `.`, `_` and `-`
    pub(super) name: String,
    /// Handler of the daemon, then the arguments of the guest
    #[arg(
        required_unless_present = "file",
        value_name = "HANDLER [ARGS]",
        trailing_var_arg = true,
        allow_hyphen_values = false
    )]
    words: Vec<OsString>,
}

impl Put {
    /// Returns the definition for the daemon.
    ///
    /// # Errors
    /// [`CliError`] for a file that cannot be read or is no JSON, and for arguments that are not UTF-8.
    pub(super) fn definition(&self, environment: &Environment) -> Result<Value, CliError> {
        if let Some(path) = &self.file {
            let text = paths::read(path)?;
            return serde_json::from_slice(&text)
                .map_err(|error| CliError::Definition { file: path.display().to_string(), reason: error.to_string() });
        }
        let mut fields = Map::new();
        let mut set = |name: &str, value: Option<&String>| {
            if let Some(value) = value {
                fields.insert(name.to_owned(), json!(value));
            }
        };
        set("cron", self.cron.as_ref());
        set("every", self.every.as_ref());
        set("at", self.at.as_ref());
        set("time_zone", self.time_zone.as_ref());
        set("overlap", self.overlap.as_ref());
        set("catch_up", self.catch_up.as_ref());
        set("jitter", self.jitter.as_ref());
        fields.insert("job".to_owned(), self.job(environment)?);
        Ok(Value::Object(fields))
    }

    fn job(&self, environment: &Environment) -> Result<Value, CliError> {
        let words = guest_args(&self.words)?;
        let (handler, args) = words.split_first().expect("the command line requires a handler without a file");
        let labels: Map<_, _> = self.label.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
        let mut job = json!({
            "handler": handler,
            "args": args,
            "env": guest_env(&self.env, environment)?,
            "policy": self.policy.to_request(),
            "labels": labels,
            "priority": self.priority.unwrap_or(0),
            "concurrency_key": self.concurrency_key,
        });
        if let Some(path) = &self.stdin {
            let bytes = paths::read(path)?;
            match String::from_utf8(bytes) {
                Ok(text) => job["stdin"] = json!(text),
                Err(error) => job["stdin_base64"] = json!(STANDARD.encode(error.as_bytes())),
            }
        }
        if let Some(attempts) = self.retry {
            job["retry"] = json!({"attempts": attempts});
        }
        Ok(job)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        put: Put,
    }

    fn parse(words: &str) -> Result<Put, clap::Error> {
        Command::try_parse_from(["put"].into_iter().chain(words.split(' '))).map(|command| command.put)
    }

    #[test]
    fn options_become_a_definition() {
        let environment = Environment::from([("A", "unused")]);
        let put = parse(
            "nightly --cron @daily --time-zone Europe/Berlin --overlap skip --catch-up all --jitter 5m --env A=1 --retry 3 \
             --priority -2 --label team=a --concurrency-key k --timeout 5s report --all x",
        );
        let expected = json!({
            "cron": "@daily", "time_zone": "Europe/Berlin", "overlap": "skip", "catch_up": "all", "jitter": "5m",
            "job": {
                "handler": "report", "args": ["--all", "x"], "env": {"A": "1"}, "policy": {"timeout": 5.0},
                "labels": {"team": "a"}, "priority": -2, "concurrency_key": "k", "retry": {"attempts": 3},
            },
        });
        assert_eq!(put.unwrap().definition(&environment).unwrap(), expected);
    }

    #[test]
    fn wrong_combinations_are_refused() {
        for words in [
            "nightly report",
            "nightly --cron @daily",
            "nightly --cron @daily --every 1h report",
            "nightly --every 1h --time-zone UTC report",
            "nightly --file x.json report",
            "nightly --file x.json --overlap skip",
        ] {
            parse(words).expect_err(words);
        }
    }
}
