//! Network rules. The operator, a manifest and a caller write them in the same form:
//!
//! ```text
//! rule     = host [ ":" ports ] [ "/" protocol ]
//! host     = name | "*." name | "*" | address | address "/" bits      an IPv6 address in brackets: "[2001:db8::]/32"
//! ports    = port | port "-" port                                     default: all
//! protocol = "tcp" | "udp"                                            default: tcp
//! ```
//!
//! Without a rule, nothing can be reached. A special-purpose address, such as a loopback or private one, can be reached only with a rule
//! that names it by address.

mod host;
mod name;
mod reach;
mod rule;
mod special_range;

pub use self::host::Host;
pub use self::name::{Name, NameError};
pub use self::reach::{DenialReason, Reach};
pub use self::rule::{Ports, Protocol, Rule, RuleError};

#[cfg(test)]
mod tests;
