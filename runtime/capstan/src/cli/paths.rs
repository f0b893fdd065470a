//! The one place of the command where paths are opened: what the user named on the command line, with the user's own authority.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use cap_std::fs::Dir;
use capstan_core::mount::{self, Access, GuestPathError, Mount, Opened, Quota};
use capstan_listen::tls;

use super::error::CliError;
use crate::daemon::open_mount;

/// A directory or a file to grant, as `HOST[::GUEST][:ro|:rw]` asks for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DirArg {
    host: String,
    guest: String,
    access: Access,
}

/// Why a text grants no directory.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum DirArgError {
    #[error("expected HOST or HOST::GUEST, with :ro to grant reading only; a HOST that holds a colon needs ::GUEST")]
    Form,
    #[error("{0}")]
    Guest(GuestPathError),
    #[error("{0}; give the path in the guest too: HOST::GUEST")]
    Host(GuestPathError),
}

impl FromStr for DirArg {
    type Err = DirArgError;

    fn from_str(text: &str) -> Result<Self, DirArgError> {
        let (rest, access) = match text.strip_suffix(":ro") {
            Some(rest) => (rest, Access::ReadOnly),
            None => (text.strip_suffix(":rw").unwrap_or(text), Access::ReadWrite),
        };
        let (host, guest) = rest.split_once("::").map_or((rest, None), |(host, guest)| (host, Some(guest)));
        let last = guest.unwrap_or(host);
        if host.is_empty() || last.is_empty() || last.contains(':') {
            return Err(DirArgError::Form);
        }
        let guest = match guest {
            Some(guest) => mount::guest_path(guest).map_err(DirArgError::Guest)?,
            None => mount::guest_path_of_host(host).map_err(DirArgError::Host)?,
        };
        Ok(Self { host: host.to_owned(), guest, access })
    }
}

impl DirArg {
    /// Opens the directory or the file; from here on it is a value, and its path is not looked up again.
    ///
    /// # Errors
    /// [`CliError::File`]
    pub(super) fn open(&self) -> Result<Mount, CliError> {
        let path = Path::new(&self.host);
        let Opened { dir, file } = open_mount(path).map_err(at(path))?;
        Ok(Mount { dir, file, guest_path: self.guest.clone(), access: self.access, quota: Quota::ENDLESS })
    }
}

/// A folder for the scratch directories of a run in process, which goes with the first of both.
///
/// # Errors
/// [`CliError::File`]
#[expect(clippy::disallowed_methods, reason = "it was made here, by a name that nobody else has")]
pub(super) fn scratch_folder() -> Result<(tempfile::TempDir, Arc<Dir>), CliError> {
    let folder = tempfile::Builder::new().prefix("capstan-").tempdir().map_err(at(Path::new("a temporary folder")))?;
    let dir = Dir::open_ambient_dir(folder.path(), cap_std::ambient_authority()).map_err(at(folder.path()))?;
    Ok((folder, Arc::new(dir)))
}

/// The whole of a file; `-` is stdin.
///
/// # Errors
/// [`CliError::File`], [`CliError::Stdin`].
#[expect(clippy::disallowed_methods, reason = "the user named this file on the command line")]
pub(super) fn read(path: &Path) -> Result<Vec<u8>, CliError> {
    if path == Path::new("-") {
        let mut bytes = Vec::new();
        io::stdin().lock().read_to_end(&mut bytes).map_err(CliError::Stdin)?;
        return Ok(bytes);
    }
    std::fs::read(path).map_err(at(path))
}

/// A key, or certificates, with who may read them.
///
/// # Errors
/// What the system says.
#[expect(clippy::disallowed_methods, reason = "the user named this file on the command line, or in CAPSTAN_TLS_…")]
pub(super) fn read_tls(path: &Path) -> io::Result<tls::FileContent> {
    let mut file = File::open(path)?;
    let mode = file.metadata()?.permissions().mode();
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(tls::FileContent { bytes, mode })
}

/// Whether there is something other than a folder at `path`.
#[expect(clippy::disallowed_methods, reason = "the user named this file on the command line")]
pub(super) fn is_file(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|metadata| !metadata.is_dir())
}

/// Makes the file, or empties it, so that a run whose outcome could not be written is not begun.
///
/// # Errors
/// [`CliError::File`]
#[expect(clippy::disallowed_methods, reason = "the user named this file on the command line")]
pub(super) fn create(path: &Path) -> Result<File, CliError> {
    File::create(path).map_err(at(path))
}

/// For `map_err`: the system's complaint with the path that it is about.
pub(super) fn at(path: &Path) -> impl FnOnce(io::Error) -> CliError {
    move |source| CliError::File { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, host: &str, guest: &str, access: Access) {
        let expected = DirArg { host: host.into(), guest: guest.into(), access };
        assert_eq!(text.parse(), Ok(expected), "{text}");
    }

    #[test]
    fn a_directory_is_named_on_both_sides() {
        check("/a::/b", "/a", "/b", Access::ReadWrite);
        check(".::/b:ro", ".", "/b", Access::ReadOnly);
        check("/a::/b:rw", "/a", "/b", Access::ReadWrite);
        check("a:b::c", "a:b", "/c", Access::ReadWrite);
    }

    #[test]
    fn a_directory_without_a_guest_path_is_where_the_host_has_it() {
        check(".", ".", "/", Access::ReadWrite);
        check("data", "data", "/data", Access::ReadWrite);
        check("./x/y/:ro", "./x/y/", "/x/y", Access::ReadOnly);
        check("/abs:rw", "/abs", "/abs", Access::ReadWrite);
        check("/", "/", "/", Access::ReadWrite);
        check("data::data", "data", "/data", Access::ReadWrite);
        check("data::.:ro", "data", "/", Access::ReadOnly);
        check("../up::./in", "../up", "/in", Access::ReadWrite);
    }

    #[test]
    fn a_guest_path_out_of_the_root_is_refused() {
        for text in ["..", "../data", "data/../..:ro"] {
            let error = text.parse::<DirArg>().unwrap_err();
            assert!(matches!(error, DirArgError::Host(GuestPathError::Outside(_))), "{text}: {error}");
            assert!(error.to_string().contains("HOST::GUEST"), "{error}");
        }
        let error = "data::../x".parse::<DirArg>().unwrap_err();
        assert_eq!(error, DirArgError::Guest(GuestPathError::Outside("../x".into())));
        let error = "data::/a/../b".parse::<DirArg>().unwrap_err();
        assert_eq!(error, DirArgError::Guest(GuestPathError::Malformed("/a/../b".into())));
    }

    #[test]
    fn half_a_directory_is_refused() {
        for text in ["", ":ro", "/a:/b", "::/b", "/a::", "/a:::ro", "/a::/b:rx", "/a::/b:ro:", "/a:rx"] {
            assert_eq!(text.parse::<DirArg>(), Err(DirArgError::Form), "{text}");
        }
    }

    #[test]
    fn what_is_neither_a_directory_nor_a_file_is_not_granted() {
        let open = |path: &Path| format!("{}::/b", path.display()).parse::<DirArg>().unwrap().open();
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(open(file.path()).unwrap().file.is_some());
        let device = Path::new("/dev/null");
        assert!(matches!(open(device), Err(CliError::File { path, .. }) if path == device));
    }
}
