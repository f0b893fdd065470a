//! [`Version`]: the version that a toolchain reports, as far as it decides whether that is too old.

use std::fmt;

/// A major and a minor version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Version(u32, u32);

impl Version {
    /// Returns the first version in `text`: two numbers with a dot between them.
    pub(super) fn find(text: &str) -> Option<Self> {
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        text.split(|c: char| !(c.is_ascii_digit() || c == '.')).find_map(|word| {
            let mut parts = word.split('.');
            let (major, minor) = (parts.next()?, parts.next()?);
            (is_number(major) && is_number(minor)).then(|| Some(Self(major.parse().ok()?, minor.parse().ok()?)))?
        })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_version_of_text_is_found() {
        for (text, expected) in [
            ("rustc 1.95.0 (59807616e 2026-04-14)", Some(Version(1, 95))),
            ("go1.27.3", Some(Version(1, 27))),
            ("v20.20.2\n", Some(Version(20, 20))),
            ("0.17.0-dev.12", Some(Version(0, 17))),
            ("version . and 1. and .2", None),
            ("", None),
        ] {
            assert_eq!(Version::find(text), expected, "{text}");
        }
        assert!(Version::find("1.9") < Version::find("1.10"));
    }
}
