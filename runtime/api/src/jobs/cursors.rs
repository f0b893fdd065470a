//! `Cursors`: where a page of the list of jobs ends, as an authenticated token that only this daemon can create.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac as _};
use sha2::Sha256;

/// Bytes of the number of a job, and of the authentication tag.
const NUMBER_LENGTH: usize = 8;
const TAG_LENGTH: usize = 16;

/// Encodes and decodes cursors, with a key that lives as long as the list they point into.
pub(in super::super) struct Cursors(Hmac<Sha256>);

impl Cursors {
    /// Creates a random key.
    pub(in super::super) fn new() -> Self {
        let mut key = [0; 32];
        getrandom::fill(&mut key).expect("the kernel's random source answers once the machine has booted");
        Self(Hmac::new_from_slice(&key).expect("a key may have any length"))
    }

    /// Returns the cursor after the job with this number.
    pub(in super::super) fn encode(&self, number: u64) -> String {
        let number = number.to_be_bytes();
        let tag = self.0.clone().chain_update(number).finalize().into_bytes();
        URL_SAFE_NO_PAD.encode([&number[..], &tag[..TAG_LENGTH]].concat())
    }

    /// Returns the number in `cursor`; `None` where this daemon has not created it.
    pub(in super::super) fn decode(&self, cursor: &str) -> Option<u64> {
        let bytes = URL_SAFE_NO_PAD.decode(cursor).ok().filter(|bytes| bytes.len() == NUMBER_LENGTH + TAG_LENGTH)?;
        let (number, tag) = bytes.split_first_chunk::<NUMBER_LENGTH>()?;
        self.0.clone().chain_update(number).verify_truncated_left(tag).ok()?;
        Some(u64::from_be_bytes(*number))
    }
}

impl std::fmt::Debug for Cursors {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Cursors")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decode_returns_encoded_number() {
        let cursors = Cursors::new();
        for number in [0, 1, u64::MAX] {
            assert_eq!(cursors.decode(&cursors.encode(number)), Some(number));
        }
    }

    #[test]
    fn decode_rejects_cursor_of_other_daemon_and_forged_cursor() {
        let cursors = Cursors::new();
        let cursor = cursors.encode(7);
        assert_eq!(Cursors::new().decode(&cursor), None, "another daemon's");
        for index in 0..cursor.len() {
            let mut forged = cursor.clone().into_bytes();
            forged[index] = if forged[index] == b'A' { b'B' } else { b'A' };
            assert_eq!(cursors.decode(std::str::from_utf8(&forged).unwrap()), None, "changed at {index}");
        }
        for text in ["", "x", "7", &cursor[1..], &format!("{cursor}A"), &URL_SAFE_NO_PAD.encode([0; NUMBER_LENGTH])] {
            assert_eq!(cursors.decode(text), None, "{text}");
        }
    }
}
