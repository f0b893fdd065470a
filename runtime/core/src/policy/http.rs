//! HTTP rules: which requests a run may send. The operator, a manifest and a caller write them in the same form:
//!
//! ```text
//! rule    = [ methods " " ] scheme "://" host [ ":" ports ] [ path ]
//! methods = method { "," method }                                default: all but CONNECT and TRACE
//! scheme  = "http" | "https"
//! host    = name | "*." name | "*" | address                     an IPv6 address in brackets
//! ports   = port | port "-" port                                 default: 80 or 443
//! path    = the start of the path                                default: "/"
//! ```
//!
//! The table form has the same in `url` and `methods`, and may name secrets: see [`HttpRule`].
//!
//! A rule allows the host to connect for these requests. It does not open the sockets of the guest, because those know no methods and
//! paths. The addresses of a name are checked as those of network rules are.

mod path;
mod placeholder;
mod reach;
mod rule;
mod table;
mod target;

pub use self::path::PathPrefix;
pub use self::placeholder::{Placeholder, Substitution};
pub use self::reach::{HttpDenial, HttpReach};
pub use self::rule::{HttpRule, HttpRuleError};
pub use self::target::{HttpHost, HttpTarget, InvalidHost};

#[cfg(test)]
mod tests;
