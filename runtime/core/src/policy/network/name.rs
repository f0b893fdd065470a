//! [`Name`]: the name of a host in its canonical form.

use std::fmt;
use std::str::FromStr;

/// Maximum length of a name in DNS, in bytes.
const MAX_LENGTH: usize = 253;
/// Maximum length of a part of a name, in bytes.
const MAX_LABEL_LENGTH: usize = 63;

/// The name of a host, in lower case and without a final dot. Never a text that a resolver would read as an address.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(Box<str>);

/// The text is not the name of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    #[error("the host is missing")]
    Empty,
    #[error("write a name that is not ASCII in punycode, as xn--…")]
    NotAscii,
    #[error("a name has at most {MAX_LENGTH} characters")]
    TooLong,
    #[error(
        "each part of a name must have 1 to {MAX_LABEL_LENGTH} letters, digits, hyphens and underscores, and not start or end with a hyphen"
    )]
    Label,
    #[error("a name cannot end in a number; write an address in full")]
    Number,
}

impl Name {
    /// Returns the name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns whether it lies below `other`, at any depth.
    pub fn is_below(&self, other: &Self) -> bool {
        self.0.strip_suffix(&*other.0).is_some_and(|rest| rest.ends_with('.'))
    }

    /// Returns whether it always means this machine, so that resolvers do not look it up.
    pub fn is_localhost(&self) -> bool {
        &*self.0 == "localhost" || self.0.ends_with(".localhost")
    }
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if !text.is_ascii() {
            return Err(NameError::NotAscii);
        }
        let text = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        if text.len() > MAX_LENGTH {
            return Err(NameError::TooLong);
        }
        if !text.split('.').all(is_label) {
            return Err(NameError::Label);
        }
        let last = text.rsplit('.').next().unwrap_or_default();
        // Resolvers read `127.1`, `2130706433` and `0x7f000001` as addresses.
        if last.bytes().all(|byte| byte.is_ascii_digit()) || is_hexadecimal(last) {
            return Err(NameError::Number);
        }
        Ok(Self(text.into()))
    }
}

fn is_label(label: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (1..=MAX_LABEL_LENGTH).contains(&label.len())
        && label.bytes().all(is_allowed)
        && !label.starts_with('-')
        && !label.ends_with('-')
}

fn is_hexadecimal(label: &str) -> bool {
    label.strip_prefix("0x").is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

impl fmt::Display for Name {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}
