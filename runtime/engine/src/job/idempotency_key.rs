//! [`IdempotencyKey`]: makes sure that a request which is sent several times makes one job.

use std::fmt;

use super::id::JobId;

/// A key that a caller sends with a request, so that the request makes one job however often it is sent.
#[derive(Clone, PartialEq, Eq)]
pub struct IdempotencyKey {
    pub text: String,
    /// A digest that tells one request from another, or `None` if the request cannot be compared with others.
    pub request_digest: Option<[u8; 32]>,
}

/// A job with the same key is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("job {job} already has this idempotency key")]
pub struct DuplicateKey {
    /// The job that has the key.
    pub job: JobId,
    /// Whether both requests were the same.
    pub is_same_request: bool,
}

impl IdempotencyKey {
    /// Returns whether both keys were sent with the same request.
    pub fn is_same_request(&self, other: &Self) -> bool {
        self.request_digest.is_some() && self.request_digest == other.request_digest
    }
}

/// Shows the text only.
impl fmt::Debug for IdempotencyKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("IdempotencyKey").field(&self.text).finish()
    }
}
