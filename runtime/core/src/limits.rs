//! `Limits`: how much a run may use. How they come about is in [`policy`](mod@crate::policy).

use std::num::NonZeroUsize;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};

use crate::determinism::{Clock, Random};

/// What one run may use. [`Limits::default`] is the ceiling of a daemon that was told nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Limits {
    /// Wall clock from start to end, waiting in host calls included. Default one hour.
    #[serde(serialize_with = "as_seconds")]
    pub timeout: Duration,
    /// Processor time of the guest and its host calls. Default none but what `timeout` leaves.
    #[serde(serialize_with = "as_optional_seconds")]
    pub cpu: Option<Duration>,
    /// Bytes over all memories and tables together. Default 256 MiB: filling more at a stroke delays the stop at a deadline.
    pub memory: u64,
    /// Open handles: files, directories, streams. Default 128.
    pub handles: usize,
    /// Bytes the guest may make the host copy in one host call. Default 8 MiB: some runtimes write megabytes at a stroke.
    pub hostcall: usize,
    /// Bytes of stdout. Default 1 GiB.
    pub stdout: u64,
    /// Bytes of stderr. Default 16 MiB.
    pub stderr: u64,
    /// Jobs of the handler that may run at a time, this one among them. Default as many as there are slots.
    pub concurrency: Option<NonZeroUsize>,
    /// The same of those with its concurrency key. Default 1; for a job without a key it says nothing.
    pub concurrency_per_key: Option<NonZeroUsize>,
    /// Bytes that may be written to all mounts together. Default 1 GiB.
    pub disk: u64,
    /// Files, directories and links that may be made on all mounts together. Default 10,000.
    pub files: u64,
    /// Connections over TCP that are begun, and hosts that are sent to over UDP, together. Default 64.
    pub connections: u64,
    /// Bytes sent and received over the network, together. Default 1 GiB.
    pub traffic: u64,
    /// Units of fuel, of about an instruction of WebAssembly each. Default none, and then none are counted.
    pub fuel: Option<u64>,
    /// What the guest learns of time. Default all.
    pub clock: Clock,
    /// What it gets for random bytes. Default the host's.
    pub random: Random,
    /// What becomes of a run that prints more than it may. Default it is stopped.
    pub output: Overflow,
}

/// What becomes of a run that prints more than it may.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Overflow {
    /// It is stopped.
    #[default]
    Stop,
    /// It goes on, and what is beyond is thrown away and counted.
    Truncate,
}

impl Limits {
    /// Whether the run is to be the same each time: then nothing of it may depend on how its input came in pieces.
    pub fn is_repeatable(&self) -> bool {
        self.fuel.is_some() || matches!(self.clock, Clock::Fixed(_))
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(3600),
            cpu: None,
            memory: 256 << 20,
            handles: 128,
            hostcall: 8 << 20,
            stdout: 1 << 30,
            stderr: 16 << 20,
            concurrency: None,
            concurrency_per_key: None,
            disk: 1 << 30,
            files: 10_000,
            connections: 64,
            traffic: 1 << 30,
            fuel: None,
            clock: Clock::Real,
            random: Random::Real,
            output: Overflow::Stop,
        }
    }
}

fn as_seconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64())
}

#[expect(clippy::ref_option, reason = "serde hands over a reference to the field")]
fn as_optional_seconds<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    duration.map(|duration| duration.as_secs_f64()).serialize(serializer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_the_same_each_time_where_fuel_is_counted_or_its_clock_stands() {
        let limits = Limits::default();
        assert!(!limits.is_repeatable());
        assert!(!Limits { clock: Clock::Coarse, ..limits }.is_repeatable());
        assert!(Limits { fuel: Some(1), ..limits }.is_repeatable());
        assert!(Limits { clock: Clock::Fixed(jiff::Timestamp::UNIX_EPOCH), ..limits }.is_repeatable());
    }

    /// The cell «default» of the row of `key` in a table of the documentation, its n-th value.
    fn documented(page: &'static str, key: &str, nth: usize) -> &'static str {
        let row = page.lines().find(|line| line.starts_with(&format!("| {key} |"))).expect(key);
        let column = page.lines().find(|line| line.starts_with("| ") && line.contains("default")).unwrap();
        let column = column.split('|').position(|cell| cell.contains("default")).unwrap();
        row.split('|').nth(column).unwrap().trim().split(", ").nth(nth).unwrap()
    }

    #[test]
    fn the_defaults_are_those_of_the_documentation() {
        let policy = |key: &str, nth| documented(include_str!("../../../docs/policy.md"), key, nth);
        let number = |text: &str| text.replace(',', "").parse::<u64>().unwrap();
        let size = |text: &str| text.parse::<bytesize::ByteSize>().unwrap().as_u64();
        let time = |text: &str| humantime::parse_duration(text).unwrap();
        let page = include_str!("../../../docs/limits.md");
        let hostcall = size(documented(page, "bytes copied in one host call", 0));
        let expected = Limits {
            timeout: time(policy("`timeout`", 0)),
            memory: size(policy("`memory`", 0)),
            handles: number(policy("`handles`", 0)).try_into().unwrap(),
            hostcall: hostcall.try_into().unwrap(),
            stdout: size(policy("`stdout`, `stderr`", 0)),
            stderr: size(policy("`stdout`, `stderr`", 1)),
            disk: size(policy("`disk`, `files`", 0)),
            files: number(policy("`disk`, `files`", 1)),
            connections: number(policy("`connections`", 0)),
            traffic: size(policy("`traffic`", 0)),
            ..Limits::default()
        };
        assert_eq!(Limits::default(), expected);
        for key in ["cpu", "fuel"] {
            assert_eq!(policy(&format!("`{key}`"), 0), "none");
        }
        let Limits { cpu, fuel, clock, random, output, .. } = Limits::default();
        assert_eq!((cpu, fuel, clock, random, output), (None, None, Clock::Real, Random::Real, Overflow::Stop));
    }

    #[test]
    fn times_are_told_in_seconds() {
        let limits =
            Limits { timeout: Duration::from_millis(1500), cpu: Some(Duration::from_millis(250)), ..Limits::default() };
        let told = serde_json::to_value(limits).unwrap();
        assert_eq!((told["timeout"].as_f64(), told["cpu"].as_f64()), (Some(1.5), Some(0.25)));
        assert!(serde_json::to_value(Limits::default()).unwrap()["cpu"].is_null());
    }
}
