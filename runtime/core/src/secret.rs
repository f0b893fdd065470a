//! [`Secret`]: a value that only a guest may read, and [`Redaction`], which masks it in the text that others read.

use std::fmt;
use std::sync::Arc;

/// Minimum length of a secret in bytes. A shorter one would match ordinary text in a log.
const MIN_LENGTH: usize = 4;
/// Maximum length of a secret in bytes.
const MAX_LENGTH: usize = 64 << 10;
/// The replacement for a secret.
const MASK: &str = "***";

/// A secret value. Its `Debug` output does not contain it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<str>);

/// The value cannot be a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    #[error("it has {0} bytes; a secret must have {MIN_LENGTH} to {MAX_LENGTH}")]
    Length(usize),
    #[error("it contains NUL, which an environment variable cannot contain")]
    ContainsNul,
    #[error("it is not valid UTF-8")]
    NotUtf8,
}

impl Secret {
    /// Creates a secret from the content of a file or variable. Removes one line break at the end, because editors add one.
    ///
    /// # Errors
    /// [`SecretError`]
    pub fn new(bytes: &[u8]) -> Result<Self, SecretError> {
        let text = std::str::from_utf8(bytes).map_err(|_| SecretError::NotUtf8)?;
        let text = text.strip_suffix('\n').map_or(text, |text| text.strip_suffix('\r').unwrap_or(text));
        if !(MIN_LENGTH..=MAX_LENGTH).contains(&text.len()) {
            return Err(SecretError::Length(text.len()));
        }
        if text.contains('\0') {
            return Err(SecretError::ContainsNul);
        }
        Ok(Self(text.into()))
    }

    /// Returns the value, for the guest.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Secret({MASK})")
    }
}

/// Masks secrets in a text, either as a whole or in chunks.
#[derive(Clone, Debug, Default)]
pub struct Redaction {
    /// The longest first, so that a secret that starts with another one is masked completely.
    secrets: Arc<[Secret]>,
    /// Whether each byte of a secret is replaced by one of the mask.
    keeps_length: bool,
}

/// Masks secrets in a stream. Holds back bytes that may be the start of a secret until more bytes arrive.
#[derive(Debug)]
pub struct Redactor {
    redaction: Redaction,
    pending: Vec<u8>,
}

impl Redaction {
    /// Creates a redaction of these secrets.
    pub fn new(secrets: impl IntoIterator<Item = Secret>) -> Self {
        let mut secrets: Vec<_> = secrets.into_iter().collect();
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.0.len()));
        Self { secrets: secrets.into(), keeps_length: false }
    }

    /// Replaces each byte of a secret by an asterisk, so that the text keeps its length.
    #[must_use]
    pub fn keeping_length(self) -> Self {
        Self { keeps_length: true, ..self }
    }

    /// Returns whether there are no secrets to mask.
    pub fn is_empty(&self) -> bool {
        self.secrets.is_empty()
    }

    /// Returns a redactor for a new stream.
    pub fn redactor(&self) -> Redactor {
        Redactor { redaction: self.clone(), pending: Vec::new() }
    }

    /// Returns the replacement for `secret`.
    fn mask_of(&self, secret: &[u8]) -> impl Iterator<Item = u8> {
        let length = if self.keeps_length { secret.len() } else { MASK.len() };
        MASK.bytes().cycle().take(length)
    }

    /// Masks a complete text. If the text was cut inside a secret, it ends with the mask.
    pub fn mask(&self, text: &str) -> String {
        let mut redactor = self.redactor();
        let mut masked = redactor.redact(text.as_bytes());
        masked.extend(if redactor.pending.len() < MIN_LENGTH { redactor.finish() } else { MASK.into() });
        String::from_utf8_lossy(&masked).into_owned()
    }
}

impl Redactor {
    /// Returns the masked text that can be shown after `bytes` have arrived.
    pub fn redact(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut text = std::mem::take(&mut self.pending);
        text.extend_from_slice(bytes);
        let (mut shown, mut position) = (Vec::with_capacity(text.len()), 0);
        'text: while position < text.len() {
            let rest = &text[position..];
            for secret in self.redaction.secrets.iter().map(|secret| secret.0.as_bytes()) {
                if rest.starts_with(secret) {
                    shown.extend(self.redaction.mask_of(secret));
                    position += secret.len();
                    continue 'text;
                }
                if secret.starts_with(rest) {
                    self.pending = rest.to_vec();
                    break 'text;
                }
            }
            shown.push(text[position]);
            position += 1;
        }
        shown
    }

    /// Returns the bytes that were held back, at the end of the stream. They are not a complete secret, but may contain a shorter one.
    pub fn finish(&mut self) -> Vec<u8> {
        let mut shown = Vec::new();
        while !self.pending.is_empty() {
            let pending = std::mem::take(&mut self.pending);
            let secret = self.redaction.secrets.iter().find(|secret| pending.starts_with(secret.0.as_bytes()));
            let skipped = secret.map_or(1, |secret| secret.0.len());
            match secret {
                Some(secret) => shown.extend(self.redaction.mask_of(secret.0.as_bytes())),
                None => shown.push(pending[0]),
            }
            shown.extend(self.redact(&pending[skipped..]));
        }
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redaction(secrets: &[&str]) -> Redaction {
        Redaction::new(secrets.iter().map(|secret| Secret::new(secret.as_bytes()).unwrap()))
    }

    fn redact_in_chunks(redaction: &Redaction, text: &str, size: usize) -> String {
        let mut redactor = redaction.redactor();
        let mut shown: Vec<u8> = text.as_bytes().chunks(size).flat_map(|chunk| redactor.redact(chunk)).collect();
        shown.extend(redactor.finish());
        String::from_utf8(shown).unwrap()
    }

    #[test]
    fn redact_secret_in_chunks_of_any_size_masks_it() {
        let redaction = redaction(&["hunter2", "hunter2-and-more", "aaab", "two\nlines"]);
        for (text, masked) in [
            ("", ""),
            ("nothing", "nothing"),
            ("hunter2", "***"),
            ("<hunter2>hunter2hunter2", "<***>******"),
            ("hunter2-and-more!", "***!"),
            ("hunter2-and-mor", "***-and-mor"),
            ("hunter hunte", "hunter hunte"),
            ("aaaab aaaaa", "a*** aaaaa"),
            ("hunthunter2", "hunt***"),
            ("two\nlines\n", "***\n"),
        ] {
            for size in 1..=text.len().max(1) {
                assert_eq!(redact_in_chunks(&redaction, text, size), masked, "{text:?} in chunks of {size}");
            }
        }
    }

    #[test]
    fn redact_text_that_cannot_start_a_secret_returns_it_immediately() {
        let mut redactor = redaction(&["hunter2"]).redactor();
        assert_eq!(redactor.redact(b"password: "), b"password: ");
        assert_eq!(redactor.redact(b"hun"), b"");
        assert_eq!(redactor.redact(b"gry\n"), b"hungry\n");
    }

    #[test]
    fn mask_text_cut_inside_a_secret_ends_with_mask() {
        let redaction = redaction(&["correct horse battery"]);
        assert_eq!(redaction.mask("it is correct horse"), "it is ***");
        assert_eq!(redaction.mask("it is c"), "it is c");
    }

    #[test]
    fn redact_keeping_length_masks_each_byte() {
        let redaction = redaction(&["hunter2", "hunter2-and-more"]).keeping_length();
        for size in 1..=20 {
            let shown = redact_in_chunks(&redaction, "<hunter2> hunter2-and-mor", size);
            assert_eq!(shown, "<*******> *******-and-mor");
        }
    }

    #[test]
    fn new_secret_checks_length_and_content() {
        assert_eq!(Secret::new(b"hunter2\r\n").unwrap().reveal(), "hunter2");
        assert_eq!(Secret::new(b"hunter2\n\n").unwrap().reveal(), "hunter2\n");
        assert_eq!(Secret::new(b"abc\n"), Err(SecretError::Length(3)));
        assert_eq!(Secret::new(&vec![b'a'; MAX_LENGTH + 1]), Err(SecretError::Length(MAX_LENGTH + 1)));
        assert_eq!(Secret::new(b"hun\0ter2"), Err(SecretError::ContainsNul));
        assert_eq!(Secret::new(b"hun\xffter2"), Err(SecretError::NotUtf8));
        assert_eq!(format!("{:?}", Secret::new(b"hunter2")), "Ok(Secret(***))");
    }
}
