//! [`Diagnostic`]: one difference between a request and the policy, with the rule that caused it.

use std::fmt;

use serde::Serialize;

/// One thing that was requested and not given as requested.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// The key in the policy.
    pub key: &'static str,
    /// The source of the request.
    pub by: Source,
    #[serde(rename = "asked")]
    pub requested: String,
    pub verdict: Verdict,
    /// What is given instead. `None` if nothing is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub granted: Option<String>,
    /// The rule that the request violates.
    pub rule: String,
}

/// A party that contributes to a policy, from the highest level to the lowest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    Operator,
    Manifest,
    Caller,
}

/// What happens to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It gets less than requested, or nothing.
    Clamped,
    /// The run is not started.
    Denied,
}

/// A policy is denied. Contains all diagnostics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denied(pub Vec<Diagnostic>);

impl Denied {
    /// Creates the denial of one request of a caller.
    pub(super) fn of_caller(key: &'static str, requested: String, rule: String) -> Self {
        let (by, verdict) = (Source::Caller, Verdict::Denied);
        Self(vec![Diagnostic { key, by, requested, verdict, granted: None, rule }])
    }
}

impl std::error::Error for Denied {}

impl fmt::Display for Denied {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let denied = self.0.iter().filter(|finding| finding.verdict == Verdict::Denied);
        for (index, finding) in denied.enumerate() {
            if index > 0 {
                formatter.write_str("; ")?;
            }
            write!(formatter, "{finding}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, by, requested, rule, .. } = self;
        write!(formatter, "{key} {requested} of the {by}: {rule}")
    }
}

impl fmt::Display for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Operator => "operator",
            Self::Manifest => "manifest",
            Self::Caller => "caller",
        })
    }
}
