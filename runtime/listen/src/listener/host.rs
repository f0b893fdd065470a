//! `Host`: what a daemon is told to listen on, a place of its own or sockets that were passed to it.

use std::fmt;
use std::str::FromStr;

use super::address::{Address, AddressError};

/// The first file descriptor that may be passed: those before it are stdin, stdout and stderr.
pub(super) const FIRST_PASSED: u32 = 3;

/// What a daemon is told to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// `unix://PATH` or `tcp://HOST:PORT`, which it binds itself.
    Own(Address),
    /// `fd://`, which whoever started it has bound.
    Passed(Which),
}

/// Which of the sockets that were passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    /// `fd://` or `fd://*`
    All,
    /// `fd://N`, by its number as a file descriptor, 3 or more.
    Number(u32),
    /// `fd://NAME`, all of that name.
    Name(String),
}

impl From<Address> for Host {
    fn from(address: Address) -> Self {
        Self::Own(address)
    }
}

impl FromStr for Host {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        match text.strip_prefix("fd://") {
            Some(which) => which_of(which).map(Self::Passed).map_err(|why| AddressError::new(text, why)),
            None => text.parse().map(Self::Own),
        }
    }
}

fn which_of(text: &str) -> Result<Which, &'static str> {
    if text.is_empty() || text == "*" {
        return Ok(Which::All);
    }
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        let number = text.parse().map_err(|_| "no file descriptor has that number")?;
        return if number < FIRST_PASSED {
            Err("file descriptors 0 to 2 are stdin, stdout and stderr, and what is passed begins at 3")
        } else {
            Ok(Which::Number(number))
        };
    }
    if text.len() > 255 || text.bytes().any(|byte| byte == b':' || !byte.is_ascii_graphic()) {
        return Err("a name of file descriptors has up to 255 printable characters, and no colon or space");
    }
    Ok(Which::Name(text.to_owned()))
}

impl fmt::Display for Host {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Own(address) => address.fmt(formatter),
            Self::Passed(Which::All) => formatter.write_str("fd://*"),
            Self::Passed(Which::Number(number)) => write!(formatter, "fd://{number}"),
            Self::Passed(Which::Name(name)) => write!(formatter, "fd://{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_passed_is_named_by_number_by_name_or_not_at_all() {
        let parse = |text: &str| text.parse::<Host>().unwrap();
        for text in ["fd://", "fd://*"] {
            assert_eq!(parse(text), Host::Passed(Which::All));
        }
        assert_eq!(parse("fd://3"), Host::Passed(Which::Number(3)));
        assert_eq!(parse("fd://api.socket"), Host::Passed(Which::Name("api.socket".into())));
        assert_eq!(parse("unix:///s"), Host::Own(Address::Unix("/s".into())));
        for text in ["fd://*", "fd://17", "fd://3rd", "fd://-1", "tcp://[::1]:80"] {
            assert_eq!(parse(text).to_string(), text);
        }
    }

    #[test]
    fn what_can_never_be_passed_is_refused() {
        for text in ["fd://0", "fd://2", "fd://002", "fd://99999999999", "fd://a:b", "fd://a b", "fd://\n", "fd"] {
            let error = text.parse::<Host>().expect_err(text).to_string();
            assert!(error.contains(&format!("{text:?}")), "{error}");
        }
        let long = format!("fd://{}", "x".repeat(256));
        assert!(long.parse::<Host>().is_err());
    }
}
