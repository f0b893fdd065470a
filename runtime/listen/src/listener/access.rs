//! `Access`: who may connect to a unix socket that the daemon makes.

/// The mode of a unix socket, and the group that it is given to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// Permission bits. Default 0660: the user and the group of the daemon.
    pub mode: u32,
    /// Default: the daemon's own.
    pub group: Option<u32>,
}

/// Why a text says nothing about who may connect.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AccessError {
    #[error(
        "{0:?} is not the mode of a socket, which is octal, for example 0660, and has no more than read, write and execute"
    )]
    Mode(String),
    #[error("there is no group {0:?}")]
    NoGroup(String),
}

impl Default for Access {
    fn default() -> Self {
        Self { mode: 0o660, group: None }
    }
}

impl Access {
    /// Reads a mode in octal, for example `0660`.
    ///
    /// # Errors
    /// [`AccessError::Mode`]
    pub fn mode(text: &str) -> Result<u32, AccessError> {
        let octal = !text.is_empty() && text.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
        let mode = octal.then(|| u32::from_str_radix(text, 8).ok()).flatten();
        mode.filter(|mode| *mode <= 0o777).ok_or_else(|| AccessError::Mode(text.to_owned()))
    }

    /// The number of a group, by its name or itself; a number need not be that of a known group.
    ///
    /// # Errors
    /// [`AccessError::NoGroup`]
    pub fn group(text: &str) -> Result<u32, AccessError> {
        // The greatest number stands for no change.
        match text.parse() {
            Ok(u32::MAX) => return Err(AccessError::NoGroup(text.to_owned())),
            Ok(number) if text.bytes().all(|byte| byte.is_ascii_digit()) => return Ok(number),
            _ if text.is_empty() || text.contains('\0') => return Err(AccessError::NoGroup(text.to_owned())),
            _ => {}
        }
        // As the machine looks up its groups, be they in a file or with a directory service.
        let group = uzers::get_group_by_name(text).ok_or_else(|| AccessError::NoGroup(text.to_owned()))?;
        Ok(group.gid())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mode_is_octal_and_nothing_but_permissions() {
        assert_eq!(Access::mode("0660"), Ok(0o660));
        assert_eq!(Access::mode("600"), Ok(0o600));
        assert_eq!(Access::mode("0"), Ok(0));
        for text in ["", "0o660", "+660", "-1", "888", "rw", "1777", "4660", "77777777777", " 660"] {
            assert_eq!(Access::mode(text), Err(AccessError::Mode(text.into())));
        }
    }

    #[test]
    fn a_group_is_named_or_numbered() {
        assert_eq!(Access::group("root"), Ok(0));
        assert_eq!(Access::group("4242"), Ok(4242));
        for text in ["", "no-such-group-here", "+1", "-1", "4294967295", "a\0b"] {
            assert_eq!(Access::group(text), Err(AccessError::NoGroup(text.into())));
        }
    }
}
