//! `Address`: where a daemon listens, for itself and for its clients.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// Where a daemon listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// `unix://PATH`
    Unix(PathBuf),
    /// `tcp://HOST:PORT` or bare `HOST:PORT`; an IPv6 host stands in brackets in text and without them here. Port 0 is any free one.
    Tcp { host: String, port: u16 },
}

/// Why a text is not an address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not an address: {why}; use unix://PATH or tcp://HOST:PORT")]
pub struct AddressError {
    text: String,
    why: &'static str,
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let parsed = match text.split_once("://") {
            Some(("unix", path)) => unix(path),
            Some(("tcp", rest)) => tcp(rest),
            Some(("fd", _)) => Err("only a daemon listens on what was passed to it"),
            Some(_) => Err("this scheme is not known"),
            None if text.starts_with(['/', '.']) => Err("a path needs unix:// before it"),
            None => tcp(text),
        };
        parsed.map_err(|why| AddressError::new(text, why))
    }
}

impl AddressError {
    pub(super) fn new(text: &str, why: &'static str) -> Self {
        Self { text: text.to_owned(), why }
    }
}

fn unix(path: &str) -> Result<Address, &'static str> {
    if path.is_empty() {
        return Err("the path is missing");
    }
    if path.ends_with('/') {
        return Err("the path names a folder");
    }
    if path.contains('\0') {
        return Err("the path holds NUL");
    }
    Ok(Address::Unix(path.into()))
}

fn tcp(text: &str) -> Result<Address, &'static str> {
    let (host, port) = text.rsplit_once(':').ok_or("the port is missing")?;
    let host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(literal) if literal.parse::<std::net::Ipv6Addr>().is_ok() => literal,
        Some(_) => return Err("what stands in brackets is no IPv6 address"),
        None if host.contains(':') => return Err("an IPv6 host needs brackets around it"),
        None => host,
    };
    if host.is_empty() {
        return Err("the host is missing");
    }
    if host.contains(['/', '@', '?', '#', '[', ']']) || host.contains(char::is_whitespace) {
        return Err("the host holds what no host name does");
    }
    let port = port.parse().map_err(|_| "the port is not a number up to 65535")?;
    Ok(Address::Tcp { host: host.to_owned(), port })
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(formatter, "unix://{}", path.display()),
            Self::Tcp { host, port } if host.contains(':') => write!(formatter, "tcp://[{host}]:{port}"),
            Self::Tcp { host, port } => write!(formatter, "tcp://{host}:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_goes_through_text_unchanged() {
        for text in
            ["unix:///run/c.sock", "unix://c.sock", "tcp://127.0.0.1:0", "tcp://[::1]:8080", "tcp://localhost:65535"]
        {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        assert_eq!("localhost:80".parse::<Address>().unwrap().to_string(), "tcp://localhost:80");
    }

    #[test]
    fn what_is_not_an_address_is_told_with_what_would_be() {
        for text in [
            "",
            "x",
            "/run/c.sock",
            "./c.sock",
            "unix://",
            "unix:///run/",
            "unix://a\0b",
            "fd://3",
            "ftp://127.0.0.1:1",
            "tcp://",
            "tcp://127.0.0.1",
            "tcp://:80",
            "tcp://::1:80",
            "tcp://[::1]",
            "tcp://[x]:80",
            "tcp://h:99999",
            "tcp://h:-1",
            "tcp://h:",
            "tcp://a/b:80",
            "tcp://u@h:80",
            "tcp://a b:80",
        ] {
            let error = text.parse::<Address>().expect_err(text).to_string();
            assert!(error.contains(&format!("{text:?}")) && error.contains("tcp://HOST:PORT"), "{error}");
        }
    }
}
