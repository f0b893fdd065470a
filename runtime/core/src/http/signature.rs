//! [`SignatureRule`]: how a route checks that a webhook comes from whom it claims.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::units::{self, DurationSchema, SizeSchema};

/// The signature that requests must have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SignatureRule {
    pub scheme: SignatureScheme,
    /// The name of a secret in the operator's configuration. The operator must offer it to the handler.
    pub secret: String,
    /// How far the time in the signature may be from that of the daemon; 5 minutes by default. The scheme `github` has no time.
    #[serde(
        default = "default_tolerance",
        serialize_with = "serialize_seconds",
        deserialize_with = "deserialize_seconds"
    )]
    #[schemars(with = "DurationSchema")]
    pub tolerance: Duration,
    /// The most bytes of a body, which is read in full before it is checked; 1 MiB by default.
    #[serde(default = "default_max_body", deserialize_with = "deserialize_bytes")]
    #[schemars(with = "SizeSchema")]
    pub max_body: u64,
}

/// Who signs, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SignatureScheme {
    /// `X-Hub-Signature-256`, as GitHub sends it.
    Github,
    /// `Stripe-Signature`, as Stripe sends it.
    Stripe,
    /// `Webhook-Signature` of <https://www.standardwebhooks.com>.
    StandardWebhooks,
}

fn default_tolerance() -> Duration {
    Duration::from_secs(5 * 60)
}

fn default_max_body() -> u64 {
    1 << 20
}

fn serialize_seconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64())
}

fn deserialize_seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    units::deserialize_duration(deserializer)?.ok_or_else(|| serde::de::Error::custom("expected a duration"))
}

fn deserialize_bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    units::deserialize_size(deserializer)?.ok_or_else(|| serde::de::Error::custom("expected a size"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rule_has_defaults_and_rejects_unknown_keys() {
        let rule: SignatureRule = toml::from_str("scheme = \"standard-webhooks\"\nsecret = \"hook\"").unwrap();
        assert_eq!(rule.scheme, SignatureScheme::StandardWebhooks);
        assert_eq!((rule.tolerance, rule.max_body), (Duration::from_secs(300), 1 << 20));
        let rule: SignatureRule =
            toml::from_str("scheme = \"stripe\"\nsecret = \"hook\"\ntolerance = \"1m\"\nmax_body = \"2KiB\"").unwrap();
        assert_eq!((rule.tolerance, rule.max_body), (Duration::from_secs(60), 2048));
        for text in
            ["scheme = \"md5\"\nsecret = \"hook\"", "scheme = \"github\"", "scheme = \"github\"\nsecret = \"a\"\nx = 1"]
        {
            assert!(toml::from_str::<SignatureRule>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn rule_goes_through_json_unchanged() {
        let rule: SignatureRule = toml::from_str("scheme = \"github\"\nsecret = \"hook\"").unwrap();
        let json = serde_json::to_string(&rule).unwrap();
        assert_eq!(serde_json::from_str::<SignatureRule>(&json).unwrap(), rule);
    }
}
