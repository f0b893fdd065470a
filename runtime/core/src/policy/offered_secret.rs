//! [`OfferedSecret`]: a secret that the operator offers.

use super::http::HttpRule;
use crate::secret::Secret;

/// A secret that the operator offers.
#[derive(Clone, Debug)]
pub struct OfferedSecret {
    pub secret: Secret,
    /// Names of the handlers that may have it. `*` stands for all.
    pub handlers: Vec<String>,
    /// The requests that may carry it. If there are any, no guest gets the secret itself.
    pub http: Vec<HttpRule>,
}

impl OfferedSecret {
    /// Returns whether `handler` may have it.
    pub(super) fn is_for(&self, handler: &str) -> bool {
        self.handlers.iter().any(|allowed| allowed == "*" || allowed == handler)
    }
}

impl OfferedSecret {
    /// Returns whether guests get only a placeholder for it.
    pub(super) fn is_for_http_only(&self) -> bool {
        !self.http.is_empty()
    }
}
