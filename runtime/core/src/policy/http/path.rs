//! [`PathPrefix`]: the start of the paths that a rule allows.

use std::fmt;

/// The start of a path: `/v1` stands for itself and what is below it, `/v1/` only for what is below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathPrefix(Box<str>);

impl PathPrefix {
    /// Every path.
    pub fn all() -> Self {
        Self("/".into())
    }

    /// Parses a path as it is in a URL, or nothing for every path.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(Self::all());
        }
        if !text.starts_with('/') {
            return Err("a path starts with a slash".to_owned());
        }
        if text.contains(['?', '#']) {
            return Err("a rule has no query and no fragment; it applies to every query".to_owned());
        }
        if text.contains('*') {
            return Err("a path is the start of the paths that are allowed, without asterisks".to_owned());
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("write characters of the path that are not ASCII as in a URL, as %C3%A9".to_owned());
        }
        if has_dot_segment(text) {
            return Err("a path has no parts `.` and `..`".to_owned());
        }
        Ok(Self(text.into()))
    }

    /// Returns whether `path`, without a query, starts with it.
    pub fn matches(&self, path: &str) -> bool {
        path.strip_prefix(&*self.0)
            .is_some_and(|rest| self.0.ends_with('/') || rest.is_empty() || rest.starts_with('/'))
    }

    /// Returns whether it is every path.
    pub fn is_all(&self) -> bool {
        &*self.0 == "/"
    }

    pub(super) fn is_within(&self, other: &Self) -> bool {
        other.matches(&self.0)
    }
}

/// Returns whether a server might read a part of `path` as `.` or `..`. Servers differ in whether they decode `%2e` and `%2f` first, and in
/// whether a backslash separates parts.
pub(super) fn has_dot_segment(path: &str) -> bool {
    let lower = path.to_ascii_lowercase();
    // Twice, for a server behind a proxy that decodes too.
    let decode = |text: &str| {
        text.replace("%25", "%").replace("%2e", ".").replace("%2f", "/").replace("%5c", "\\").replace("%3b", ";")
    };
    let decoded = decode(&decode(&lower));
    // A parameter after a semicolon is not part of the name for some servers.
    decoded
        .split(['/', '\\'])
        .map(|part| part.split(';').next().unwrap_or_default())
        .any(|part| part == "." || part == "..")
}

impl fmt::Display for PathPrefix {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}
