//! [`HttpTarget`]: what an HTTP rule decides about: the method, scheme, host, port and path of a request.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::http::Scheme;
use crate::policy::network::{Name, NameError};

/// A request, as far as rules look at it.
#[derive(Clone, Debug)]
pub struct HttpTarget<'a> {
    pub method: &'a str,
    pub scheme: Scheme,
    pub host: HttpHost,
    pub port: u16,
    /// The path without the query.
    pub path: &'a str,
}

/// The host of a URL.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HttpHost {
    Name(Name),
    Address(IpAddr),
}

/// The text is not the host of a URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidHost {
    #[error(transparent)]
    Name(#[from] NameError),
    #[error("an address in brackets must be an IPv6 address")]
    Brackets,
    #[error("an IPv4 address must not be written in IPv6 form")]
    Mapped,
}

impl HttpHost {
    /// Parses the host of a URL: a name, an IPv4 address of four decimal numbers, or an IPv6 address in brackets. Other notations that some
    /// resolvers read as an address, such as `127.1`, are errors.
    ///
    /// # Errors
    /// [`InvalidHost`]
    pub fn parse(text: &str) -> Result<Self, InvalidHost> {
        if let Some(rest) = text.strip_prefix('[') {
            let address = rest.strip_suffix(']').and_then(|address| address.parse::<Ipv6Addr>().ok());
            let address = address.ok_or(InvalidHost::Brackets)?;
            return match address.to_canonical() {
                IpAddr::V4(_) => Err(InvalidHost::Mapped),
                IpAddr::V6(address) => Ok(Self::Address(address.into())),
            };
        }
        match text.parse::<Ipv4Addr>() {
            Ok(address) => Ok(Self::Address(address.into())),
            Err(_) => Ok(Self::Name(text.parse()?)),
        }
    }
}

impl fmt::Display for HttpHost {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => write!(formatter, "{name}"),
            Self::Address(IpAddr::V4(address)) => write!(formatter, "{address}"),
            Self::Address(IpAddr::V6(address)) => write!(formatter, "[{address}]"),
        }
    }
}

/// Writes the target as in the report of denials: without its path, which the guest can make as long as it likes.
impl fmt::Display for HttpTarget<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scheme, host, port, .. } = self;
        write!(formatter, "{}://{host}:{port}", scheme.as_str())
    }
}
