//! [`InvokeError`]: why a function cannot be invoked.

use super::MAX_TEXT;

/// The most functions that a message lists.
const MAX_LISTED: usize = 12;

/// Why a function cannot be invoked. Nothing ran.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvokeError {
    #[error("cannot parse the call to invoke: {reason} at character {position}; write it as f(1, \"a\")")]
    Syntax { position: usize, reason: String },
    #[error("the call to invoke has {length} bytes, more than {limit}")]
    TooLong { length: usize, limit: usize },
    #[error("the program exports no function `{name}`{}; it exports {}", suggestion(.nearest), list(.exports))]
    UnknownFunction { name: String, nearest: Option<String>, exports: Vec<String> },
    #[error("several interfaces export a function `{name}`: name one of {}", list(.exports))]
    Ambiguous { name: String, exports: Vec<String> },
    #[error("cannot invoke `{signature}`: {reason}")]
    Argument { reason: String, signature: String },
    #[error("cannot invoke `{signature}`: {reason}")]
    Unsupported { reason: String, signature: String },
}

fn suggestion(nearest: &Option<String>) -> String {
    nearest.as_ref().map(|nearest| format!(", did you mean `{nearest}`?")).unwrap_or_default()
}

/// Joins the first few of `items`.
pub(super) fn list(items: &[String]) -> String {
    if items.is_empty() {
        return "none".to_owned();
    }
    let named: Vec<_> = items.iter().take(MAX_LISTED).map(|item| format!("`{item}`")).collect();
    match items.len().saturating_sub(MAX_LISTED) {
        0 => named.join(", "),
        more => format!("{} and {more} more", named.join(", ")),
    }
}

/// Returns text of the program or of the caller without control characters, and not longer than people read.
pub(super) fn shorten(text: &str) -> String {
    let mut escaped = String::new();
    for character in text.chars().take(MAX_TEXT) {
        match character {
            '"' | '\'' => escaped.push(character),
            other => escaped.extend(other.escape_debug()),
        }
    }
    if text.chars().nth(MAX_TEXT).is_some() {
        escaped.push('…');
    }
    escaped
}

/// Returns the error for a name that no function has. `names` are those of the functions, and `signatures` their types.
pub(super) fn unknown<'a>(name: &str, names: impl Iterator<Item = &'a str>, exports: Vec<String>) -> InvokeError {
    let name = shorten(name);
    let nearest = names.map(|known| (strsim::damerau_levenshtein(&name, &shorten(known)), known)).min();
    let nearest = nearest.filter(|(distance, known)| *distance <= (known.len() / 3).max(1));
    InvokeError::UnknownFunction { nearest: nearest.map(|(_, known)| shorten(known)), name, exports }
}
