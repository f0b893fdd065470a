//! `Secret`: a value that a guest gets and nobody else is shown, and how it is kept out of what others read.

use std::fmt;
use std::sync::Arc;

/// Bytes of the shortest secret: a shorter one could not be told from ordinary text in a log.
const SHORTEST: usize = 4;
/// Bytes of the longest.
const LONGEST: usize = 64 << 10;
/// What stands in its place.
const MASK: &str = "***";

/// A value that nobody is shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<str>);

/// Why a value cannot be a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    #[error("it has {0} bytes, and a secret {SHORTEST} to {LONGEST}")]
    Length(usize),
    #[error("it holds NUL, which no variable can")]
    HoldsNul,
    #[error("it is not text in UTF-8")]
    NotText,
}

impl Secret {
    /// From what was read, without the line break at its end that editors leave.
    ///
    /// # Errors
    /// [`SecretError`]
    pub fn new(bytes: &[u8]) -> Result<Self, SecretError> {
        let text = std::str::from_utf8(bytes).map_err(|_| SecretError::NotText)?;
        let text = text.strip_suffix('\n').map_or(text, |text| text.strip_suffix('\r').unwrap_or(text));
        if !(SHORTEST..=LONGEST).contains(&text.len()) {
            return Err(SecretError::Length(text.len()));
        }
        if text.contains('\0') {
            return Err(SecretError::HoldsNul);
        }
        Ok(Self(text.into()))
    }

    /// The value itself, for the guest.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Secret({MASK})")
    }
}

/// What masks secrets in a text, whole or in pieces.
#[derive(Clone, Debug, Default)]
pub struct Redaction {
    /// The longest first: where one is the beginning of another, all of that goes.
    secrets: Arc<[Secret]>,
}

/// A text that is masked while it is written: what may be the beginning of a secret is held until more is known.
#[derive(Debug)]
pub struct Redactor {
    redaction: Redaction,
    held: Vec<u8>,
}

impl Redaction {
    pub fn of(secrets: impl IntoIterator<Item = Secret>) -> Self {
        let mut secrets: Vec<_> = secrets.into_iter().collect();
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.0.len()));
        Self { secrets: secrets.into() }
    }

    pub fn is_empty(&self) -> bool {
        self.secrets.is_empty()
    }

    /// Begins a text.
    pub fn begin(&self) -> Redactor {
        Redactor { redaction: self.clone(), held: Vec::new() }
    }

    /// A whole text; one that was cut within a secret ends with the mask too.
    pub fn mask(&self, text: &str) -> String {
        let mut redactor = self.begin();
        let mut masked = redactor.pass(text.as_bytes());
        masked.extend(if redactor.held.len() < SHORTEST { redactor.rest() } else { MASK.into() });
        String::from_utf8_lossy(&masked).into_owned()
    }
}

impl Redactor {
    /// What may be shown after `bytes` were written too.
    pub fn pass(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut text = std::mem::take(&mut self.held);
        text.extend_from_slice(bytes);
        let (mut shown, mut at) = (Vec::with_capacity(text.len()), 0);
        'text: while at < text.len() {
            let rest = &text[at..];
            for secret in self.redaction.secrets.iter().map(|secret| secret.0.as_bytes()) {
                if rest.starts_with(secret) {
                    shown.extend_from_slice(MASK.as_bytes());
                    at += secret.len();
                    continue 'text;
                }
                if secret.starts_with(rest) {
                    self.held = rest.to_vec();
                    break 'text;
                }
            }
            shown.push(text[at]);
            at += 1;
        }
        shown
    }

    /// What was held, where nothing more comes: it is no whole secret, but a shorter one may be in it.
    pub fn rest(&mut self) -> Vec<u8> {
        let mut shown = Vec::new();
        while !self.held.is_empty() {
            let held = std::mem::take(&mut self.held);
            let whole = self.redaction.secrets.iter().find(|secret| held.starts_with(secret.0.as_bytes()));
            let skipped = whole.map_or(1, |secret| secret.0.len());
            shown.extend_from_slice(if whole.is_some() { MASK.as_bytes() } else { &held[..1] });
            shown.extend(self.pass(&held[skipped..]));
        }
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redaction(secrets: &[&str]) -> Redaction {
        Redaction::of(secrets.iter().map(|secret| Secret::new(secret.as_bytes()).unwrap()))
    }

    fn in_pieces(redaction: &Redaction, text: &str, size: usize) -> String {
        let mut redactor = redaction.begin();
        let mut shown: Vec<u8> = text.as_bytes().chunks(size).flat_map(|piece| redactor.pass(piece)).collect();
        shown.extend(redactor.rest());
        String::from_utf8(shown).unwrap()
    }

    #[test]
    fn a_secret_is_masked_however_it_is_cut() {
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
                assert_eq!(in_pieces(&redaction, text, size), masked, "{text:?} in pieces of {size}");
            }
        }
    }

    #[test]
    fn what_cannot_be_the_beginning_of_a_secret_is_shown_at_once() {
        let mut redactor = redaction(&["hunter2"]).begin();
        assert_eq!(redactor.pass(b"password: "), b"password: ");
        assert_eq!(redactor.pass(b"hun"), b"");
        assert_eq!(redactor.pass(b"gry\n"), b"hungry\n");
    }

    #[test]
    fn a_line_that_was_cut_within_a_secret_shows_none_of_it() {
        let redaction = redaction(&["correct horse battery"]);
        assert_eq!(redaction.mask("it is correct horse"), "it is ***");
        assert_eq!(redaction.mask("it is c"), "it is c");
    }

    #[test]
    fn a_value_is_a_secret_where_it_can_be_masked_and_given() {
        assert_eq!(Secret::new(b"hunter2\r\n").unwrap().reveal(), "hunter2");
        assert_eq!(Secret::new(b"hunter2\n\n").unwrap().reveal(), "hunter2\n");
        assert_eq!(Secret::new(b"abc\n"), Err(SecretError::Length(3)));
        assert_eq!(Secret::new(&vec![b'a'; LONGEST + 1]), Err(SecretError::Length(LONGEST + 1)));
        assert_eq!(Secret::new(b"hun\0ter2"), Err(SecretError::HoldsNul));
        assert_eq!(Secret::new(b"hun\xffter2"), Err(SecretError::NotText));
        assert_eq!(format!("{:?}", Secret::new(b"hunter2")), "Ok(Secret(***))");
    }
}
