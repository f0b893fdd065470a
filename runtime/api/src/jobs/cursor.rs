//! Where a page of a list ended, as a token that only this daemon makes.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac as _};
use sha2::Sha256;

/// Bytes of a number and of what proves it.
const NUMBER: usize = 8;
const PROOF: usize = 16;

/// Makes and reads cursors, with a key that lives as long as the list they point into.
pub(in super::super) struct Cursors(Hmac<Sha256>);

impl Cursors {
    /// With a key of its own.
    pub(in super::super) fn new() -> Self {
        let mut key = [0; 32];
        getrandom::fill(&mut key).expect("the kernel's random source answers once the machine has booted");
        Self(Hmac::new_from_slice(&key).expect("a key may have any length"))
    }

    /// The cursor behind the job of this number.
    pub(super) fn of(&self, number: u64) -> String {
        let number = number.to_be_bytes();
        let proof = self.0.clone().chain_update(number).finalize().into_bytes();
        URL_SAFE_NO_PAD.encode([&number[..], &proof[..PROOF]].concat())
    }

    /// The number that `cursor` was made of; `None` where it was not made here.
    pub(super) fn number(&self, cursor: &str) -> Option<u64> {
        let bytes = URL_SAFE_NO_PAD.decode(cursor).ok().filter(|bytes| bytes.len() == NUMBER + PROOF)?;
        let (number, proof) = bytes.split_first_chunk::<NUMBER>()?;
        self.0.clone().chain_update(number).verify_truncated_left(proof).ok()?;
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
    fn a_cursor_comes_back_as_its_number() {
        let cursors = Cursors::new();
        for number in [0, 1, u64::MAX] {
            assert_eq!(cursors.number(&cursors.of(number)), Some(number));
        }
    }

    #[test]
    fn what_was_not_made_here_is_refused() {
        let cursors = Cursors::new();
        let cursor = cursors.of(7);
        assert_eq!(Cursors::new().number(&cursor), None, "another daemon's");
        for at in 0..cursor.len() {
            let mut forged = cursor.clone().into_bytes();
            forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
            assert_eq!(cursors.number(std::str::from_utf8(&forged).unwrap()), None, "changed at {at}");
        }
        for text in ["", "x", "7", &cursor[1..], &format!("{cursor}A"), &URL_SAFE_NO_PAD.encode([0; NUMBER])] {
            assert_eq!(cursors.number(text), None, "{text}");
        }
    }
}
