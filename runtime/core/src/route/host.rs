//! [`HostPattern`]: which hosts a route answers for.

use std::fmt;

use super::error::RouteError;

/// Which hosts a route answers for, the ones that count first at the top.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HostPattern {
    /// One name, in small letters.
    Exact(String),
    /// All names below this one, which is `example.com` for `*.example.com`.
    Below(String),
    Any,
}

impl HostPattern {
    /// Parses a host without a port.
    ///
    /// # Errors
    /// [`RouteError::Host`]
    pub fn new(host: Option<&str>) -> Result<Self, RouteError> {
        let Some(host) = host else { return Ok(Self::Any) };
        let (name, pattern): (_, fn(String) -> Self) = match host.strip_prefix("*.") {
            Some(name) => (name, Self::Below),
            None => (host, Self::Exact),
        };
        let is_label = |label: &str| {
            let is_letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte);
            !label.is_empty() && label.bytes().all(is_letter)
        };
        let is_literal = || {
            let literal = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
            literal.is_some_and(|literal| literal.parse::<std::net::Ipv6Addr>().is_ok()) && name == host
        };
        if name.len() <= 253 && (name.split('.').all(is_label) || is_literal()) {
            return Ok(pattern(name.to_owned()));
        }
        Err(RouteError::Host(host.chars().take(100).collect()))
    }

    /// Returns whether the pattern matches `host`, which is in small letters and has no port.
    pub fn matches(&self, host: &str) -> bool {
        match self {
            Self::Exact(name) => name == host,
            Self::Below(name) => host
                .strip_suffix(name.as_str())
                .and_then(|below| below.strip_suffix('.'))
                .is_some_and(|below| !below.is_empty()),
            Self::Any => true,
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => formatter.write_str(name),
            Self::Below(name) => write!(formatter, "*.{name}"),
            Self::Any => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_matches_its_name_or_names_below() {
        let below = HostPattern::new(Some("*.example.com")).unwrap();
        assert!(below.matches("a.example.com") && below.matches("a.b.example.com"));
        assert!(!below.matches("example.com") && !below.matches("aexample.com") && !below.matches(".example.com"));
        let exact = HostPattern::new(Some("example.com")).unwrap();
        assert!(exact.matches("example.com") && !exact.matches("a.example.com"));
        assert!(HostPattern::new(None).unwrap().matches("anything"));
    }

    #[test]
    fn new_rejects_what_no_host_is() {
        for host in ["", "*", "*.", "a..b", "Example.com", "a:80", "http://a", "*.*.a", "a.*", "a/b", "[::1", "*.[::1]"]
        {
            assert!(HostPattern::new(Some(host)).is_err(), "{host}");
        }
        assert!(["localhost", "127.0.0.1", "[::1]", "*.a"].iter().all(|host| HostPattern::new(Some(host)).is_ok()));
    }
}
