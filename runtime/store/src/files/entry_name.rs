//! The names that an entry of an archive may have.

use capstan_engine::handler_store::FilesError;

/// Bytes of the longest path.
const MAX_PATH: usize = 1024;
/// Bytes of the longest component of a path, as in most file systems.
const MAX_COMPONENT: usize = 255;

/// Returns the path of an entry without `./` before it and `/` after it. `None` for the root itself.
///
/// # Errors
/// [`FilesError::Entry`] if the path is not UTF-8, is absolute, leads upwards, or is too long.
pub(super) fn parse(bytes: &[u8]) -> Result<Option<String>, FilesError> {
    let rejected = |reason| FilesError::Entry { name: shown(bytes), reason };
    let path = std::str::from_utf8(bytes).map_err(|_| rejected("has a name that is not UTF-8"))?;
    if path.starts_with('/') {
        return Err(rejected("has an absolute path"));
    }
    let path = path.strip_suffix('/').unwrap_or(path);
    let path = path.strip_prefix("./").unwrap_or(path);
    if path == "." {
        return Ok(None);
    }
    if path.len() > MAX_PATH {
        return Err(rejected("has a path of more than 1024 bytes"));
    }
    for component in path.split('/') {
        match component {
            ".." => return Err(rejected("has a path with `..`")),
            "" | "." => return Err(rejected("has a path with an empty component or `.`")),
            _ if component.contains('\0') => return Err(rejected("has a path with NUL")),
            _ if component.len() > MAX_COMPONENT => return Err(rejected("has a name of more than 255 bytes")),
            _ => {}
        }
    }
    Ok(Some(path.to_owned()))
}

/// Returns the name as text for an error, without most of one that is too long.
pub(super) fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).chars().take(100).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_paths_are_accepted() {
        for (path, expected) in [
            ("a", "a"),
            ("./a/b", "a/b"),
            ("dir/", "dir"),
            ("./dir/", "dir"),
            ("a b/ü.py", "a b/ü.py"),
            ("...", "..."),
            (".a", ".a"),
        ] {
            assert_eq!(parse(path.as_bytes()).unwrap().as_deref(), Some(expected), "{path}");
        }
        for root in [".", "./"] {
            assert_eq!(parse(root.as_bytes()).unwrap(), None);
        }
    }

    #[test]
    fn paths_that_could_lead_elsewhere_are_rejected() {
        let long = [format!("{}/x", "d/".repeat(512)), "n".repeat(256)];
        let paths =
            ["..", "../a", "a/..", "a/../b", "./..", "/", "/a", "//a", "", "a//b", "a/./b", "././a", "a\0b", "a//"];
        for path in paths.into_iter().chain(long.iter().map(String::as_str)) {
            assert!(matches!(parse(path.as_bytes()), Err(FilesError::Entry { .. })), "{path:?}");
        }
        assert!(matches!(parse(b"\xff"), Err(FilesError::Entry { .. })));
    }
}
