//! [`Table`]: the form of an HTTP rule with secrets, and how rules are read and written.

use std::collections::BTreeSet;
use std::fmt;

use schemars::JsonSchema;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::rule::{self, DEFAULT_HEADER, HttpRule};
use crate::policy::secrets::SecretRequest;

/// An HTTP rule as a table.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Table {
    /// The start of the URLs: `"https://api.example.com/v1/"`.
    url: String,
    /// The methods in capital letters. Default: all but CONNECT and TRACE.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    methods: BTreeSet<String>,
    /// Secrets of the operator, as `NAME` or `NAME=VARIABLE`. The guest finds a placeholder in the variable, and the host replaces it by the
    /// secret in these requests only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    secrets: Vec<String>,
    /// The fields in which placeholders are replaced. Default: `authorization`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    headers: Option<BTreeSet<String>>,
}

/// The two forms of a rule.
#[derive(JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, reason = "it only describes the forms")]
enum Form {
    Text(String),
    Table(Table),
}

impl Table {
    fn into_rule(self) -> Result<HttpRule, String> {
        let Self { url, methods, secrets, headers } = self;
        let mut rule = rule::parse(&url, methods.iter().map(String::as_str))
            .map_err(|reason| format!("{url:?} is not the URL of an HTTP rule: {reason}"))?;
        rule.secrets = secrets.iter().map(|text| parse_secret(text)).collect::<Result<_, _>>()?;
        if let Some(headers) = headers {
            rule.headers = headers.iter().map(|name| parse_header(name)).collect::<Result<_, _>>()?;
        }
        Ok(rule)
    }
}

fn parse_secret(text: &str) -> Result<SecretRequest, String> {
    let (name, env) = text.split_once('=').map_or((text, None), |(name, env)| (name, Some(env.to_owned())));
    if name.is_empty() || env.as_deref() == Some("") {
        return Err(format!("{text:?} is not the name of a secret, NAME or NAME=VARIABLE"));
    }
    Ok(SecretRequest { name: name.to_owned(), env })
}

fn parse_header(text: &str) -> Result<String, String> {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if text.is_empty() || !text.bytes().all(is_token) {
        return Err(format!("{text:?} is not the name of a header field"));
    }
    // The host sets these itself.
    let name = text.to_ascii_lowercase();
    match ["host", "content-length", "transfer-encoding", "connection", "te", "trailer", "upgrade"].contains(&&*name) {
        true => Err(format!("a secret cannot be in the field {name}")),
        false => Ok(name),
    }
}

impl<'de> Deserialize<'de> for HttpRule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RuleVisitor)
    }
}

struct RuleVisitor;

impl<'de> Visitor<'de> for RuleVisitor {
    type Value = HttpRule;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an HTTP rule, as \"https://example.com/\", or a table with `url`")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<HttpRule, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<HttpRule, A::Error> {
        Table::deserialize(MapAccessDeserializer::new(map))?.into_rule().map_err(A::Error::custom)
    }
}

impl Serialize for HttpRule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let has_default_headers = self.headers.iter().eq([DEFAULT_HEADER]);
        if self.secrets.is_empty() && has_default_headers {
            return self.to_string().serialize(serializer);
        }
        let secret = |SecretRequest { name, env }: &SecretRequest| match env {
            Some(env) => format!("{name}={env}"),
            None => name.clone(),
        };
        Table {
            url: self.url(),
            methods: self.methods.clone(),
            secrets: self.secrets.iter().map(secret).collect(),
            headers: (!has_default_headers).then(|| self.headers.clone()),
        }
        .serialize(serializer)
    }
}

impl JsonSchema for HttpRule {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "HttpRule".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        Form::json_schema(generator)
    }
}
