//! Opens the paths that the user names on the command line, with the authority of the user. No other file of the command opens paths.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use cap_std::fs::Dir;
use capstan_core::mount::{self, Access, GuestPathError, Mount, MountSource, Quota};
use capstan_listen::tls;
use capstan_store::check_data_dir;
use rustix::fs::FileType;

use super::environment::Environment;
use super::error::CliError;
use super::io_error::{describe, describe_store};
use crate::daemon::open_mount;

/// A directory or a file to grant, in the form `HOST[::GUEST][:ro|:rw]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DirArg {
    host: String,
    guest: String,
    access: Access,
}

/// Why a text is not a valid `--dir`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum DirArgError {
    #[error("expected HOST or HOST::GUEST, with :ro to grant reading only; a HOST that contains a colon needs ::GUEST")]
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
            None => mount::guest_path_from_host(host).map_err(DirArgError::Host)?,
        };
        Ok(Self { host: host.to_owned(), guest, access })
    }
}

impl DirArg {
    /// Opens the directory or the file. The handle is granted, so its path is not resolved again.
    ///
    /// # Errors
    /// [`CliError::File`]
    pub(super) fn open(&self) -> Result<Mount, CliError> {
        let path = Path::new(&self.host);
        let MountSource { dir, file } = open_mount(path).map_err(file_error(path))?;
        Ok(Mount { dir, file, guest_path: self.guest.clone(), access: self.access, quota: Quota::UNLIMITED })
    }
}

/// Creates a temporary directory for the scratch directory of a run in process. It is removed when the `TempDir` is dropped.
///
/// # Errors
/// [`CliError::File`]
#[expect(clippy::disallowed_methods, reason = "this function has just created it, under a unique name")]
pub(super) fn scratch_dir() -> Result<(tempfile::TempDir, Arc<Dir>), CliError> {
    let temp_dir =
        tempfile::Builder::new().prefix("capstan-").tempdir().map_err(file_error(Path::new("temporary directory")))?;
    let dir =
        Dir::open_ambient_dir(temp_dir.path(), cap_std::ambient_authority()).map_err(file_error(temp_dir.path()))?;
    Ok((temp_dir, Arc::new(dir)))
}

/// Opens the directory of this user's cache: CAPSTAN_CACHE, else `capstan` in XDG_CACHE_HOME, else in `.cache` in HOME. Creates it if it does
/// not exist, for this user only.
///
/// # Errors
/// [`CliError::NoCacheDir`], [`CliError::Cache`].
#[expect(clippy::disallowed_methods, reason = "the user named this directory in the environment")]
pub(super) fn cache_dir(environment: &Environment) -> Result<Dir, CliError> {
    let named = |name: &str| environment.non_empty(name).map(PathBuf::from);
    let of_user = named("XDG_CACHE_HOME").filter(|path| path.is_absolute());
    let of_user = of_user.or_else(|| named("HOME").map(|home| home.join(".cache")));
    let path = named("CAPSTAN_CACHE").or_else(|| of_user.map(|cache| cache.join("capstan")));
    let path = path.ok_or(CliError::NoCacheDir)?;
    let failed = |error: &dyn std::fmt::Display| CliError::Cache(format!("{}: {error}", path.display()));
    let created = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&path);
    created.map_err(|error| failed(&describe(&error)))?;
    let dir = Dir::open_ambient_dir(&path, cap_std::ambient_authority()).map_err(|error| failed(&describe(&error)))?;
    check_data_dir(&dir).map_err(|error| failed(&describe_store(&error)))?;
    Ok(dir)
}

/// Opens a directory.
///
/// # Errors
/// [`CliError::File`]
#[expect(clippy::disallowed_methods, reason = "the user named this directory on the command line")]
pub(super) fn open_dir(path: &Path) -> Result<Dir, CliError> {
    Dir::open_ambient_dir(path, cap_std::ambient_authority()).map_err(file_error(path))
}

/// Creates a directory for this user only, unless it exists. Returns whether it did not exist.
///
/// # Errors
/// [`CliError::File`]
#[expect(clippy::disallowed_methods, reason = "the user named this directory on the command line")]
pub(super) fn create_dir(path: &Path) -> Result<bool, CliError> {
    match std::fs::DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => {
            // After a power cut, what will be in the directory can be found only if its name is on the disk too.
            let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
            File::open(parent).and_then(|parent| parent.sync_all()).map_err(file_error(parent))?;
            Ok(true)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(file_error(path)(error)),
    }
}

/// Opens a directory. Creates it and its parents for this user only, unless they exist.
///
/// # Errors
/// [`CliError::File`]
#[expect(
    clippy::disallowed_methods,
    reason = "the user named this directory on the command line or in the environment"
)]
pub(super) fn create_dir_all(path: &Path) -> Result<Dir, CliError> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(file_error(path))?;
    open_dir(path)
}

/// Creates a directory and its parents, unless it exists. Returns whether it is empty.
///
/// # Errors
/// [`CliError::File`]
#[expect(clippy::disallowed_methods, reason = "the user named this directory on the command line")]
pub(super) fn create_empty_dir(path: &Path) -> Result<bool, CliError> {
    std::fs::create_dir_all(path).map_err(file_error(path))?;
    Ok(std::fs::read_dir(path).map_err(file_error(path))?.next().is_none())
}

/// Removes a directory that this process has created, if it is empty.
#[expect(clippy::disallowed_methods, reason = "this process has created it where the user said")]
pub(super) fn remove_empty_dir(path: &Path) {
    // An empty directory that remains does no harm.
    let _ = std::fs::remove_dir(path);
}

/// Reads a whole file. `-` is stdin.
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
    std::fs::read(path).map_err(file_error(path))
}

/// Opens a file to read it.
///
/// # Errors
/// [`CliError::File`]
#[expect(clippy::disallowed_methods, reason = "the user named this file on the command line")]
pub(super) fn open(path: &Path) -> Result<File, CliError> {
    File::open(path).map_err(file_error(path))
}

/// Opens the file from which the stdin of this process was redirected, at the position where that is. `None` if it is not a regular file.
///
/// The file is opened anew, so that reading it does not move the position of stdin, which other processes share.
///
/// # Errors
/// The error of the operating system.
#[expect(clippy::disallowed_methods, reason = "the user redirected stdin from this file")]
pub(super) fn redirected_stdin() -> io::Result<Option<File>> {
    let stdin = io::stdin();
    if FileType::from_raw_mode(rustix::fs::fstat(&stdin)?.st_mode) != FileType::RegularFile {
        return Ok(None);
    }
    let mut file = File::open("/proc/self/fd/0")?;
    file.seek(SeekFrom::Start(rustix::fs::tell(&stdin)?))?;
    Ok(Some(file))
}

/// Reads a key or certificates, with the mode of the file.
///
/// # Errors
/// The error of the operating system.
#[expect(clippy::disallowed_methods, reason = "the user named this file on the command line, or in CAPSTAN_TLS_…")]
pub(super) fn read_tls(path: &Path) -> io::Result<tls::FileContent> {
    let mut file = File::open(path)?;
    let mode = file.metadata()?.permissions().mode();
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(tls::FileContent { bytes, mode })
}

/// Whether `path` exists and is not a directory.
#[expect(clippy::disallowed_methods, reason = "the user named this file on the command line")]
pub(super) fn is_file(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|metadata| !metadata.is_dir())
}

/// Creates a file, or truncates it if it exists.
///
/// # Errors
/// [`CliError::File`]
#[expect(clippy::disallowed_methods, reason = "the user named this file on the command line")]
pub(super) fn create(path: &Path) -> Result<File, CliError> {
    File::create(path).map_err(file_error(path))
}

/// Returns a closure for `map_err` that adds the path to an I/O error.
pub(super) fn file_error(path: &Path) -> impl FnOnce(io::Error) -> CliError {
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
    fn dir_arg_has_host_path_guest_path_and_access() {
        check("/a::/b", "/a", "/b", Access::ReadWrite);
        check(".::/b:ro", ".", "/b", Access::ReadOnly);
        check("/a::/b:rw", "/a", "/b", Access::ReadWrite);
        check("a:b::c", "a:b", "/c", Access::ReadWrite);
    }

    #[test]
    fn dir_arg_without_guest_path_uses_host_path() {
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
    fn guest_path_outside_of_root_is_rejected() {
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
    fn incomplete_dir_arg_is_rejected() {
        for text in ["", ":ro", "/a:/b", "::/b", "/a::", "/a:::ro", "/a::/b:rx", "/a::/b:ro:", "/a:rx"] {
            assert_eq!(text.parse::<DirArg>(), Err(DirArgError::Form), "{text}");
        }
    }

    #[test]
    fn device_is_not_granted() {
        let open = |path: &Path| format!("{}::/b", path.display()).parse::<DirArg>().unwrap().open();
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(open(file.path()).unwrap().file.is_some());
        let device = Path::new("/dev/null");
        assert!(matches!(open(device), Err(CliError::File { path, .. }) if path == device));
    }
}
