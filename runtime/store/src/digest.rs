//! Digests of programs, which have the form `sha256:` and hexadecimal digits. Files are named by the digits.

use sha2::{Digest as _, Sha256};

/// Returns the SHA-256 digest of `bytes`, in the form `sha256:…`.
pub fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex_digest(bytes))
}

/// Returns the digits of the digest of `bytes`.
pub(super) fn hex_digest(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Returns the digits of `digest`.
pub(super) fn hex_of(digest: &str) -> &str {
    digest.trim_start_matches("sha256:")
}

/// Returns `bytes` in hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
