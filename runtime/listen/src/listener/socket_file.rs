//! `SocketFile`: creates the file of a unix socket, replaces a dead one, and removes it at the end.
//!
//! The socket is created in a private directory next to its path, gets its mode there, and is then renamed to its path. The rename fails if
//! the path exists. So the socket never has another mode, it is never there without a listener, and nothing else is overwritten.
//!
//! Only a socket without a listener is removed, under a lock on the directory: if two daemons find the same dead socket, neither removes
//! the new socket of the other. The ancestor removed any file at the path, including the socket of a running daemon.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cap_std::fs::{Dir, DirBuilder, DirBuilderExt as _, FileTypeExt as _, MetadataExt as _};
use rustix::fs::{AtFlags, FlockOperation, Gid, Mode, OFlags, RenameFlags};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use tokio::net::UnixListener;

use super::permissions::SocketPermissions;

/// The limit on the wait for another daemon that removes a dead socket in the same directory.
const LOCK_TIMEOUT: Duration = Duration::from_secs(2);

/// The name of the socket in its private directory.
const SOCKET: &str = "s";

/// Why a unix socket could not be created at its path.
#[derive(Debug, thiserror::Error)]
pub enum SocketFileError {
    #[error("somebody listens there already; stop that process, or choose another path with -H")]
    InUse,
    #[error(
        "there is {0} at that path, and the daemon does not overwrite it; remove it, or choose another path with -H"
    )]
    NotASocket(&'static str),
    #[error("cannot open directory {}: {source}", directory.display())]
    Directory { directory: PathBuf, source: io::Error },
    #[error(
        "cannot give the socket to group {group}: {source}; run the daemon as root or as a member of that group, or choose another with --socket-group"
    )]
    Group { group: u32, source: rustix::io::Errno },
    #[error(
        "another process has held the lock on the directory for {LOCK_TIMEOUT:?}; try again, or choose another path with -H"
    )]
    Locked,
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl From<rustix::io::Errno> for SocketFileError {
    fn from(error: rustix::io::Errno) -> Self {
        Self::Io(error.into())
    }
}

/// The file of a socket that this process created. Dropping it removes the file, unless another file has replaced it.
#[derive(Debug)]
pub(super) struct SocketFile {
    directory: Dir,
    name: OsString,
    device_and_inode: (u64, u64),
}

/// Listens on a socket at `path`, and replaces a dead one. Nobody without `permissions` can connect at any time.
pub(super) fn bind(
    path: &Path,
    backlog: u32,
    permissions: SocketPermissions,
) -> Result<(UnixListener, SocketFile), SocketFileError> {
    let directory = open_directory(path)?;
    let name = path.file_name().ok_or(SocketFileError::NotASocket("a directory"))?;
    let private = PrivateDirectory::new(&directory)?;
    let listener = listen(&private.dir, backlog)?;
    if let Some(group) = permissions.group {
        rustix::fs::chownat(&private.dir, SOCKET, None, Some(Gid::from_raw(group)), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|source| SocketFileError::Group { group, source })?;
    }
    rustix::fs::chmodat(&private.dir, SOCKET, Mode::from_raw_mode(permissions.mode), AtFlags::empty())?;
    let created = private.dir.symlink_metadata(SOCKET)?;
    rename_into_place(&private.dir, &directory, name)?;
    let file = SocketFile { name: name.to_owned(), device_and_inode: (created.dev(), created.ino()), directory };
    Ok((listener, file))
}

#[expect(clippy::disallowed_methods, reason = "the operator named this directory in an address to listen on")]
fn open_directory(path: &Path) -> Result<Dir, SocketFileError> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Dir::open_ambient_dir(directory, cap_std::ambient_authority())
        .map_err(|source| SocketFileError::Directory { directory: directory.to_owned(), source })
}

fn listen(directory: &Dir, backlog: u32) -> Result<UnixListener, SocketFileError> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::net::bind(&socket, &address(directory, OsStr::new(SOCKET))?)?;
    rustix::net::listen(&socket, i32::try_from(backlog).unwrap_or(i32::MAX))?;
    Ok(UnixListener::from_std(socket.into())?)
}

/// Returns the address of a socket in an open directory. It is short no matter how long the path of the directory is, and stays valid if the
/// directory is renamed.
fn address(directory: &Dir, name: &OsStr) -> rustix::io::Result<SocketAddrUnix> {
    let mut path = PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd()));
    path.push(name);
    SocketAddrUnix::new(path.as_path())
}

/// Moves the socket to its name in `directory`, and removes a dead socket there.
fn rename_into_place(from: &Dir, directory: &Dir, name: &OsStr) -> Result<(), SocketFileError> {
    loop {
        match rustix::fs::renameat_with(from, SOCKET, directory, name, RenameFlags::NOREPLACE) {
            Err(rustix::io::Errno::EXIST) => remove_dead(directory, name)?,
            other => return Ok(other?),
        }
    }
}

/// Removes the socket `name` if nobody listens on it. Does nothing if it does not exist.
fn remove_dead(directory: &Dir, name: &OsStr) -> Result<(), SocketFileError> {
    let _lock = lock(directory)?;
    let kind = match directory.symlink_metadata(name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        metadata => metadata?.file_type(),
    };
    if !kind.is_socket() {
        return Err(SocketFileError::NotASocket(match () {
            () if kind.is_dir() => "a directory",
            () if kind.is_symlink() => "a symbolic link",
            () if kind.is_file() => "a file",
            () => "something that is not a socket",
        }));
    }
    let probe = rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        None,
    )?;
    match rustix::net::connect(&probe, &address(directory, name)?) {
        Err(rustix::io::Errno::CONNREFUSED) => Ok(directory.remove_file(name)?),
        // `AGAIN` is a full backlog, `PROTOTYPE` a socket of another type: both have a listener.
        Ok(()) | Err(rustix::io::Errno::AGAIN | rustix::io::Errno::PROTOTYPE) => Err(SocketFileError::InUse),
        Err(rustix::io::Errno::NOENT) => Ok(()),
        Err(other) => Err(other.into()),
    }
}

/// Locks `directory`, so that no other daemon removes sockets there until the lock is dropped.
fn lock(directory: &Dir) -> Result<OwnedFd, SocketFileError> {
    // A `Dir` is opened with `O_PATH`, and such a descriptor cannot be locked.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let lock = rustix::fs::openat(directory, ".", flags, Mode::empty())?;
    let start = Instant::now();
    loop {
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Err(rustix::io::Errno::WOULDBLOCK) if start.elapsed() > LOCK_TIMEOUT => {
                return Err(SocketFileError::Locked);
            }
            Err(rustix::io::Errno::WOULDBLOCK) => std::thread::sleep(Duration::from_millis(5)),
            other => return Ok(other.map(|()| lock)?),
        }
    }
}

/// A new directory with mode 0700. Dropping it removes it.
struct PrivateDirectory {
    parent: Dir,
    name: String,
    dir: Dir,
}

impl PrivateDirectory {
    fn new(parent: &Dir) -> Result<Self, SocketFileError> {
        let name = format!(".capstan-{}-{:08x}", std::process::id(), getrandom::u32().map_err(io::Error::other)?);
        let mut builder = DirBuilder::new();
        builder.mode(0o700);
        parent.create_dir_with(&name, &builder)?;
        Ok(Self { parent: parent.try_clone()?, dir: parent.open_dir(&name)?, name })
    }
}

impl Drop for PrivateDirectory {
    fn drop(&mut self) {
        // If this fails, an empty directory stays behind, which disturbs nobody.
        let _ = self.dir.remove_file(SOCKET);
        let _ = self.parent.remove_dir(&self.name);
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let is_own = self
            .directory
            .symlink_metadata(&self.name)
            .is_ok_and(|found| (found.dev(), found.ino()) == self.device_and_inode);
        if is_own && let Err(error) = self.directory.remove_file(&self.name) {
            tracing::warn!(path = %self.name.as_bytes().escape_ascii(), %error, "cannot remove the socket file");
        }
    }
}
