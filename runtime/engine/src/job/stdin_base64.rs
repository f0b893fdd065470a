//! [`stdin_from_base64`]: stdin as requests and schedules may have it.

use base64::engine::general_purpose::STANDARD;
use base64::{DecodeError, Engine as _};
use bytes::Bytes;

/// Decodes stdin. `base64` of most systems breaks lines, so line breaks are skipped.
///
/// # Errors
/// [`DecodeError`]
pub fn stdin_from_base64(text: &str) -> Result<Bytes, DecodeError> {
    STANDARD.decode(text.replace(['\n', '\r'], "")).map(Bytes::from)
}
