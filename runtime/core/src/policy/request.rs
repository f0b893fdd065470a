//! [`PolicyRequest`]: the form in which the operator, a manifest and a caller write a policy.

use std::num::{NonZeroU32, NonZeroU64, NonZeroUsize};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};

use super::http::HttpRule;
use super::mounts::MountRequest;
use super::network::Rule;
use super::secrets::SecretRequest;
use crate::determinism::{Clock, Random, RandomRepr};
use crate::feature::Features;
use crate::limits::Overflow;
use crate::units::{self, DurationSchema, SizeSchema};

/// The limits and grants that one party requests. An absent key requests nothing: it neither lowers a limit nor asks for a grant. An empty
/// list is a request for no grant of its kind.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "Policy")]
pub struct PolicyRequest {
    /// Wall-clock time of a run from start to end, including waits in host calls.
    #[serde(
        deserialize_with = "units::deserialize_time_limit",
        serialize_with = "serialize_seconds",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(with = "Option<DurationSchema>")]
    pub timeout: Option<Duration>,
    /// CPU time of a run.
    #[serde(
        deserialize_with = "units::deserialize_time_limit",
        serialize_with = "serialize_seconds",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(with = "Option<DurationSchema>")]
    pub cpu: Option<Duration>,
    /// Total bytes of all memories and tables of a run.
    #[serde(deserialize_with = "units::deserialize_size_limit", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<SizeSchema>")]
    pub memory: Option<u64>,
    /// Open handles: files, directories and streams.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub handles: Option<NonZeroUsize>,
    /// Bytes of stdout.
    #[serde(deserialize_with = "units::deserialize_size", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<SizeSchema>")]
    pub stdout: Option<u64>,
    /// Bytes of stderr.
    #[serde(deserialize_with = "units::deserialize_size", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<SizeSchema>")]
    pub stderr: Option<u64>,
    /// Directories of the host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mounts: Option<Vec<MountRequest>>,
    /// Variables of the daemon's environment that the guest gets, by name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pass_env: Option<Vec<String>>,
    /// Secrets that the operator offers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secrets: Option<Vec<SecretRequest>>,
    /// Jobs of the handler that may run at the same time. Further jobs wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<NonZeroUsize>,
    /// Jobs of the handler with the same concurrency key that may run at the same time. Further jobs wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency_per_key: Option<NonZeroUsize>,
    /// Total bytes that a run may write to all mounts.
    #[serde(deserialize_with = "units::deserialize_size", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<SizeSchema>")]
    pub disk: Option<u64>,
    /// Total files, directories and links that a run may create on all mounts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub files: Option<u64>,
    /// Bytes that a run may write to its scratch directory. It is at `/scratch` and is removed after the run.
    #[serde(deserialize_with = "units::deserialize_size", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<SizeSchema>")]
    pub scratch: Option<u64>,
    /// Hosts with which the guest may exchange data: `"example.com:443"`, `"*.example.com:443"`, `"10.1.0.0/16"`, `"192.0.2.7:53/udp"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Vec<String>>")]
    pub network: Option<Vec<Rule>>,
    /// HTTP requests that the guest may send: `"https://api.example.com/v1/"`, `"GET,HEAD https://*.example.org"`, or a table with `url`,
    /// `methods`, `secrets` and `headers`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<Vec<HttpRule>>,
    /// Sum of the TCP connections that it may open and the hosts that it may send to over UDP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connections: Option<u64>,
    /// Sum of the bytes that it may send and receive over the network.
    #[serde(deserialize_with = "units::deserialize_size", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<SizeSchema>")]
    pub traffic: Option<u64>,
    /// HTTP requests that one instance of a component may answer, if `instances` in its manifest asks for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reuse: Option<NonZeroU32>,
    /// Bytes that the handler may keep in its buckets and containers, of all runs together.
    #[serde(deserialize_with = "units::deserialize_size", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<SizeSchema>")]
    pub keyvalue: Option<u64>,
    /// Keys, objects and containers that the handler may keep, of all runs together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keys: Option<u64>,
    /// WebAssembly features. In a configuration, those that programs may use; in a manifest, those that the program may use at most. A caller
    /// cannot choose them, because they change how code is compiled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub features: Option<Features>,
    /// Units of fuel, about one instruction each.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fuel: Option<NonZeroU64>,
    /// The clocks: `real`, `coarse` (whole milliseconds), `fixed`, or the instant that the wall clock always shows.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub clock: Option<Clock>,
    /// Random bytes: `real`, or the same bytes for the same seed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<RandomRepr>")]
    pub random: Option<Random>,
    /// What happens to a run whose stdout or stderr exceeds its limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<Overflow>,
}

impl PolicyRequest {
    /// A request for nothing.
    pub const EMPTY: Self = Self {
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
        http: None,
        connections: None,
        traffic: None,
        reuse: None,
        keyvalue: None,
        keys: None,
        features: None,
        fuel: None,
        clock: None,
        random: None,
        output: None,
    };
}

#[expect(clippy::ref_option, reason = "serde passes a reference to the field")]
fn serialize_seconds<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    duration.map(|duration| duration.as_secs_f64()).serialize(serializer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mount::Access;

    #[test]
    fn request_deserializes_equally_from_toml_and_json() {
        let toml = "timeout = \"5s\"\ncpu = 1.5\nmemory = \"1MiB\"\nhandles = 3\nstdout = 0\npass_env = [\"TZ\"]\n\
                    [[mounts]]\nname = \"data\"\naccess = \"rw\"\n";
        let json = r#"{"timeout":5,"cpu":"1500ms","memory":1048576,"handles":3,"stdout":0,"pass_env":["TZ"],
                       "mounts":[{"name":"data","access":"rw"}]}"#;
        let request: PolicyRequest = toml::from_str(toml).unwrap();
        assert_eq!(request, serde_json::from_str(json).unwrap());
        assert_eq!((request.timeout, request.cpu), (Some(Duration::from_secs(5)), Some(Duration::from_millis(1500))));
        assert_eq!(request.mounts.as_ref().unwrap()[0].access, Access::ReadWrite);
        assert_eq!(request, serde_json::from_value(serde_json::to_value(&request).unwrap()).unwrap());
        assert_eq!(toml::from_str::<PolicyRequest>("").unwrap(), PolicyRequest::EMPTY);
    }

    #[test]
    fn deserialize_invalid_limit_fails_with_reason() {
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
            ("http = [\"ftp://example.com\"]", "https://"),
            ("http = [{ url = \"https://a.example\", secret = \"x\" }]", "secrets"),
            ("connections = -1", "-1"),
            ("traffic = \"many\"", "many"),
            ("keyvalue = -1", "-1"),
            ("keys = \"many\"", "many"),
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
