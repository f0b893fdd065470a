//! [`Endpoint`]: the URL of a receiver.

use std::fmt;
use std::str::FromStr;

use hyper::Uri;
use hyper::http::uri::{PathAndQuery, Scheme};

/// Where requests go.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// Whether it uses TLS.
    pub(crate) is_https: bool,
    /// The name or address of the host, without the brackets of an IPv6 address.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// The host and port as the URL has them, for the header `host` and for messages.
    pub(super) authority: String,
    pub(super) path: PathAndQuery,
}

/// Why a text is not the URL of a receiver.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidUrl {
    #[error("it is not a URL: {0}")]
    Syntax(String),
    #[error("it must start with https:// or http://")]
    Scheme,
    #[error("it has no host")]
    NoHost,
    #[error("its port is not a number from 1 to 65535")]
    Port,
    #[error("it must not contain a user or password: receivers check the signature")]
    User,
    #[error("it must not contain a fragment (#), which is never sent")]
    Fragment,
}

impl FromStr for Endpoint {
    type Err = InvalidUrl;

    fn from_str(text: &str) -> Result<Self, InvalidUrl> {
        // The parser drops it.
        if text.contains('#') {
            return Err(InvalidUrl::Fragment);
        }
        let uri: Uri = text.parse().map_err(|error: hyper::http::uri::InvalidUri| match text {
            _ if text.ends_with("://") => InvalidUrl::NoHost,
            _ => InvalidUrl::Syntax(error.to_string()),
        })?;
        let is_https = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            Some(scheme) if *scheme == Scheme::HTTP => false,
            _ => return Err(InvalidUrl::Scheme),
        };
        let authority = uri.authority().ok_or(InvalidUrl::NoHost)?;
        if authority.as_str().contains('@') {
            return Err(InvalidUrl::User);
        }
        let in_brackets = authority.host();
        let host = in_brackets.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(in_brackets);
        if host.is_empty() {
            return Err(InvalidUrl::NoHost);
        }
        let port = match authority.as_str().strip_prefix(in_brackets) {
            Some("") => Some(if is_https { 443 } else { 80 }),
            _ => authority.port_u16().filter(|port| *port != 0),
        };
        Ok(Self {
            is_https,
            host: host.to_owned(),
            port: port.ok_or(InvalidUrl::Port)?,
            authority: authority.to_string(),
            path: uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/")),
        })
    }
}

/// Shows the host and port only: the path of a URL may be what keeps it secret.
impl fmt::Display for Endpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.authority)
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn url_is_taken_apart() {
        for (text, is_https, host, port, path) in [
            ("https://example.com/hooks?a=1", true, "example.com", 443, "/hooks?a=1"),
            ("http://example.com", false, "example.com", 80, "/"),
            ("HTTP://127.0.0.1:9000/", false, "127.0.0.1", 9000, "/"),
            ("https://[::1]:8443/x", true, "::1", 8443, "/x"),
            ("https://[::1]/x", true, "::1", 443, "/x"),
        ] {
            let endpoint: Endpoint = text.parse().unwrap();
            assert_eq!((endpoint.is_https, &*endpoint.host, endpoint.port), (is_https, host, port), "{text}");
            assert_eq!(endpoint.path.as_str(), path);
            assert!(!format!("{endpoint:?} {endpoint}").contains("hooks"));
        }
    }

    #[test]
    fn invalid_url_is_an_error_that_says_why() {
        for (text, error) in [
            ("ftp://example.com/", InvalidUrl::Scheme),
            ("example.com", InvalidUrl::Scheme),
            ("/hooks", InvalidUrl::Scheme),
            ("https://", InvalidUrl::NoHost),
            ("http://:80/", InvalidUrl::NoHost),
            ("http://h:99999/", InvalidUrl::Port),
            ("http://h:0/", InvalidUrl::Port),
            ("http://h:/", InvalidUrl::Port),
            ("http://user:password@h/", InvalidUrl::User),
            ("http://h/#x", InvalidUrl::Fragment),
        ] {
            assert_eq!(text.parse::<Endpoint>(), Err(error), "{text}");
        }
        for text in ["", "http://a b/", "http://h\n/", "http:///x", "http://bücher.example/"] {
            assert!(text.parse::<Endpoint>().is_err(), "{text}");
        }
    }
}
