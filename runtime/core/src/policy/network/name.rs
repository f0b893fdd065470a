//! `Name`: the name of a host, in the one form in which names are compared.

use std::fmt;
use std::str::FromStr;

/// Bytes of the longest name, and of its longest part, that can be asked for.
const LONGEST: usize = 253;
const LONGEST_LABEL: usize = 63;

/// The name of a host: in lower case, without the dot at its end. It is never what a resolver would read as an address.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(Box<str>);

/// Why a text is no name of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    #[error("the host is missing")]
    Empty,
    #[error("a name that is not ASCII is written in punycode, as xn--…")]
    NotAscii,
    #[error("a name has at most {LONGEST} characters")]
    TooLong,
    #[error(
        "each part of a name has 1 to {LONGEST_LABEL} letters, digits, hyphens and underscores, with no hyphen at an end"
    )]
    Label,
    #[error("what ends in a number is no name but an address, and that is written in full")]
    Number,
}

impl Name {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it lies below `other`, at any depth.
    pub fn is_below(&self, other: &Self) -> bool {
        self.0.strip_suffix(&*other.0).is_some_and(|rest| rest.ends_with('.'))
    }

    /// Whether it means this machine to everyone, so that no resolver is asked.
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
        if text.len() > LONGEST {
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
    let is_of_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (1..=LONGEST_LABEL).contains(&label.len())
        && label.bytes().all(is_of_name)
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
