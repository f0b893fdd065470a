//! The paths at which a guest finds its mounts.

/// A path, or a set of paths, at which a guest cannot find its mounts.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GuestPathError {
    #[error("{0:?} is not a valid guest path: it must be absolute, without `.`, `..`, NUL and empty components")]
    Malformed(String),
    #[error("{0:?} leads out of the root of the guest: it has more `..` than directories before them")]
    Outside(String),
    #[error("two mounts have the guest path {0:?}; give one of them another path")]
    Duplicate(String),
    #[error("{inner:?} lies inside the mount {outer:?}; give one of them another guest path")]
    Nested { outer: String, inner: String },
    #[error(
        "{0:?} and {1:?} are two files in the same directory; a directory of the guest can hold only one mounted file"
    )]
    Siblings(String, String),
}

/// Returns the path in the guest for a requested path. Resolves a relative path against `/`, as programs resolve the names that they open:
/// `data` becomes `/data`, and `.` becomes `/`.
///
/// # Errors
/// [`GuestPathError::Malformed`], [`GuestPathError::Outside`]
pub fn guest_path(requested: &str) -> Result<String, GuestPathError> {
    match requested {
        "" => Err(GuestPathError::Malformed(requested.into())),
        absolute if absolute.starts_with('/') => check_guest_path(absolute).map(|()| absolute.to_owned()),
        relative => normalize(relative),
    }
}

/// Returns the path in the guest for the path `host` of the user, if the user gives no other: the same path, resolved against `/`.
///
/// # Errors
/// [`GuestPathError::Malformed`], [`GuestPathError::Outside`]
pub fn guest_path_from_host(host: &str) -> Result<String, GuestPathError> {
    if host.is_empty() { Err(GuestPathError::Malformed(host.into())) } else { normalize(host) }
}

/// Returns `path` as an absolute path without `.`, `..` and empty components.
fn normalize(path: &str) -> Result<String, GuestPathError> {
    let mut components = Vec::new();
    for component in path.split('/') {
        match component {
            "" | "." => {}
            ".." => _ = components.pop().ok_or_else(|| GuestPathError::Outside(path.into()))?,
            component if component.contains('\0') => return Err(GuestPathError::Malformed(path.into())),
            component => components.push(component),
        }
    }
    Ok(format!("/{}", components.join("/")))
}

/// Checks the path of one mount.
///
/// # Errors
/// [`GuestPathError::Malformed`]
pub fn check_guest_path(path: &str) -> Result<(), GuestPathError> {
    if path == "/" {
        return Ok(());
    }
    let is_plain = |component: &str| !matches!(component, "" | "." | "..") && !component.contains('\0');
    match path.strip_prefix('/') {
        Some(rest) if rest.split('/').all(is_plain) => Ok(()),
        _ => Err(GuestPathError::Malformed(path.into())),
    }
}

/// Checks that the mounts of a guest do not overlap. Each is a path and whether it is one file.
///
/// # Errors
/// [`GuestPathError`]
pub fn check_guest_paths<'a>(paths: impl IntoIterator<Item = (&'a str, bool)>) -> Result<(), GuestPathError> {
    let mut checked: Vec<(&str, bool)> = Vec::new();
    for mount in paths {
        check_guest_path(mount.0)?;
        if mount == ("/", true) {
            return Err(GuestPathError::Malformed(mount.0.into()));
        }
        checked.iter().try_for_each(|other| check_pair(*other, mount))?;
        checked.push(mount);
    }
    Ok(())
}

fn check_pair(
    (first, first_is_file): (&str, bool),
    (second, second_is_file): (&str, bool),
) -> Result<(), GuestPathError> {
    let nested = |outer: &str, inner: &str| GuestPathError::Nested { outer: outer.into(), inner: inner.into() };
    if first == second {
        return Err(GuestPathError::Duplicate(second.into()));
    }
    if is_below(second, first) {
        return Err(nested(second, first));
    }
    if is_below(first, second) {
        return Err(nested(first, second));
    }
    if first_is_file && second_is_file && parent(first) == parent(second) {
        return Err(GuestPathError::Siblings(first.into(), second.into()));
    }
    Ok(())
}

/// Returns whether `inner` lies below `outer`.
fn is_below(outer: &str, inner: &str) -> bool {
    inner.strip_prefix(outer.trim_end_matches('/')).is_some_and(|rest| rest.starts_with('/'))
}

fn parent(path: &str) -> Option<&str> {
    path.rsplit_once('/').map(|(parent, _)| parent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_guest_path_that_is_not_absolute_and_plain_fails() {
        for path in ["", "data", "./data", "/a/../b", "/a/./b", "/a//b", "/a/", "//", "/a\0b", ".."] {
            assert_eq!(check_guest_path(path), Err(GuestPathError::Malformed(path.into())), "{path:?}");
        }
        assert_eq!(check_guest_paths([("/", true)]), Err(GuestPathError::Malformed("/".into())));
        for path in ["/", "/a", "/a/b", "/..a", "/a b", "/ü"] {
            assert_eq!(check_guest_path(path), Ok(()), "{path:?}");
        }
    }

    #[test]
    fn guest_path_from_relative_path_is_resolved_against_root() {
        for (requested, expected) in [
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
            assert_eq!(guest_path(requested).as_deref(), Ok(expected), "{requested:?}");
            assert_eq!(guest_path_from_host(requested).as_deref(), Ok(expected), "{requested:?}");
            assert_eq!(check_guest_path(expected), Ok(()), "{expected:?}");
        }
        for requested in ["..", "../x", "x/../../y", "./.."] {
            assert_eq!(guest_path(requested), Err(GuestPathError::Outside(requested.into())));
            assert_eq!(guest_path_from_host(requested), Err(GuestPathError::Outside(requested.into())));
        }
        for requested in ["", "a\0b"] {
            assert_eq!(guest_path(requested), Err(GuestPathError::Malformed(requested.into())));
            assert_eq!(guest_path_from_host(requested), Err(GuestPathError::Malformed(requested.into())));
        }
    }

    #[test]
    fn guest_path_from_absolute_path_is_unchanged_and_host_path_is_normalized() {
        assert_eq!(guest_path("/a/b").as_deref(), Ok("/a/b"));
        assert_eq!(guest_path("/a/../b"), Err(GuestPathError::Malformed("/a/../b".into())));
        assert_eq!(guest_path_from_host("/a/../b/").as_deref(), Ok("/b"));
        assert_eq!(guest_path_from_host("/").as_deref(), Ok("/"));
        assert_eq!(guest_path_from_host("/.."), Err(GuestPathError::Outside("/..".into())));
    }

    #[test]
    fn check_guest_paths_that_overlap_fails() {
        let dirs = |paths: &[&'static str]| check_guest_paths(paths.iter().map(|path| (*path, false)));
        assert_eq!(dirs(&["/a", "/b", "/ab", "/b2/c"]), Ok(()));
        assert_eq!(dirs(&["/a", "/a"]), Err(GuestPathError::Duplicate("/a".into())));
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
