//! `Address`: where a daemon listens, as the daemon and its clients write it.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// The address of a daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// `unix://PATH`
    Unix(PathBuf),
    /// `tcp://HOST:PORT` or `HOST:PORT`. The text of an IPv6 host has brackets, `host` has none. Port 0 stands for any free port.
    Tcp { host: String, port: u16 },
}

/// Why a text is not an address, with the text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not an address: {reason}; use unix://PATH or tcp://HOST:PORT")]
pub struct AddressError {
    text: String,
    reason: &'static str,
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let parsed = match text.split_once("://") {
            Some(("unix", path)) => parse_unix(path),
            Some(("tcp", rest)) => parse_tcp(rest),
            Some(("fd", _)) => Err("fd:// is only for `capstan daemon -H`"),
            Some(_) => Err("the scheme is unknown"),
            None if text.starts_with(['/', '.']) => Err("a path needs unix:// in front"),
            None => parse_tcp(text),
        };
        parsed.map_err(|reason| AddressError::new(text, reason))
    }
}

impl AddressError {
    pub(super) fn new(text: &str, reason: &'static str) -> Self {
        Self { text: text.to_owned(), reason }
    }
}

fn parse_unix(path: &str) -> Result<Address, &'static str> {
    if path.is_empty() {
        return Err("the path is missing");
    }
    if path.ends_with('/') {
        return Err("the path ends with a slash, so it names a directory");
    }
    if path.contains('\0') {
        return Err("the path contains a NUL byte");
    }
    Ok(Address::Unix(path.into()))
}

fn parse_tcp(text: &str) -> Result<Address, &'static str> {
    let (host, port) = text.rsplit_once(':').ok_or("the port is missing")?;
    let host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(literal) if literal.parse::<std::net::Ipv6Addr>().is_ok() => literal,
        Some(_) => return Err("the text in brackets is not an IPv6 address"),
        None if host.contains(':') => return Err("an IPv6 host needs brackets, for example [::1]"),
        None => host,
    };
    if host.is_empty() {
        return Err("the host is missing");
    }
    if host.contains(['/', '@', '?', '#', '[', ']']) || host.contains(char::is_whitespace) {
        return Err("the host contains a character that host names do not have");
    }
    let port = port.parse().map_err(|_| "the port is not a number from 0 to 65535")?;
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
    fn address_formats_as_the_parsed_text() {
        for text in
            ["unix:///run/c.sock", "unix://c.sock", "tcp://127.0.0.1:0", "tcp://[::1]:8080", "tcp://localhost:65535"]
        {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        assert_eq!("localhost:80".parse::<Address>().unwrap().to_string(), "tcp://localhost:80");
    }

    #[test]
    fn parse_of_an_invalid_address_fails_with_the_expected_form() {
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
