//! [`Manifest`]: the description of a handler in its `job.toml`.

mod error;
mod program;
mod route;
mod schedule;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::error::ManifestError;
pub use self::program::{ProgramTable, RuntimeTable};
pub use self::route::ManifestRoute;
pub use self::schedule::ManifestSchedule;
use crate::env::Env;
use crate::instances::Instances;
use crate::policy::{self, PolicyRequest};
use crate::rate::Rate;
use crate::retry::RetryPolicy;
use crate::snapshot::{self, Snapshot};

/// The manifest of a handler. All keys are optional. An unknown key is an error that names it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Manifest {
    /// The name of the handler if the push command gives none.
    pub name: Option<String>,
    /// One sentence about what its jobs do.
    pub description: Option<String>,
    /// Its synopsis, such as `wordcount [--top N]`.
    pub usage: Option<String>,
    /// The program name (`argv[0]`) of its runs. Default: the name of the handler.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub argv0: Option<String>,
    /// A directory, or one file, that `capstan push` sends with the program. The path is relative to the manifest. Runs find it at `/app`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub files: Option<String>,
    /// Which program it runs, and with which first arguments.
    #[serde(skip_serializing_if = "ProgramTable::is_default")]
    pub program: ProgramTable,
    /// If it is the runtime of scripts: of which.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runtime: Option<RuntimeTable>,
    /// What its runs may use and touch, within the ceiling of the operator.
    // Manifests of earlier versions call it `limits`.
    #[serde(alias = "limits")]
    pub policy: PolicyRequest,
    /// Which runs of its durable jobs are repeated. A request may set another policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry: Option<RetryPolicy>,
    /// How many of its durable jobs may start within a time, such as `"10/s"`. Further jobs wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
    /// Where its synchronous runs are recorded. Default: in memory.
    #[serde(skip_serializing_if = "HistoryMode::is_default")]
    pub history: HistoryMode,
    /// Schedules that submit durable jobs of it. They come and go with the manifest.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub schedule: Vec<ManifestSchedule>,
    /// Requests that it answers on the `--serve` listeners of the daemon.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub route: Vec<ManifestRoute>,
    /// Whether its program is initialised once, at its push, and its runs start from the image of its memory. Default: false.
    #[serde(deserialize_with = "snapshot::deserialize", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "snapshot::SnapshotRepr")]
    pub snapshot: Option<Snapshot>,
    /// If it answers HTTP requests: how many of them an instance of it answers. Default: one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instances: Option<Instances>,
    /// Default environment variables of its runs. Variables of the caller replace them.
    #[schemars(with = "BTreeMap<String, String>")]
    pub env: Env,
    /// What its runs find in `wasi:config`. Callers cannot change it.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub config: BTreeMap<String, String>,
}

/// Where synchronous runs of a handler are recorded. Durable jobs are always recorded durably.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HistoryMode {
    /// On the disk, a moment after the run has ended. A crash may lose the last ones.
    Durable,
    /// In memory, until the daemon stops.
    #[default]
    Memory,
    /// Nowhere, except for runs with an idempotency key.
    Off,
}

impl HistoryMode {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl Manifest {
    /// Parses a manifest from TOML.
    ///
    /// # Errors
    /// [`ManifestError`] with the line, the column and the text in question.
    pub fn parse(text: &str) -> Result<Self, ManifestError> {
        // Some editors write a byte order mark.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut manifest: Self =
            toml::from_str(text).map_err(|error| ManifestError(policy::with_suggestion(&error.to_string())))?;
        if manifest.argv0.as_ref().is_some_and(|argv0| argv0.contains('\0')) {
            return Err(ManifestError(
                "argv0 contains NUL, which the program name of a guest cannot contain".to_owned(),
            ));
        }
        if let Some(instances) = &manifest.instances {
            instances.check().map_err(ManifestError)?;
            // The operator decides about it as about any limit.
            let reuse = manifest.policy.reuse.map_or(instances.reuse, |reuse| reuse.min(instances.reuse));
            manifest.policy.reuse = Some(reuse);
        }
        manifest.program.check()?;
        ManifestRoute::check_all(&manifest.route)?;
        manifest.runtime.as_ref().map_or(Ok(()), RuntimeTable::check)?;
        if manifest.snapshot.iter().flat_map(|snapshot| &snapshot.args).any(|arg| arg.contains('\0')) {
            return Err(ManifestError(
                "an argument under [snapshot] contains NUL, which no argument can contain".to_owned(),
            ));
        }
        if let Some(error) = manifest.retry.as_ref().and_then(|retry| retry.check().err()) {
            return Err(ManifestError(error.to_string()));
        }
        for (index, schedule) in manifest.schedule.iter().enumerate() {
            if let Some(error) = schedule.retry.as_ref().and_then(|retry| retry.check().err()) {
                return Err(ManifestError::of_schedule(text, index, &["retry"], &error.to_string()));
            }
        }
        Ok(manifest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parse_manifest_skips_byte_order_mark() {
        let manifest = Manifest::parse("\u{feff}description = \"x\"").unwrap();
        assert_eq!(manifest.description.as_deref(), Some("x"));
    }

    #[test]
    fn parse_manifest_reads_every_section() {
        let text = "name = \"wc\"\nusage = \"wc [--top N]\"\n[policy]\ntimeout = \"10s\"\n[env]\nTOP = \"3\"\n\
                    [retry]\nattempts = 5\nbase = \"2s\"\n";
        let manifest = Manifest::parse(text).unwrap();
        assert_eq!(manifest.name.as_deref(), Some("wc"));
        assert_eq!(manifest.policy.timeout, Some(std::time::Duration::from_secs(10)));
        assert_eq!(manifest.env.get("TOP"), Some("3"));
        assert_eq!(manifest.retry.map(|retry| retry.attempts), Some(5));
    }

    #[test]
    fn parse_unknown_or_malformed_key_fails_and_names_it() {
        for text in [
            "nmae = \"x\"",
            "argv0 = \"a\\u0000b\"",
            "argv0 = 3",
            "[policy]\nmemroy = 1",
            "policy = 3",
            "[env]\nTOP = 3",
            "[config]\ncolour = 3",
            "retry = 3",
            "rate = \"0/s\"",
            "rate = 5",
            "history = \"always\"",
            "files = 3",
            "[program]\nform = \"x\"",
            "[program]\nargs = [\"a\\u0000\"]",
            "[runtime]\nextensions = [\"py\"]",
            "[runtime]\nextensions = [\".\"]",
            "[retry]\nattempts = 0",
            "[retry]\njitter = 2.0",
            "[retry]\non = [\"exploded\"]",
            "= =",
        ] {
            assert!(Manifest::parse(text).is_err(), "{text}");
        }
        assert!(Manifest::parse("nmae = \"x\"").unwrap_err().to_string().contains("nmae"));
    }

    #[test]
    fn parse_manifest_reads_schedules() {
        let text = "[[schedule]]\ncron = \"@daily\"\ntimezone = \"Europe/Berlin\"\nargs = [\"a\"]\n\
                    [[schedule]]\nname = \"launch\"\nat = 2030-01-31T12:00:00Z\noverlap = \"skip\"\n\
                    [[schedule]]\nname = \"poll\"\nevery = \"90s\"\nat = \"2030-01-31T12:00:00Z\"\n";
        let manifest = Manifest::parse(text).unwrap();
        let [daily, launch, poll] = &manifest.schedule[..] else { panic!("{manifest:?}") };
        assert_eq!((daily.name.as_deref(), daily.time_zone.as_deref()), (None, Some("Europe/Berlin")));
        assert_eq!((launch.at, launch.overlap), (poll.at, crate::schedule::Overlap::Skip));
        assert_eq!(poll.every, Some(std::time::Duration::from_secs(90)));
        // The record of a handler has its manifest as JSON.
        let json = serde_json::to_value(&manifest).unwrap();
        assert_eq!(serde_json::from_value::<Manifest>(json).unwrap(), manifest);
    }

    #[test]
    fn parse_manifest_names_what_is_wrong_with_a_schedule() {
        for (text, part) in [
            ("[[schedule]]\ncorn = \"@daily\"", "did you mean `cron`"),
            ("[[schedule]]\nat = \"soon\"", "is not a time"),
            ("[[schedule]]\nat = 2030-01-31", "is not a time"),
            ("[[schedule]]\nevery = \"soon\"", "soon"),
            ("[[schedule]]\noverlap = \"forbid\"", "forbid"),
            ("[schedule]\ncron = \"@daily\"", "sequence"),
        ] {
            let error = Manifest::parse(text).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
