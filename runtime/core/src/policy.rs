//! [`Policy`]: what a run may use and touch, and how it is computed.
//!
//! ```text
//! Ceiling of the operator
//!   └▶ PolicyRequest of the manifest
//!        └▶ PolicyRequest of the caller
//!             ├▶ Policy, stored with the job
//!             └▶ Diagnostics: what was reduced or denied, and by which rule
//! ```
//!
//! Each level can reduce the policy, and none can extend it:
//!
//! | | a limit | a grant: a mount, a variable, a secret, a network or HTTP rule |
//! |---|---|---|
//! | not requested | is the one of the ceiling | is not given |
//! | requested beyond the level above | is reduced to the level above | is denied |
//!
//! In reading order:
//!
//! - [`PolicyRequest`] is what the operator, a manifest or a caller writes. It contains [`MountRequest`], [`SecretRequest`], [`Rule`] and
//!   [`HttpRule`];
//! - [`Ceiling`] is what the operator allows;
//! - [`Ceiling::evaluate`] computes an [`Evaluation`]: a [`Policy`] and a [`Diagnostic`] for each difference from the requests;
//! - [`Ceiling::grants`], [`Ceiling::reach`] and [`Ceiling::http_reach`] open what a policy grants.

mod ceiling;
#[cfg(any(test, fuzzing))]
mod containment;
mod defaults;
mod diagnostic;
mod evaluate;
mod findings;
#[cfg(any(test, fuzzing))]
pub mod fuzz_targets;
mod grants;
mod http;
mod mounts;
mod network;
mod offered_secret;
mod request;
mod secrets;
mod suggest;

use serde::Serialize;

pub use self::ceiling::{Ceiling, Excess};
pub use self::diagnostic::{Denied, Diagnostic, Source, Verdict};
pub use self::evaluate::Evaluation;
pub use self::grants::Grants;
pub use self::http::{
    HttpDenial, HttpHost, HttpReach, HttpRule, HttpRuleError, HttpTarget, InvalidHost, PathPrefix, Placeholder,
    Substitution,
};
pub use self::mounts::{MountGrant, MountRequest, Prefix, SCRATCH};
pub use self::network::{DenialReason, Host, Name, NameError, Ports, Protocol, Reach, Rule, RuleError};
pub use self::offered_secret::OfferedSecret;
pub use self::request::PolicyRequest;
pub use self::secrets::{SecretGrant, SecretRequest};
pub use self::suggest::{suggest, with_suggestion};
use crate::feature::Features;
use crate::limits::Limits;

/// What a run may use and touch.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Policy {
    #[serde(flatten)]
    pub limits: Limits,
    pub mounts: Vec<MountGrant>,
    /// Names of the variables of the daemon's environment that the guest gets.
    pub pass_env: Vec<String>,
    pub secrets: Vec<SecretGrant>,
    /// Bytes that may be written to the scratch directory of the run. 0 if it has none.
    pub scratch: u64,
    /// The parts of the network that may be reached.
    pub network: Vec<Rule>,
    /// The HTTP requests that may be sent.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub http: Vec<HttpRule>,
    /// WebAssembly features that its code may use.
    pub features: Features,
}

#[cfg(test)]
mod tests;
