//! Digests of programs, which have the form `sha256:` and hexadecimal digits. Files are named by the digits.

/// Returns the digits of `digest`.
pub(super) fn hex_of(digest: &str) -> &str {
    digest.trim_start_matches("sha256:")
}

/// Returns `bytes` in hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
