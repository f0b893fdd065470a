//! The file of a unix socket: how it comes to its path, and how it goes.
//!
//! The socket is made in a private folder beside its path, given its mode there, and then renamed to its path, which fails if there is
//! anything: so there is no moment at which it has another mode or nobody listens on it, and nothing of anyone else's is overwritten.
//! Only a socket that nobody listens on is removed, under a lock on the folder, so that of two daemons that find the same dead socket
//! neither removes the new one of the other. The ancestor unlinked whatever it found, a live daemon's socket included.

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

use super::access::Access;

/// How long another daemon that removes a dead socket in the same folder is waited for.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);

/// Why a unix socket could not be made at its path.
#[derive(Debug, thiserror::Error)]
pub enum SocketFileError {
    #[error("somebody listens there already; stop that daemon, or choose another path")]
    Live,
    #[error("there is {0} at that path, which is not removed; remove it, or choose another path")]
    NotASocket(&'static str),
    #[error("folder {}: {source}", folder.display())]
    Folder { folder: PathBuf, source: io::Error },
    #[error("cannot give it to group {group}: {source}")]
    Group { group: u32, source: rustix::io::Errno },
    #[error("the folder is locked by another process")]
    Locked,
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl From<rustix::io::Errno> for SocketFileError {
    fn from(error: rustix::io::Errno) -> Self {
        Self::Io(error.into())
    }
}

/// The file of a socket of ours; dropping it removes the file, if it is still ours.
#[derive(Debug)]
pub(super) struct SocketFile {
    folder: Dir,
    name: OsString,
    device_and_inode: (u64, u64),
}

/// Listens on a socket at `path`, in place of a dead one, open to those of `access` and nobody else at any moment.
pub(super) fn bind(path: &Path, backlog: u32, access: Access) -> Result<(UnixListener, SocketFile), SocketFileError> {
    let folder = open_folder(path)?;
    let name = path.file_name().ok_or(SocketFileError::NotASocket("a folder"))?;
    let private = PrivateFolder::new(&folder)?;
    let listener = listen(&private.dir, backlog)?;
    if let Some(group) = access.group {
        rustix::fs::chownat(&private.dir, SOCKET, None, Some(Gid::from_raw(group)), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|source| SocketFileError::Group { group, source })?;
    }
    rustix::fs::chmodat(&private.dir, SOCKET, Mode::from_raw_mode(access.mode), AtFlags::empty())?;
    let made = private.dir.symlink_metadata(SOCKET)?;
    put(&private.dir, &folder, name)?;
    let file = SocketFile { name: name.to_owned(), device_and_inode: (made.dev(), made.ino()), folder };
    Ok((listener, file))
}

const SOCKET: &str = "s";

#[expect(clippy::disallowed_methods, reason = "the operator named this folder in an address to listen on")]
fn open_folder(path: &Path) -> Result<Dir, SocketFileError> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Dir::open_ambient_dir(folder, cap_std::ambient_authority())
        .map_err(|source| SocketFileError::Folder { folder: folder.to_owned(), source })
}

fn listen(folder: &Dir, backlog: u32) -> Result<UnixListener, SocketFileError> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::net::bind(&socket, &address(folder, OsStr::new(SOCKET))?)?;
    rustix::net::listen(&socket, i32::try_from(backlog).unwrap_or(i32::MAX))?;
    Ok(UnixListener::from_std(socket.into())?)
}

/// The address of a socket in an open folder: short however long the folder's path is, and free of races with who renames it.
fn address(folder: &Dir, name: &OsStr) -> rustix::io::Result<SocketAddrUnix> {
    let mut path = PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd()));
    path.push(name);
    SocketAddrUnix::new(path.as_path())
}

fn put(from: &Dir, folder: &Dir, name: &OsStr) -> Result<(), SocketFileError> {
    loop {
        match rustix::fs::renameat_with(from, SOCKET, folder, name, RenameFlags::NOREPLACE) {
            Err(rustix::io::Errno::EXIST) => remove_dead(folder, name)?,
            other => return Ok(other?),
        }
    }
}

/// Removes the socket `name` if nobody listens on it; does nothing if it is gone already.
fn remove_dead(folder: &Dir, name: &OsStr) -> Result<(), SocketFileError> {
    let _lock = lock(folder)?;
    let kind = match folder.symlink_metadata(name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        metadata => metadata?.file_type(),
    };
    if !kind.is_socket() {
        return Err(SocketFileError::NotASocket(match () {
            () if kind.is_dir() => "a folder",
            () if kind.is_symlink() => "a symbolic link",
            () if kind.is_file() => "a file",
            () => "something that is no socket",
        }));
    }
    let probe = rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        None,
    )?;
    match rustix::net::connect(&probe, &address(folder, name)?) {
        Err(rustix::io::Errno::CONNREFUSED) => Ok(folder.remove_file(name)?),
        // A full backlog too is somebody's.
        Ok(()) | Err(rustix::io::Errno::AGAIN | rustix::io::Errno::PROTOTYPE) => Err(SocketFileError::Live),
        Err(rustix::io::Errno::NOENT) => Ok(()),
        Err(other) => Err(other.into()),
    }
}

/// Keeps other daemons from removing sockets in `folder` until it is dropped.
fn lock(folder: &Dir) -> Result<OwnedFd, SocketFileError> {
    // A `Dir` is open for its path alone, which cannot be locked.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let lock = rustix::fs::openat(folder, ".", flags, Mode::empty())?;
    let began = Instant::now();
    loop {
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Err(rustix::io::Errno::WOULDBLOCK) if began.elapsed() > LOCK_PATIENCE => {
                return Err(SocketFileError::Locked);
            }
            Err(rustix::io::Errno::WOULDBLOCK) => std::thread::sleep(Duration::from_millis(5)),
            other => return Ok(other.map(|()| lock)?),
        }
    }
}

/// A folder of mode 0700 that nobody else looks into; dropping it removes it.
struct PrivateFolder {
    parent: Dir,
    name: String,
    dir: Dir,
}

impl PrivateFolder {
    fn new(parent: &Dir) -> Result<Self, SocketFileError> {
        let name = format!(".capstan-{}-{:08x}", std::process::id(), getrandom::u32().map_err(io::Error::other)?);
        let mut builder = DirBuilder::new();
        builder.mode(0o700);
        parent.create_dir_with(&name, &builder)?;
        Ok(Self { parent: parent.try_clone()?, dir: parent.open_dir(&name)?, name })
    }
}

impl Drop for PrivateFolder {
    fn drop(&mut self) {
        // Where nothing can be removed, an empty folder stays behind and is in nobody's way.
        let _ = self.dir.remove_file(SOCKET);
        let _ = self.parent.remove_dir(&self.name);
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let ours = self
            .folder
            .symlink_metadata(&self.name)
            .is_ok_and(|found| (found.dev(), found.ino()) == self.device_and_inode);
        if ours && let Err(error) = self.folder.remove_file(&self.name) {
            tracing::warn!(path = %self.name.as_bytes().escape_ascii(), %error, "cannot remove the socket");
        }
    }
}
