//! [`HandlerName`]: the checked name of a handler.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

/// The length of the longest handler name, in bytes.
pub const MAX_NAME: usize = 128;

/// The checked name of a handler: letters, digits, `.`, `_` and `-`, starting with a letter or digit. Clones share the text.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HandlerName(Arc<str>);

/// A text that is not a handler name. [`HandlerName::new`] keeps its first [`MAX_NAME`] characters.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a handler name: 1 to {MAX_NAME} letters, digits, `.`, `_`, `-`, starting with a letter or digit")]
pub struct InvalidName(pub String);

impl HandlerName {
    /// Checks `name`.
    ///
    /// # Errors
    /// Returns [`InvalidName`] if `name` is empty, is longer than [`MAX_NAME`], or has a character that names do not have.
    pub fn new(name: &str) -> Result<Self, InvalidName> {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        let starts_well = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
        if starts_well && name.len() <= MAX_NAME && name.bytes().all(is_allowed) {
            Ok(Self(name.into()))
        } else {
            Err(InvalidName(name.chars().take(MAX_NAME).collect()))
        }
    }

    /// Returns the text, which the name shares.
    pub(crate) fn to_shared(&self) -> Arc<str> {
        self.0.clone()
    }

    /// Returns the name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for HandlerName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for HandlerName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Debug for HandlerName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}
