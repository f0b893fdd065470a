//! [`RoutePattern`]: which requests a route matches.
//!
//! A pattern has a host, a path and methods. Names are compared after percent-decoding, segment by segment, so `%2F` never separates segments.

mod error;
mod host;
mod path;

use std::fmt;

pub use self::error::RouteError;
pub use self::host::HostPattern;
pub use self::path::{PathPattern, Segment};

/// Bytes of the path of a route.
const MAX_PATH: usize = 1024;

/// Which requests a route matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoutePattern {
    pub host: HostPattern,
    pub path: PathPattern,
    pub methods: Methods,
}

/// The methods of a route. Empty for all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Methods(Vec<String>);

impl RoutePattern {
    /// Parses the parts of a pattern.
    ///
    /// # Errors
    /// [`RouteError`]
    pub fn new(host: Option<&str>, path: &str, methods: Methods) -> Result<Self, RouteError> {
        let invalid = |reason: String| RouteError::Path { path: path.chars().take(100).collect(), reason };
        if path.len() > MAX_PATH {
            return Err(invalid(format!("it has more than {MAX_PATH} bytes")));
        }
        Ok(Self { host: HostPattern::new(host)?, path: PathPattern::new(path).map_err(invalid)?, methods })
    }

    /// Returns whether some requests match both patterns with the same precedence.
    pub fn conflicts_with(&self, other: &Self) -> bool {
        self.host == other.host && self.path.has_shape_of(&other.path) && self.methods.conflict_with(&other.methods)
    }
}

impl Methods {
    /// Creates the set of these methods.
    ///
    /// # Errors
    /// [`RouteError::Method`]
    pub fn new(names: &[String]) -> Result<Self, RouteError> {
        let is_method = |name: &str| {
            (1..=32).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'-')
        };
        if let Some(name) = names.iter().find(|name| !is_method(name) || *name == "CONNECT") {
            return Err(RouteError::Method(name.chars().take(32).collect()));
        }
        Ok(Self(names.to_vec()))
    }

    /// Returns whether these are all methods.
    pub fn is_any(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns whether the route names this method. `GET` includes `HEAD`.
    pub fn contains(&self, method: &str) -> bool {
        self.0.iter().any(|name| name == method || (name == "GET" && method == "HEAD"))
    }

    /// Returns the names, or none for all methods.
    pub fn names(&self) -> &[String] {
        &self.0
    }

    fn conflict_with(&self, other: &Self) -> bool {
        (self.is_any() && other.is_any()) || self.0.iter().any(|name| other.0.contains(name))
    }
}

/// Prints the pattern as messages name it, such as `GET example.com/a/{id}`.
impl fmt::Display for RoutePattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.methods.is_any() {
            write!(formatter, "{} ", self.methods.0.join(","))?;
        }
        write!(formatter, "{}{}", self.host, self.path)
    }
}

/// Checks the path of a route's files.
pub(crate) fn check_files(files: &str) -> Result<(), RouteError> {
    let is_name = |name: &str| !matches!(name, "" | "." | "..") && !name.contains('\0');
    if files == "." || files.split('/').all(is_name) {
        return Ok(());
    }
    Err(RouteError::Files(files.chars().take(100).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(host: Option<&str>, path: &str, methods: &[&str]) -> RoutePattern {
        let methods: Vec<_> = methods.iter().map(|method| (*method).to_owned()).collect();
        RoutePattern::new(host, path, Methods::new(&methods).unwrap()).unwrap()
    }

    #[test]
    fn patterns_conflict_only_with_the_same_host_shape_and_method() {
        let base = pattern(None, "/a/{id}", &["GET", "PUT"]);
        for (other, conflicts) in [
            (pattern(None, "/a/{name}", &["PUT"]), true),
            (pattern(None, "/a/{id}", &["POST"]), false),
            (pattern(None, "/a/{id}", &[]), false),
            (pattern(None, "/a/b", &["GET"]), false),
            (pattern(None, "/a/{*id}", &["GET"]), false),
            (pattern(Some("x.example"), "/a/{id}", &["GET"]), false),
        ] {
            assert_eq!(base.conflicts_with(&other), conflicts, "{other}");
        }
        let any = pattern(None, "/", &[]);
        assert!(any.conflicts_with(&any), "two routes of all methods");
    }

    #[test]
    fn files_are_below_the_files_of_the_handler() {
        assert!([".", "public", "a/b", "a/b.txt"].iter().all(|files| check_files(files).is_ok()));
        assert!(
            ["", "/", "/a", "a/", "a//b", "..", "a/../b", "./a", "a\0"].iter().all(|files| check_files(files).is_err())
        );
    }
}
