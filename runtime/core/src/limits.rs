//! [`Limits`]: how much one run may use. The module [`policy`](mod@crate::policy) computes them.

use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};

use crate::determinism::{Clock, Random};

/// The limits of one run. [`Limits::default`] is the ceiling of a daemon without a configuration.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Limits {
    /// Wall-clock time from start to end, including waits in host calls. Default: 1 hour.
    #[serde(serialize_with = "serialize_seconds")]
    pub timeout: Duration,
    /// CPU time of the guest and its host calls. Default: no limit other than `timeout`.
    #[serde(serialize_with = "serialize_optional_seconds")]
    pub cpu: Option<Duration>,
    /// Total bytes of all memories and tables. Default: 256 MiB. A larger memory delays a timeout, because a guest cannot be stopped while it
    /// fills memory with a single instruction.
    pub memory: u64,
    /// Open handles: files, directories and streams. Default: 128.
    pub handles: usize,
    /// Bytes that the host copies in one host call. Default: 8 MiB, because some language runtimes write megabytes in one call.
    pub hostcall: usize,
    /// Bytes of stdout. Default: 1 GiB.
    pub stdout: u64,
    /// Bytes of stderr. Default: 16 MiB.
    pub stderr: u64,
    /// Jobs of the handler that may run at the same time, including this one. Default: the number of slots of the daemon.
    pub concurrency: Option<NonZeroUsize>,
    /// Jobs of the handler with the same concurrency key that may run at the same time. Default: 1. Ignored for a job without a key.
    pub concurrency_per_key: Option<NonZeroUsize>,
    /// Total bytes that the run may write to all mounts. Default: 1 GiB.
    pub disk: u64,
    /// Total files, directories and links that the run may create on all mounts. Default: 10,000.
    pub files: u64,
    /// Sum of the TCP connections that the run opens and the hosts that it sends to over UDP. Default: 64.
    pub connections: u64,
    /// Sum of the bytes sent and received over the network. Default: 1 GiB.
    pub traffic: u64,
    /// HTTP requests that one instance may answer, one after the other, if the manifest asks for it. Default: 1.
    pub reuse: NonZeroU32,
    /// Bytes that the handler may keep in its buckets and containers, of all runs together. Default: 64 MiB. With 0 it has none.
    pub keyvalue: u64,
    /// Keys, objects and containers that the handler may keep, of all runs together. Default: 100,000.
    pub keys: u64,
    /// Units of fuel, about one WebAssembly instruction each. Default: no limit, and fuel is not counted.
    pub fuel: Option<u64>,
    /// The clocks of the guest. Default: the ones of the host.
    pub clock: Clock,
    /// The random bytes of the guest. Default: the ones of the host.
    pub random: Random,
    /// What happens when the output exceeds its limit. Default: the run is stopped.
    pub output: Overflow,
}

/// What happens to a run whose stdout or stderr exceeds its limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Overflow {
    /// The run is stopped.
    #[default]
    Stop,
    /// The run continues. Output beyond the limit is discarded and counted.
    Truncate,
}

impl Limits {
    /// Returns whether the run must be the same each time. In that case it must not depend on how its input is split into chunks.
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
            reuse: NonZeroU32::MIN,
            keyvalue: 64 << 20,
            keys: 100_000,
            fuel: None,
            clock: Clock::Real,
            random: Random::Real,
            output: Overflow::Stop,
        }
    }
}

fn serialize_seconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64())
}

#[expect(clippy::ref_option, reason = "serde passes a reference to the field")]
fn serialize_optional_seconds<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    duration.map(|duration| duration.as_secs_f64()).serialize(serializer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_repeatable_with_fuel_or_fixed_clock_is_true() {
        let limits = Limits::default();
        assert!(!limits.is_repeatable());
        assert!(!Limits { clock: Clock::Coarse, ..limits }.is_repeatable());
        assert!(Limits { fuel: Some(1), ..limits }.is_repeatable());
        assert!(Limits { clock: Clock::Fixed(jiff::Timestamp::UNIX_EPOCH), ..limits }.is_repeatable());
    }

    /// Returns the n-th value in the cell "default" of the row of `key`, in a table of the documentation.
    fn documented_default(page: &'static str, key: &str, nth: usize) -> &'static str {
        let row = page.lines().find(|line| line.starts_with(&format!("| {key} |"))).expect(key);
        let column = page.lines().find(|line| line.starts_with("| ") && line.contains("default")).unwrap();
        let column = column.split('|').position(|cell| cell.contains("default")).unwrap();
        row.split('|').nth(column).unwrap().trim().split(", ").nth(nth).unwrap()
    }

    #[test]
    fn default_limits_match_the_documentation() {
        let policy = |key: &str, nth| documented_default(include_str!("../../../docs/policy.md"), key, nth);
        let number = |text: &str| text.replace(',', "").parse::<u64>().unwrap();
        let size = |text: &str| text.parse::<bytesize::ByteSize>().unwrap().as_u64();
        let time = |text: &str| humantime::parse_duration(text).unwrap();
        let page = include_str!("../../../docs/limits.md");
        let hostcall = size(documented_default(page, "bytes copied in one host call", 0));
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
            reuse: u32::try_from(number(policy("`reuse`", 0))).unwrap().try_into().unwrap(),
            keyvalue: size(policy("`keyvalue`", 0)),
            keys: number(policy("`keys`", 0)),
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
    fn serialize_durations_writes_seconds() {
        let limits =
            Limits { timeout: Duration::from_millis(1500), cpu: Some(Duration::from_millis(250)), ..Limits::default() };
        let json = serde_json::to_value(limits).unwrap();
        assert_eq!((json["timeout"].as_f64(), json["cpu"].as_f64()), (Some(1.5), Some(0.25)));
        assert!(serde_json::to_value(Limits::default()).unwrap()["cpu"].is_null());
    }
}
