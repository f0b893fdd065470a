//! What of the network may be reached: rules, which the operator, a manifest and a caller write in the same way.
//!
//! ```text
//! rule     = host [ ":" ports ] [ "/" protocol ]
//! host     = name | "*." name | "*" | address | address "/" bits      an IPv6 address in brackets: "[2001:db8::]/32"
//! ports    = port | port "-" port                                     default: all
//! protocol = "tcp" | "udp"                                            default: tcp
//! ```
//!
//! Nothing is reached without a rule, and nothing that is [special] by a rule that does not name it by its address.

mod host;
mod name;
mod reach;
mod special;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

pub use self::host::Host;
pub use self::name::{Name, NameError};
pub use self::reach::{DenialReason, Reach};
use super::diagnostic::{Named, Notes};
use super::{Ceiling, Policy, PolicyRequest};

/// One rule: a host, its ports, and a protocol.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Rule {
    pub host: Host,
    pub ports: Ports,
    pub protocol: Protocol,
}

/// Ports from the first to the last, both among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    first: u16,
    last: u16,
}

/// How a host is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    Tcp,
    Udp,
}

/// Why a text is no rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no rule for the network: {why}")]
pub struct RuleError {
    text: String,
    why: String,
}

impl Rule {
    /// Whether all that this rule reaches is reached by `other` too.
    pub fn is_within(&self, other: &Self) -> bool {
        self.protocol == other.protocol && self.ports.is_within(other.ports) && self.host.is_within(&other.host)
    }
}

impl Ports {
    /// Every port that there is; 0 is none.
    pub const ALL: Self = Self { first: 1, last: u16::MAX };

    /// Whether `port` is one of them.
    pub fn contains(self, port: u16) -> bool {
        (self.first..=self.last).contains(&port)
    }

    /// The port, where it is only one.
    pub fn single(self) -> Option<u16> {
        (self.first == self.last).then_some(self.first)
    }

    fn is_within(self, other: Self) -> bool {
        other.first <= self.first && self.last <= other.last
    }
}

impl FromStr for Ports {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // The number type would take a sign.
        let port = |text: &str| match text.parse::<u16>() {
            Ok(port) if port != 0 && text.bytes().all(|byte| byte.is_ascii_digit()) => Ok(port),
            _ => Err(format!("{text:?} is not a port from 1 to 65535")),
        };
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let (first, last) = (port(first)?, port(last)?);
        if first > last {
            return Err(format!("the ports {first}-{last} are upside down"));
        }
        Ok(Self { first, last })
    }
}

impl FromStr for Rule {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Self, RuleError> {
        let error = |why: String| RuleError { text: text.to_owned(), why };
        let (rest, protocol) = match (text.strip_suffix("/tcp"), text.strip_suffix("/udp")) {
            (Some(rest), _) => (rest, Protocol::Tcp),
            (_, Some(rest)) => (rest, Protocol::Udp),
            (None, None) => (text, Protocol::Tcp),
        };
        // The colons of an IPv6 address stand in brackets.
        let after_address = rest.find(']').unwrap_or(0);
        let (host, ports) = match rest[after_address..].split_once(':') {
            Some((_, more)) if after_address == 0 && more.contains(':') => {
                return Err(error("an IPv6 address stands in brackets".to_owned()));
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
        match ports.single() {
            Some(port) => write!(formatter, ":{port}")?,
            None if *ports == Ports::ALL => {}
            None => write!(formatter, ":{}-{}", ports.first, ports.last)?,
        }
        match protocol {
            Protocol::Tcp => Ok(()),
            Protocol::Udp => formatter.write_str("/udp"),
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

impl Named for Rule {
    fn name(&self) -> String {
        self.to_string()
    }
}

impl Ceiling {
    /// The rules that a run gets: each lies within one of the operator's, and a caller's within one of the manifest's too.
    pub(super) fn network(
        &self,
        manifest: &PolicyRequest,
        caller: &PolicyRequest,
        lenient: bool,
        notes: &mut Notes,
    ) -> Vec<Rule> {
        let of_operator = |asked: &Rule| match self.network.iter().any(|rule| asked.is_within(rule)) {
            true => Ok(()),
            false if self.network.is_empty() => Err("the operator grants no network".to_owned()),
            false => Err(format!("no rule of the operator's has all of it: {}", listed(&self.network))),
        };
        let asked = [manifest.network.as_deref(), caller.network.as_deref()];
        notes.granted_in_turn("network", asked, lenient, of_operator, |rule, asked| asked.is_within(rule))
    }

    /// What the rules of `policy`, which was judged by this ceiling, reach from a daemon that itself listens on the ports `own`; nothing
    /// where there are none.
    pub fn reach(&self, policy: &Policy, own: &[u16]) -> Option<Box<Reach>> {
        (!policy.network.is_empty()).then(|| Box::new(Reach::new(policy.network.clone(), own, &self.network)))
    }
}

/// Rules in one line, the first few of them.
fn listed(rules: &[Rule]) -> String {
    const SHOWN: usize = 4;
    let shown: Vec<_> = rules.iter().take(SHOWN).map(ToString::to_string).collect();
    let more = if rules.len() > SHOWN { ", …" } else { "" };
    shown.join(", ") + more
}

#[cfg(test)]
mod tests;
