//! [`Rule`]: one network rule.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::host::Host;

/// A host, its ports and a protocol that a run may use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Rule {
    pub host: Host,
    pub ports: Ports,
    pub protocol: Protocol,
}

/// An inclusive range of ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    first: u16,
    last: u16,
}

/// A transport protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    Tcp,
    Udp,
}

/// The text is not a rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a network rule: {reason}")]
pub struct RuleError {
    text: String,
    reason: String,
}

impl Rule {
    /// Returns whether `other` reaches everything that this rule reaches.
    pub fn is_within(&self, other: &Self) -> bool {
        self.protocol == other.protocol && self.ports.is_within(other.ports) && self.host.is_within(&other.host)
    }
}

impl Ports {
    /// All ports. 0 is not a port.
    pub const ALL: Self = Self { first: 1, last: u16::MAX };

    /// Returns the range with one port, which must not be 0.
    pub(in crate::policy) fn only(port: u16) -> Self {
        Self { first: port, last: port }
    }

    /// Returns whether the range contains `port`.
    pub fn contains(self, port: u16) -> bool {
        (self.first..=self.last).contains(&port)
    }

    /// Returns the port if the range has only one.
    pub fn single(self) -> Option<u16> {
        (self.first == self.last).then_some(self.first)
    }

    pub(in crate::policy) fn is_within(self, other: Self) -> bool {
        other.first <= self.first && self.last <= other.last
    }
}

impl FromStr for Ports {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // `u16::from_str` also accepts a sign.
        let port = |text: &str| match text.parse::<u16>() {
            Ok(port) if port != 0 && text.bytes().all(|byte| byte.is_ascii_digit()) => Ok(port),
            _ => Err(format!("{text:?} is not a port from 1 to 65535")),
        };
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let (first, last) = (port(first)?, port(last)?);
        if first > last {
            return Err(format!("the port range {first}-{last} is reversed; write {last}-{first}"));
        }
        Ok(Self { first, last })
    }
}

impl FromStr for Rule {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Self, RuleError> {
        let error = |reason: String| RuleError { text: text.to_owned(), reason };
        let (rest, protocol) = match (text.strip_suffix("/tcp"), text.strip_suffix("/udp")) {
            (Some(rest), _) => (rest, Protocol::Tcp),
            (_, Some(rest)) => (rest, Protocol::Udp),
            (None, None) => (text, Protocol::Tcp),
        };
        // Skips the colons of an IPv6 address in brackets.
        let after_address = rest.find(']').unwrap_or(0);
        let (host, ports) = match rest[after_address..].split_once(':') {
            Some((_, more)) if after_address == 0 && more.contains(':') => {
                return Err(error("an IPv6 address must be written in brackets, as in [2001:db8::1]:443".to_owned()));
            }
            Some((between, ports)) => (&rest[..after_address + between.len()], ports.parse().map_err(error)?),
            None => (rest, Ports::ALL),
        };
        Ok(Self { host: host.parse().map_err(error)?, ports, protocol })
    }
}

impl TryFrom<String> for Rule {
    type Error = RuleError;

    fn try_from(text: String) -> Result<Self, RuleError> {
        text.parse()
    }
}

impl From<Rule> for String {
    fn from(rule: Rule) -> Self {
        rule.to_string()
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, ports, protocol } = self;
        write!(formatter, "{host}")?;
        if *ports != Ports::ALL {
            write!(formatter, ":{ports}")?;
        }
        match protocol {
            Protocol::Tcp => Ok(()),
            Protocol::Udp => formatter.write_str("/udp"),
        }
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.single() {
            Some(port) => write!(formatter, "{port}"),
            None => write!(formatter, "{}-{}", self.first, self.last),
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}
