//! `SocketPermissions`: who may connect to a unix socket that the daemon creates.

/// The mode and the group of a unix socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketPermissions {
    /// The permission bits. Default: 0660, the user and the group of the daemon.
    pub mode: u32,
    /// The id of the group. Default: the daemon's own group.
    pub group: Option<u32>,
}

/// Why a text is not a mode or a group.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PermissionsError {
    #[error("{0:?} is not the mode of a socket; give permission bits in octal from 0 to 0777, for example 0660")]
    Mode(String),
    #[error("there is no group {0:?} on this machine; give the name of a group or a number")]
    UnknownGroup(String),
}

impl Default for SocketPermissions {
    fn default() -> Self {
        Self { mode: 0o660, group: None }
    }
}

impl SocketPermissions {
    /// Parses a mode in octal, for example `0660`.
    ///
    /// # Errors
    /// [`PermissionsError::Mode`]
    pub fn parse_mode(text: &str) -> Result<u32, PermissionsError> {
        let is_octal = !text.is_empty() && text.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
        let mode = is_octal.then(|| u32::from_str_radix(text, 8).ok()).flatten();
        mode.filter(|mode| *mode <= 0o777).ok_or_else(|| PermissionsError::Mode(text.to_owned()))
    }

    /// Returns the id of a group, from its name or its number. The machine need not know the number.
    ///
    /// # Errors
    /// [`PermissionsError::UnknownGroup`]
    pub fn parse_group(text: &str) -> Result<u32, PermissionsError> {
        match text.parse() {
            // `chown` takes this number as "do not change".
            Ok(u32::MAX) => return Err(PermissionsError::UnknownGroup(text.to_owned())),
            Ok(number) if text.bytes().all(|byte| byte.is_ascii_digit()) => return Ok(number),
            _ if text.is_empty() || text.contains('\0') => return Err(PermissionsError::UnknownGroup(text.to_owned())),
            _ => {}
        }
        // The name service of the machine, which may use a directory service as well as a file.
        let group = uzers::get_group_by_name(text).ok_or_else(|| PermissionsError::UnknownGroup(text.to_owned()))?;
        Ok(group.gid())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parse_mode_accepts_only_octal_permission_bits() {
        let mode = SocketPermissions::parse_mode;
        assert_eq!(mode("0660"), Ok(0o660));
        assert_eq!(mode("600"), Ok(0o600));
        assert_eq!(mode("0"), Ok(0));
        for text in ["", "0o660", "+660", "-1", "888", "rw", "1777", "4660", "77777777777", " 660"] {
            assert_eq!(mode(text), Err(PermissionsError::Mode(text.into())));
        }
    }

    #[test]
    fn parse_group_accepts_names_and_numbers() {
        let group = SocketPermissions::parse_group;
        assert_eq!(group("root"), Ok(0));
        assert_eq!(group("4242"), Ok(4242));
        for text in ["", "no-such-group-here", "+1", "-1", "4294967295", "a\0b"] {
            assert_eq!(group(text), Err(PermissionsError::UnknownGroup(text.into())));
        }
    }
}
