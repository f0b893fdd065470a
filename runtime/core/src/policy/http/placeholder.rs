//! [`Placeholder`]: what a guest finds in place of a secret that only its HTTP requests may carry.

use std::collections::BTreeSet;

use crate::secret::Secret;

/// A token that the host replaces by a secret, in the requests of some rules.
#[derive(Clone, Debug)]
pub struct Placeholder {
    /// The variable in which the guest finds the token.
    pub env: String,
    /// Random for each run. It is worth nothing elsewhere.
    pub token: String,
    /// The index of the rule whose requests may carry the secret, and the secret.
    pub(super) values: Vec<(usize, Secret)>,
}

/// What to replace in the fields of one request.
#[derive(Debug)]
pub struct Substitution<'a> {
    pub token: &'a str,
    pub secret: &'a Secret,
    /// The fields, in small letters.
    pub headers: &'a BTreeSet<String>,
}

impl Placeholder {
    /// Returns all secrets that it may stand for.
    pub fn secrets(&self) -> impl Iterator<Item = &Secret> {
        self.values.iter().map(|(_, secret)| secret)
    }
}
