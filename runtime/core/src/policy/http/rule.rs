//! [`HttpRule`]: one HTTP rule.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use super::path::PathPrefix;
use super::target::{HttpHost, HttpTarget};
use crate::http::Scheme;
use crate::policy::network::{Host, Ports, Protocol, Rule};
use crate::policy::secrets::SecretRequest;

/// The field in which placeholders are replaced if a rule names none.
pub(super) const DEFAULT_HEADER: &str = "authorization";
/// The methods of requests that are never sent.
pub(super) const FORBIDDEN_METHODS: [&str; 2] = ["CONNECT", "TRACE"];

/// The requests that a run may send, and the secrets that they may carry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpRule {
    /// The methods, in capital letters. If it is empty: all but CONNECT and TRACE.
    pub methods: BTreeSet<String>,
    pub scheme: Scheme,
    pub host: Host,
    pub ports: Ports,
    pub path: PathPrefix,
    /// The secrets whose placeholders are replaced in these requests.
    pub secrets: Vec<SecretRequest>,
    /// The fields in which placeholders are replaced, in small letters.
    pub headers: BTreeSet<String>,
}

/// The text is not a rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not an HTTP rule: {reason}")]
pub struct HttpRuleError {
    pub(super) text: String,
    pub(super) reason: String,
}

impl HttpRule {
    /// Returns whether `other` allows every request that this rule allows. Secrets do not count.
    pub fn is_within(&self, other: &Self) -> bool {
        let has_methods =
            other.methods.is_empty() || (!self.methods.is_empty() && self.methods.is_subset(&other.methods));
        has_methods
            && self.scheme == other.scheme
            && self.host.is_within(&other.host)
            && self.ports.is_within(other.ports)
            && self.path.is_within(&other.path)
    }

    /// Returns whether `other` replaces every placeholder that this rule replaces, and in the same fields.
    pub(in crate::policy) fn has_secrets_within(&self, other: &Self) -> bool {
        self.secrets.is_empty()
            || (self.secrets.iter().all(|secret| other.secrets.contains(secret))
                && self.headers.is_subset(&other.headers))
    }

    /// Returns whether it is about the scheme, host and port of `target`.
    pub(super) fn matches_host(&self, target: &HttpTarget<'_>) -> bool {
        let is_host = match &target.host {
            HttpHost::Name(name) => self.host.matches_name(name),
            HttpHost::Address(address) => self.host.matches_address(*address),
        };
        is_host && self.scheme == target.scheme && self.ports.contains(target.port)
    }

    /// Returns whether it allows the method of `target`.
    pub(super) fn matches_method(&self, target: &HttpTarget<'_>) -> bool {
        self.methods.is_empty() || self.methods.contains(target.method)
    }

    /// Returns the network rule that reaches its hosts.
    pub(super) fn to_network_rule(&self) -> Rule {
        Rule { host: self.host.clone(), ports: self.ports, protocol: Protocol::Tcp }
    }

    /// Returns the methods and the URL as text.
    pub(super) fn url(&self) -> String {
        let Self { scheme, host, ports, path, .. } = self;
        let port = match ports.single() {
            Some(port) if port == default_port(*scheme) => String::new(),
            _ => format!(":{ports}"),
        };
        let path = if path.is_all() { String::new() } else { path.to_string() };
        format!("{}://{host}{port}{path}", scheme.as_str())
    }
}

/// Returns the port of a URL without one.
fn default_port(scheme: Scheme) -> u16 {
    match scheme {
        Scheme::Http => 80,
        Scheme::Https => 443,
    }
}

impl FromStr for HttpRule {
    type Err = HttpRuleError;

    fn from_str(text: &str) -> Result<Self, HttpRuleError> {
        let (methods, url) = text.split_once(' ').unwrap_or(("", text));
        let methods = methods.split(',').filter(|method| !method.is_empty());
        parse(url.trim_start(), methods).map_err(|reason| HttpRuleError { text: text.to_owned(), reason })
    }
}

/// Parses the URL and the methods of a rule without secrets.
pub(super) fn parse<'a>(url: &str, methods: impl Iterator<Item = &'a str>) -> Result<HttpRule, String> {
    let methods = methods.map(parse_method).collect::<Result<_, _>>()?;
    let (scheme, rest) = match (url.strip_prefix("https://"), url.strip_prefix("http://")) {
        (Some(rest), _) => (Scheme::Https, rest),
        (_, Some(rest)) => (Scheme::Http, rest),
        (None, None) => return Err("it must start with https:// or http://, after the methods".to_owned()),
    };
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    if authority.contains('@') {
        return Err("a rule has no user and password; name a secret for the authorization field".to_owned());
    }
    // Skips the colons of an IPv6 address in brackets.
    let after_address = authority.find(']').unwrap_or(0);
    let (host, ports) = match authority[after_address..].split_once(':') {
        Some((between, ports)) => (&authority[..after_address + between.len()], ports.parse()?),
        None => (authority, Ports::only(default_port(scheme))),
    };
    let (host, path) = (host.parse()?, PathPrefix::parse(path)?);
    let headers = BTreeSet::from([DEFAULT_HEADER.to_owned()]);
    Ok(HttpRule { methods, scheme, host, ports, path, secrets: Vec::new(), headers })
}

fn parse_method(text: &str) -> Result<String, String> {
    if FORBIDDEN_METHODS.contains(&text) {
        return Err(format!("requests with the method {text} are never sent"));
    }
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'-') {
        return Err(format!("{text:?} is not a method in capital letters"));
    }
    Ok(text.to_owned())
}

impl fmt::Display for HttpRule {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.methods.is_empty() {
            let methods: Vec<_> = self.methods.iter().map(String::as_str).collect();
            write!(formatter, "{} ", methods.join(","))?;
        }
        write!(formatter, "{}", self.url())?;
        if !self.secrets.is_empty() {
            let names: Vec<_> = self.secrets.iter().map(|secret| secret.name.as_str()).collect();
            write!(formatter, " with {}", names.join(", "))?;
        }
        Ok(())
    }
}
