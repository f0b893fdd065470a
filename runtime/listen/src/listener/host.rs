//! `Host`: an argument of `-H`, which is an address to bind or a choice of inherited sockets.

use std::fmt;
use std::str::FromStr;

use super::address::{Address, AddressError};

/// The first file descriptor that may be passed: those below are stdin, stdout and stderr.
pub(super) const FIRST_PASSED_FD: u32 = 3;

/// The longest name of passed file descriptors, in bytes, as systemd limits it (`man 5 systemd.socket`, `FileDescriptorName=`).
const MAX_NAME: usize = 255;

/// An argument of `-H`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// `unix://PATH` or `tcp://HOST:PORT`. The daemon binds it.
    Bind(Address),
    /// `fd://…`. The process that started the daemon has bound it.
    Inherited(FdSelector),
}

/// A choice of the sockets that were passed to the daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FdSelector {
    /// `fd://` or `fd://*`
    All,
    /// `fd://N`, the file descriptor with this number, 3 or more.
    Number(u32),
    /// `fd://NAME`, all file descriptors with this name.
    Name(String),
}

impl From<Address> for Host {
    fn from(address: Address) -> Self {
        Self::Bind(address)
    }
}

impl FromStr for Host {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        match text.strip_prefix("fd://") {
            Some(selector) => {
                parse_selector(selector).map(Self::Inherited).map_err(|reason| AddressError::new(text, reason))
            }
            None => text.parse().map(Self::Bind),
        }
    }
}

fn parse_selector(text: &str) -> Result<FdSelector, &'static str> {
    if text.is_empty() || text == "*" {
        return Ok(FdSelector::All);
    }
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        let number = text.parse().map_err(|_| "no file descriptor has that number")?;
        return if number < FIRST_PASSED_FD {
            Err("file descriptors 0 to 2 are stdin, stdout and stderr; those of passed sockets start at 3")
        } else {
            Ok(FdSelector::Number(number))
        };
    }
    if text.len() > MAX_NAME || text.bytes().any(|byte| byte == b':' || !byte.is_ascii_graphic()) {
        return Err("a name of file descriptors has at most 255 printable characters, without colon and space");
    }
    Ok(FdSelector::Name(text.to_owned()))
}

impl fmt::Display for Host {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bind(address) => address.fmt(formatter),
            Self::Inherited(FdSelector::All) => formatter.write_str("fd://*"),
            Self::Inherited(FdSelector::Number(number)) => write!(formatter, "fd://{number}"),
            Self::Inherited(FdSelector::Name(name)) => write!(formatter, "fd://{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parse_selects_passed_sockets_by_number_by_name_or_all() {
        let parse = |text: &str| text.parse::<Host>().unwrap();
        for text in ["fd://", "fd://*"] {
            assert_eq!(parse(text), Host::Inherited(FdSelector::All));
        }
        assert_eq!(parse("fd://3"), Host::Inherited(FdSelector::Number(3)));
        assert_eq!(parse("fd://api.socket"), Host::Inherited(FdSelector::Name("api.socket".into())));
        assert_eq!(parse("unix:///s"), Host::Bind(Address::Unix("/s".into())));
        for text in ["fd://*", "fd://17", "fd://3rd", "fd://-1", "tcp://[::1]:80"] {
            assert_eq!(parse(text).to_string(), text);
        }
    }

    #[test]
    fn parse_of_an_impossible_selector_fails() {
        for text in ["fd://0", "fd://2", "fd://002", "fd://99999999999", "fd://a:b", "fd://a b", "fd://\n", "fd"] {
            let error = text.parse::<Host>().expect_err(text).to_string();
            assert!(error.contains(&format!("{text:?}")), "{error}");
        }
        let long = format!("fd://{}", "x".repeat(256));
        assert!(long.parse::<Host>().is_err());
    }
}
