//! [`Instances`]: how many requests an instance of a component answers before it is dropped.

use std::num::NonZeroU32;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};

use crate::units::{self, DurationSchema};

/// How instances of a component that answers HTTP requests are used again. Without it, each request has an instance of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Instances {
    /// Requests that an instance answers, one after the other, as far as `reuse` in the policy allows. Default: 1.
    pub reuse: NonZeroU32,
    /// Requests that an instance answers at the same time. Default: 1, which is the most for a component of WASI 0.2.
    pub concurrent: NonZeroU32,
    /// How long an instance waits for its next request. Default: 1 second.
    #[serde(deserialize_with = "deserialize_idle", serialize_with = "serialize_seconds")]
    #[schemars(with = "DurationSchema")]
    pub idle: Duration,
}

impl Default for Instances {
    fn default() -> Self {
        Self { reuse: NonZeroU32::MIN, concurrent: NonZeroU32::MIN, idle: Duration::from_secs(1) }
    }
}

impl Instances {
    /// Checks what the types do not.
    ///
    /// # Errors
    /// The reason, if a request would have to share its instance with another at the same time.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.concurrent == NonZeroU32::MIN {
            return Ok(());
        }
        Err(format!(
            "instances.concurrent is {}: an instance of a component of WASI 0.2 answers one request at a time, so it must be 1",
            self.concurrent
        ))
    }
}

fn deserialize_idle<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let idle = units::deserialize_time_limit(deserializer)?;
    idle.ok_or_else(|| serde::de::Error::custom("idle is a time such as \"1s\""))
}

fn serialize_seconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::Manifest;

    #[test]
    fn instances_are_read_from_a_manifest_and_request_the_policy() {
        let manifest = Manifest::parse("instances = { reuse = 100, idle = \"30s\" }").unwrap();
        let instances = manifest.instances.unwrap();
        assert_eq!((instances.reuse.get(), instances.concurrent.get()), (100, 1));
        assert_eq!(instances.idle, Duration::from_secs(30));
        assert_eq!(manifest.policy.reuse, Some(instances.reuse));
        let json = serde_json::to_value(&manifest).unwrap();
        assert_eq!(serde_json::from_value::<Manifest>(json).unwrap(), manifest);
        let lower = Manifest::parse("instances = { reuse = 100 }\n[policy]\nreuse = 5\n").unwrap();
        assert_eq!(lower.policy.reuse.map(NonZeroU32::get), Some(5));
        assert_eq!(Manifest::parse("").unwrap().policy.reuse, None);
    }

    #[test]
    fn instances_that_cannot_be_had_are_refused_with_the_reason() {
        for (text, part) in [
            ("instances = { reuse = 0 }", "nonzero"),
            ("instances = { reuse = 10, concurrent = 2 }", "one request at a time"),
            ("instances = { reuse = 10, idle = 0 }", "no time"),
            ("instances = { resue = 10 }", "did you mean `reuse`"),
            ("instances = 10", "struct Instances"),
        ] {
            let error = Manifest::parse(text).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
