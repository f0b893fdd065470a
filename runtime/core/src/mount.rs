//! `Mount`: a directory that was opened when it was granted, and under which name a guest finds it.
//!
//! The directory is a value: whoever holds a mount may hand it on, and nobody looks its path up again.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use cap_std::fs::{Dir, FileTypeExt as _, Metadata};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::outcome::Room;

/// A directory, or one file of it, granted to a run.
#[derive(Clone, Debug)]
pub struct Mount {
    pub dir: Arc<Dir>,
    /// The name of the one file below `dir` that is granted; without it all of `dir` is.
    pub file: Option<String>,
    /// The path by which the guest knows it.
    pub guest_path: String,
    pub access: Access,
    /// What a run may put there.
    pub quota: Quota,
}

/// The right to a directory that is made for one run.
#[derive(Clone, Debug)]
pub struct ScratchGrant {
    /// Where it is made.
    pub folder: Arc<Dir>,
    /// Bytes that may be written to it.
    pub bytes: u64,
}

/// What a guest may do below a mount; more comes after less.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum Access {
    #[default]
    #[serde(rename = "ro")]
    ReadOnly,
    #[serde(rename = "rw")]
    ReadWrite,
}

/// How much a run may put somewhere. What it takes away again gives nothing back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    pub bytes: u64,
    /// Files, directories and links.
    pub files: u64,
}

impl Quota {
    /// Returns the part of the quota for `room`.
    pub fn of(&self, room: Room) -> u64 {
        match room {
            Room::Bytes => self.bytes,
            Room::Files => self.files,
        }
    }
}

/// What a mount shows: a directory, or one file of it.
#[derive(Clone, Debug)]
pub struct Opened {
    pub dir: Arc<Dir>,
    /// The name of the one file.
    pub file: Option<String>,
}

/// Why a guest cannot be shown its mounts under these paths.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GuestPathError {
    #[error(
        "{0:?} is no path for a guest: it must be absolute, without `.`, `..`, NUL, and anything empty between `/`"
    )]
    Malformed(String),
    #[error("{0:?} leads out of the root of the guest: it has more `..` than directories before them")]
    Outside(String),
    #[error("{0:?} is there twice")]
    Twice(String),
    #[error("{inner:?} lies in {outer:?}, which is a mount itself")]
    Nested { outer: String, inner: String },
    #[error("{0:?} and {1:?} are files of one folder, of which there can be one")]
    Siblings(String, String),
}

/// Opens what is at `path` below `dir`, without leaving that by `..` or a symlink; `dir` itself where the path is empty.
///
/// # Errors
/// What the system says; what is neither a directory nor a file, which is never opened: that could block.
pub fn open_beneath(dir: &Arc<Dir>, path: &Path) -> io::Result<Opened> {
    if path.as_os_str().is_empty() {
        return Ok(Opened { dir: dir.clone(), file: None });
    }
    let there = dir.symlink_metadata(path)?;
    if there.is_symlink() && dir.metadata(path)?.is_file() {
        return Err(io::Error::other("it is a symlink to a file; name the file itself"));
    }
    if there.is_symlink() || there.is_dir() {
        return Ok(Opened { dir: Arc::new(dir.open_dir(path)?), file: None });
    }
    let folder = match path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        Some(folder) => Arc::new(dir.open_dir(folder)?),
        None => dir.clone(),
    };
    open_file(folder, path)
}

/// The file in `dir` that `path` ends with.
///
/// # Errors
/// What the system says; what is no file, which is never opened: that could block.
pub fn open_file(dir: Arc<Dir>, path: &Path) -> io::Result<Opened> {
    let name = path.file_name().and_then(|name| name.to_str());
    let name = name.ok_or_else(|| io::Error::other("its name is not text"))?.to_owned();
    match kind(&dir.symlink_metadata(&name)?) {
        "a file" => {}
        other => return Err(io::Error::other(format!("it is {other}; a mount is a directory or a file"))),
    }
    // Looked at, and not opened: it may be a FIFO by now.
    rustix::fs::accessat(&dir, &name, rustix::fs::Access::READ_OK, rustix::fs::AtFlags::empty())?;
    Ok(Opened { dir, file: Some(name) })
}

fn kind(there: &Metadata) -> &'static str {
    let what = there.file_type();
    if what.is_file() {
        "a file"
    } else if what.is_dir() {
        "a directory"
    } else if what.is_symlink() {
        "a symlink"
    } else if what.is_fifo() {
        "a FIFO"
    } else if what.is_socket() {
        "a socket"
    } else {
        "a device"
    }
}

impl Quota {
    /// No limit of its own.
    pub const ENDLESS: Self = Self { bytes: u64::MAX, files: u64::MAX };
}

impl Mount {
    /// The directory that the guest is shown, and the name of the one file in it where it is one file.
    pub fn shown(&self) -> (&str, Option<&str>) {
        match (&self.file, self.guest_path.rsplit_once('/')) {
            (Some(_), Some((folder, name))) => (if folder.is_empty() { "/" } else { folder }, Some(name)),
            _ => (&self.guest_path, None),
        }
    }
}

/// Checks the paths under which a guest finds its mounts, each with whether it is one file, against each other.
///
/// # Errors
/// [`GuestPathError`]
pub fn check_guest_paths<'a>(paths: impl IntoIterator<Item = (&'a str, bool)>) -> Result<(), GuestPathError> {
    let mut seen: Vec<(&str, bool)> = Vec::new();
    for (path, is_file) in paths {
        check_guest_path(path)?;
        if is_file && path == "/" {
            return Err(GuestPathError::Malformed(path.into()));
        }
        for (other, other_is_file) in seen.iter().copied() {
            let below = |outer: &str, inner: &str| {
                inner.strip_prefix(outer.trim_end_matches('/')).is_some_and(|rest| rest.starts_with('/'))
            };
            let nested = |outer: &str, inner: &str| GuestPathError::Nested { outer: outer.into(), inner: inner.into() };
            if path == other {
                return Err(GuestPathError::Twice(path.into()));
            }
            if below(path, other) {
                return Err(nested(path, other));
            }
            if below(other, path) {
                return Err(nested(other, path));
            }
            let folder = |path: &'a str| path.rsplit_once('/').map(|(folder, _)| folder);
            if is_file && other_is_file && folder(path) == folder(other) {
                return Err(GuestPathError::Siblings(other.into(), path.into()));
            }
        }
        seen.push((path, is_file));
    }
    Ok(())
}

/// The path under which a guest finds what was asked for as `asked`. One that is relative is resolved against `/`, as programs resolve the
/// names that they open: `data` is `/data`, and `.` is `/`.
///
/// # Errors
/// [`GuestPathError::Malformed`], [`GuestPathError::Outside`]
pub fn guest_path(asked: &str) -> Result<String, GuestPathError> {
    match asked {
        "" => Err(GuestPathError::Malformed(asked.into())),
        absolute if absolute.starts_with('/') => check_guest_path(absolute).map(|()| absolute.to_owned()),
        relative => resolved(relative),
    }
}

/// The path under which a guest finds what is at `host` for the user, where the user gives no other: the same, resolved against `/`.
///
/// # Errors
/// [`GuestPathError::Malformed`], [`GuestPathError::Outside`]
pub fn guest_path_of_host(host: &str) -> Result<String, GuestPathError> {
    if host.is_empty() { Err(GuestPathError::Malformed(host.into())) } else { resolved(host) }
}

/// `path` without `.`, `..` and anything empty, below `/`.
fn resolved(path: &str) -> Result<String, GuestPathError> {
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => _ = parts.pop().ok_or_else(|| GuestPathError::Outside(path.into()))?,
            part if part.contains('\0') => return Err(GuestPathError::Malformed(path.into())),
            part => parts.push(part),
        }
    }
    Ok(format!("/{}", parts.join("/")))
}

/// Checks one path under which a guest may find a mount.
///
/// # Errors
/// [`GuestPathError::Malformed`]
pub fn check_guest_path(path: &str) -> Result<(), GuestPathError> {
    if path == "/" {
        return Ok(());
    }
    let is_plain = |part: &str| !matches!(part, "" | "." | "..") && !part.contains('\0');
    match path.strip_prefix('/') {
        Some(rest) if rest.split('/').all(is_plain) => Ok(()),
        _ => Err(GuestPathError::Malformed(path.into())),
    }
}

impl fmt::Display for Access {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::ReadOnly => "ro",
            Self::ReadWrite => "rw",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guest_paths_that_cannot_be_shown_are_refused() {
        for path in ["", "data", "./data", "/a/../b", "/a/./b", "/a//b", "/a/", "//", "/a\0b", ".."] {
            assert_eq!(check_guest_path(path), Err(GuestPathError::Malformed(path.into())), "{path:?}");
        }
        assert_eq!(check_guest_paths([("/", true)]), Err(GuestPathError::Malformed("/".into())));
        for path in ["/", "/a", "/a/b", "/..a", "/a b", "/ü"] {
            assert_eq!(check_guest_path(path), Ok(()), "{path:?}");
        }
    }

    #[test]
    fn relative_guest_path_is_resolved_against_the_root() {
        for (asked, expected) in [
            (".", "/"),
            ("./", "/"),
            ("data", "/data"),
            ("data/", "/data"),
            ("./x/y", "/x/y"),
            ("x//y/.", "/x/y"),
            ("x/../y", "/y"),
            ("x/..", "/"),
            ("..x", "/..x"),
        ] {
            assert_eq!(guest_path(asked).as_deref(), Ok(expected), "{asked:?}");
            assert_eq!(guest_path_of_host(asked).as_deref(), Ok(expected), "{asked:?}");
            assert_eq!(check_guest_path(expected), Ok(()), "{expected:?}");
        }
        for asked in ["..", "../x", "x/../../y", "./.."] {
            assert_eq!(guest_path(asked), Err(GuestPathError::Outside(asked.into())));
            assert_eq!(guest_path_of_host(asked), Err(GuestPathError::Outside(asked.into())));
        }
        for asked in ["", "a\0b"] {
            assert_eq!(guest_path(asked), Err(GuestPathError::Malformed(asked.into())));
            assert_eq!(guest_path_of_host(asked), Err(GuestPathError::Malformed(asked.into())));
        }
    }

    #[test]
    fn absolute_guest_path_is_taken_as_it_is_and_one_of_the_host_is_resolved() {
        assert_eq!(guest_path("/a/b").as_deref(), Ok("/a/b"));
        assert_eq!(guest_path("/a/../b"), Err(GuestPathError::Malformed("/a/../b".into())));
        assert_eq!(guest_path_of_host("/a/../b/").as_deref(), Ok("/b"));
        assert_eq!(guest_path_of_host("/").as_deref(), Ok("/"));
        assert_eq!(guest_path_of_host("/.."), Err(GuestPathError::Outside("/..".into())));
    }

    #[test]
    fn guest_paths_are_apart_from_each_other() {
        let dirs = |paths: &[&'static str]| check_guest_paths(paths.iter().map(|path| (*path, false)));
        assert_eq!(dirs(&["/a", "/b", "/ab", "/b2/c"]), Ok(()));
        assert_eq!(dirs(&["/a", "/a"]), Err(GuestPathError::Twice("/a".into())));
        for pair in [["/a", "/a/b"], ["/a/b", "/a"]] {
            let nested = GuestPathError::Nested { outer: "/a".into(), inner: "/a/b".into() };
            assert_eq!(dirs(&pair), Err(nested));
        }
        assert!(matches!(dirs(&["/", "/a"]), Err(GuestPathError::Nested { outer, .. }) if outer == "/"));
        let siblings = check_guest_paths([("/a/x", true), ("/a/y", true)]);
        assert_eq!(siblings, Err(GuestPathError::Siblings("/a/x".into(), "/a/y".into())));
        assert_eq!(check_guest_paths([("/a/x", true), ("/a/y", false), ("/b/x", true)]), Ok(()));
    }
}
