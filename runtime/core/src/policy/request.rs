//! `PolicyRequest`: the one form in which a policy is asked for, by the operator, a manifest or a caller.

use std::num::{NonZeroU64, NonZeroUsize};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};

use super::SecretRequest;
use super::network::Rule;
use crate::determinism::{Clock, Random, Written};
use crate::feature::Features;
use crate::limits::Overflow;
use crate::mount::{self, Access, GuestPathError};
use crate::units::{self, Size, Time};

/// What somebody wants of a policy. What is absent says nothing: it neither narrows a limit nor asks for a grant. An empty list does
/// say something: no grant of its kind.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "Policy")]
pub struct PolicyRequest {
    /// Wall clock of a run from start to end, waiting in host calls included.
    #[serde(
        deserialize_with = "units::limit_of_time",
        serialize_with = "seconds",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(with = "Option<Time>")]
    pub timeout: Option<Duration>,
    /// Processor time of a run.
    #[serde(
        deserialize_with = "units::limit_of_time",
        serialize_with = "seconds",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(with = "Option<Time>")]
    pub cpu: Option<Duration>,
    /// Bytes over all memories and tables of a run together.
    #[serde(deserialize_with = "units::limit_of_size", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Size>")]
    pub memory: Option<u64>,
    /// Open handles: files, directories, streams.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub handles: Option<NonZeroUsize>,
    /// Bytes of stdout.
    #[serde(deserialize_with = "units::deserialize_size", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Size>")]
    pub stdout: Option<u64>,
    /// Bytes of stderr.
    #[serde(deserialize_with = "units::deserialize_size", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Size>")]
    pub stderr: Option<u64>,
    /// Directories of the host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mounts: Option<Vec<MountRequest>>,
    /// Variables of the daemon's environment that the guest gets, by name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pass_env: Option<Vec<String>>,
    /// Secrets that the operator keeps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secrets: Option<Vec<SecretRequest>>,
    /// Jobs of the handler that may run at a time; the others wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<NonZeroUsize>,
    /// Jobs of the handler with the same concurrency key that may run at a time; the others wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency_per_key: Option<NonZeroUsize>,
    /// Bytes that may be written to all mounts together.
    #[serde(deserialize_with = "units::deserialize_size", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Size>")]
    pub disk: Option<u64>,
    /// Files, directories and links that may be made on all mounts together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub files: Option<u64>,
    /// Bytes that may be written to a directory of the run's own, which is at `/scratch` and is gone after it.
    #[serde(deserialize_with = "units::deserialize_size", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Size>")]
    pub scratch: Option<u64>,
    /// Hosts that the guest may speak to: `"example.com:443"`, `"*.example.com:443"`, `"10.1.0.0/16"`, `"192.0.2.7:53/udp"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Vec<String>>")]
    pub network: Option<Vec<Rule>>,
    /// Connections that it may begin over TCP, and hosts that it may send to over UDP, together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connections: Option<u64>,
    /// Bytes that it may send and receive over the network, together.
    #[serde(deserialize_with = "units::deserialize_size", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Size>")]
    pub traffic: Option<u64>,
    /// Features of WebAssembly that are off otherwise. Asked for by a manifest alone, since they shape code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub features: Option<Features>,
    /// Units of fuel, about an instruction each.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fuel: Option<NonZeroU64>,
    /// The clocks: `real`, `coarse` (whole milliseconds), `fixed`, or an instant at which the wall clock stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub clock: Option<Clock>,
    /// Random bytes: `real`, or the same for the same seed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Written>")]
    pub random: Option<Random>,
    /// What becomes of a run that prints more than it may.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<Overflow>,
}

/// A directory or a file that is asked for: by the name that the operator gave it, or by its path on the host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MountRequest {
    /// The name of the mount in the operator's configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// In the place of a name: a path on the host, below one of those that the operator allows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The path by which the guest knows it; a relative one is resolved against `/`. Default: `/` and the name, or the path on the host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guest: Option<String>,
    /// What the guest may do below it.
    #[serde(default)]
    pub access: Access,
    /// Bytes that may be written there.
    #[serde(default, deserialize_with = "units::deserialize_size", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Size>")]
    pub disk: Option<u64>,
    /// Files, directories and links that may be made there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<u64>,
}

impl MountRequest {
    /// The path by which the guest knows it.
    ///
    /// # Errors
    /// [`GuestPathError`] for one that cannot be shown to a guest.
    pub fn guest_path(&self) -> Result<String, GuestPathError> {
        let of_name = || self.name.as_ref().map(|name| format!("/{name}"));
        mount::guest_path(&self.guest.clone().or_else(of_name).or_else(|| self.path.clone()).unwrap_or_default())
    }
}

impl PolicyRequest {
    /// What says nothing at all.
    pub const NOTHING: Self = Self {
        timeout: None,
        cpu: None,
        memory: None,
        handles: None,
        stdout: None,
        stderr: None,
        mounts: None,
        pass_env: None,
        secrets: None,
        concurrency: None,
        concurrency_per_key: None,
        disk: None,
        files: None,
        scratch: None,
        network: None,
        connections: None,
        traffic: None,
        features: None,
        fuel: None,
        clock: None,
        random: None,
        output: None,
    };
}

#[expect(clippy::ref_option, reason = "serde hands over a reference to the field")]
fn seconds<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    duration.map(|duration| duration.as_secs_f64()).serialize(serializer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_form_is_read_from_toml_and_json() {
        let toml = "timeout = \"5s\"\ncpu = 1.5\nmemory = \"1MiB\"\nhandles = 3\nstdout = 0\npass_env = [\"TZ\"]\n\
                    [[mounts]]\nname = \"data\"\naccess = \"rw\"\n";
        let json = r#"{"timeout":5,"cpu":"1500ms","memory":1048576,"handles":3,"stdout":0,"pass_env":["TZ"],
                       "mounts":[{"name":"data","access":"rw"}]}"#;
        let asked: PolicyRequest = toml::from_str(toml).unwrap();
        assert_eq!(asked, serde_json::from_str(json).unwrap());
        assert_eq!((asked.timeout, asked.cpu), (Some(Duration::from_secs(5)), Some(Duration::from_millis(1500))));
        assert_eq!(asked.mounts.as_ref().unwrap()[0].access, Access::ReadWrite);
        assert_eq!(asked, serde_json::from_value(serde_json::to_value(&asked).unwrap()).unwrap());
        assert_eq!(toml::from_str::<PolicyRequest>("").unwrap(), PolicyRequest::NOTHING);
    }

    #[test]
    fn what_limits_nothing_is_refused() {
        for (text, named) in [
            ("timeout = 0", "no time"),
            ("timeout = \"0s\"", "no time"),
            ("timeout = -1", "-1"),
            ("timeout = nan", "NaN"),
            ("timeout = inf", "inf"),
            ("timeout = 1e300", "1e"),
            ("timeout = \"5 parsecs\"", "parsecs"),
            ("timeout = \"99999999999999999999y\"", "y"),
            ("cpu = 0", "no time"),
            ("memory = 0", "no room"),
            ("memory = -5", "-5"),
            ("memory = \"-5MiB\"", "-5MiB"),
            ("memory = 1.5", "1.5"),
            ("memory = \"64 bananas\"", "bananas"),
            ("memory = \"99999999999 EiB\"", "EiB"),
            ("disk = -5", "-5"),
            ("disk = \"1 parsec\"", "parsec"),
            ("files = -1", "-1"),
            ("scratch = 1.5", "1.5"),
            ("mounts = [{ name = \"data\", disk = -1 }]", "-1"),
            ("handles = 0", "nonzero"),
            ("handles = -1", "-1"),
            ("memroy = 1", "memroy"),
            ("mounts = \"data\"", "sequence"),
            ("mounts = [{ nmae = \"data\" }]", "nmae"),
            ("pass_env = \"TZ\"", "sequence"),
            ("network = [\"example.com:0\"]", "1 to 65535"),
            ("network = \"example.com\"", "sequence"),
            ("connections = -1", "-1"),
            ("traffic = \"many\"", "many"),
            ("features = [\"memory65\"]", "memory64"),
            ("features = [\"threads\"]", "wide-arithmetic"),
            ("fuel = 0", "nonzero"),
            ("fuel = -1", "-1"),
            ("fuel = 1.5", "1.5"),
            ("clock = \"rael\"", "coarse"),
            ("clock = \"1969-01-01T00:00:00Z\"", "1970"),
            ("random = \"sede\"", "seed = N"),
            ("random = { seed = -1 }", "seed = N"),
            ("output = \"cut\"", "truncate"),
        ] {
            let error = toml::from_str::<PolicyRequest>(text).expect_err(text).to_string();
            assert!(error.contains(named), "{text}: {error}");
        }
    }
}
