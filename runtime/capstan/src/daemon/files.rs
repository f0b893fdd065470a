//! Opens the files and directories that the operator names, with the authority of the daemon. No other file of the daemon does.

use std::io::{self, Read as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cap_std::fs::Dir;
use capstan_core::mount::{self, MountSource};
use capstan_listen::tls;
use rustix::fs::OFlags;

use super::environment;

/// Keeps the open of a FIFO from blocking the start.
const O_NONBLOCK: i32 = OFlags::NONBLOCK.bits().cast_signed();
/// The limit on the bytes that are read of a secret. It is larger than the longest valid secret.
const MAX_SECRET: u64 = 128 << 10;

/// Returns the path that `path` leads to, without symbolic links. Returns `None` if it does not exist.
#[expect(clippy::disallowed_methods, reason = "it resolves a path that the operator named, and opens nothing")]
pub(super) fn resolve(path: &Path) -> Option<PathBuf> {
    std::fs::canonicalize(path).ok()
}

/// Returns whether there is a directory at `path`.
#[expect(clippy::disallowed_methods, reason = "it looks at a path that the operator named, and opens nothing")]
pub(super) fn is_directory(path: &Path) -> bool {
    path.is_dir()
}

/// Reads the configuration file.
#[expect(clippy::disallowed_methods, reason = "the operator named this file in --config")]
pub(super) fn read_config(path: &Path) -> io::Result<String> {
    std::fs::read_to_string(path)
}

/// Reads a private key or certificates, with the mode of the file.
#[expect(clippy::disallowed_methods, reason = "the operator named this file in [tls] or a flag --tls-…")]
pub(super) fn read_tls(path: &Path) -> io::Result<tls::FileContent> {
    let mut file = std::fs::File::open(path)?;
    let mode = file.metadata()?.permissions().mode();
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(tls::FileContent { bytes, mode })
}

/// Opens a file to append to. Creates it with mode 0640 if it does not exist.
#[expect(clippy::disallowed_methods, reason = "the operator named this file in --access-log")]
pub(super) fn append(path: &Path) -> io::Result<std::fs::File> {
    std::fs::OpenOptions::new().append(true).create(true).mode(0o640).custom_flags(O_NONBLOCK).open(path)
}

/// Opens the data directory. Creates it with mode 0700 if it does not exist.
#[expect(clippy::disallowed_methods, reason = "the operator named this directory in --data, or uses the default")]
pub(super) fn open_data(path: &Path) -> io::Result<Dir> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    Dir::open_ambient_dir(path, cap_std::ambient_authority())
}

/// Opens a directory or a file that the operator's configuration or the user of `capstan run` grants to jobs.
///
/// # Errors
/// The error of the system, or an error for a path that is neither a directory nor a regular file. Such a file is never opened, because
/// opening it could block.
#[expect(clippy::disallowed_methods, reason = "the operator or the user named it, to grant it")]
pub(crate) fn open_mount(path: &Path) -> io::Result<MountSource> {
    if std::fs::metadata(path)?.is_dir() {
        let dir = Dir::open_ambient_dir(path, cap_std::ambient_authority())?;
        return Ok(MountSource { dir: Arc::new(dir), file: None });
    }
    let path = std::fs::canonicalize(path)?;
    let parent = path.parent().ok_or(io::ErrorKind::NotFound)?;
    let dir = Dir::open_ambient_dir(parent, cap_std::ambient_authority())?;
    mount::open_file(Arc::new(dir), &path)
}

/// Opens a directory below which the operator's configuration grants any path. Returns it with its path as text.
#[expect(clippy::disallowed_methods, reason = "the operator named this directory in the configuration")]
pub(super) fn open_prefix(path: &Path) -> io::Result<(Arc<Dir>, String)> {
    let text = path.to_str().filter(|_| path.is_absolute());
    let text = text.ok_or_else(|| io::Error::other("it is not an absolute path in UTF-8"))?;
    Ok((Arc::new(Dir::open_ambient_dir(path, cap_std::ambient_authority())?), text.to_owned()))
}

/// Where the daemon reads a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum SecretSource {
    File(PathBuf),
    Variable(String),
    /// A credential of the service manager, by name (`man 5 systemd.exec`, `LoadCredential=`).
    Credential(String),
}

/// Reads a secret. Returns its bytes, and whether other users than the owner of its file may access that file.
#[expect(clippy::disallowed_methods, reason = "the operator named this file in the configuration")]
pub(super) fn read_secret(source: &SecretSource) -> io::Result<(Vec<u8>, bool)> {
    let path = match source {
        SecretSource::File(path) => path.clone(),
        SecretSource::Variable(name) => {
            let value = environment::variable(name).ok_or_else(|| io::Error::other("the variable is not set"))?;
            return Ok((value.into_encoded_bytes(), false));
        }
        SecretSource::Credential(name) => {
            let directory = environment::credentials_directory();
            let missing =
                || io::Error::other("no service manager has passed credentials: CREDENTIALS_DIRECTORY is not set");
            directory.ok_or_else(missing)?.join(name)
        }
    };
    let file = std::fs::OpenOptions::new().read(true).custom_flags(O_NONBLOCK).open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut bytes = Vec::new();
    file.take(MAX_SECRET).read_to_end(&mut bytes)?;
    Ok((bytes, metadata.permissions().mode() & 0o077 != 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::disallowed_methods, reason = "a test looks into its own directory")]
    #[test]
    fn open_data_creates_a_directory_for_its_user_only() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a/b");
        open_data(&path).unwrap();
        let mode = directory.path().join("a/b").metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        open_data(&path).unwrap();
    }
}
