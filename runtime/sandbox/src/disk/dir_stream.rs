//! [`DirStream`]: a directory that a guest lists.

use std::fs::File;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir, RawDirEntry, SeekFrom};
use rustix::io::Errno;
use wasmtime_wasi::p1::types::Filetype;

use crate::open_files;

/// Bytes that are listed at a time. A call with a larger buffer takes several parts.
pub(super) const PART_SIZE: usize = 128 << 10;
/// Bytes of the buffer that the kernel fills.
const KERNEL_BUFFER_SIZE: usize = 32 << 10;
/// How many positions a run may have in all its listings, 32 MiB. A guest that lists more entries gets an error.
pub(super) const MAX_POSITIONS: usize = 4 << 20;

/// A directory that a guest lists.
#[derive(Debug)]
pub(super) struct DirStream {
    /// Opened for this listing alone, because its position changes.
    pub(super) directory: Arc<File>,
    /// For each entry listed so far, the position of the next one. A cookie of the guest is an index into it, plus 1. The positions of the
    /// kernel do not fit: they have 64 bits, and `telldir` of a guest returns 32.
    pub(super) positions: Vec<u64>,
}

/// A part of a listing.
#[derive(Default)]
pub(super) struct Part {
    /// Encoded entries. The last one may be cut off.
    pub(super) bytes: Vec<u8>,
    /// The position after each entry that is complete.
    pub(super) positions: Vec<u64>,
    /// Whether the end of the directory follows.
    pub(super) is_end: bool,
}

/// Where a part starts, and how long it may be.
#[derive(Clone, Copy)]
pub(super) struct Start {
    /// The position of the kernel.
    pub(super) position: u64,
    /// The number of entries before it.
    pub(super) index: u64,
    /// How many bytes the part may have.
    pub(super) room: usize,
    /// Whether the last entry is cut off to fill the room. A guest knows by a buffer that is not full that the directory ends there.
    pub(super) cuts: bool,
}

impl DirStream {
    /// Opens `directory` once more.
    ///
    /// # Errors
    /// That of the kernel, or [`Errno::NFILE`] if the process has too many files open.
    pub(super) fn open(directory: &impl AsFd) -> io::Result<Self> {
        if !open_files::may_open_another() {
            return Err(Errno::NFILE.into());
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = rustix::fs::openat(directory, ".", flags, Mode::empty())?;
        Ok(Self { directory: Arc::new(File::from(opened)), positions: Vec::new() })
    }

    /// Returns the position of the entry after the first `index` ones, if these were listed.
    pub(super) fn position(&self, index: usize) -> Option<u64> {
        match index.checked_sub(1) {
            None => Some(0),
            Some(last) => self.positions.get(last).copied(),
        }
    }
}

/// Lists a part of `directory`. Blocks.
pub(super) fn list(directory: &File, start: Start) -> io::Result<Part> {
    rustix::fs::seek(directory, SeekFrom::Start(start.position))?;
    let own = rustix::fs::fstat(directory)?;
    let mut buffer = Vec::with_capacity(KERNEL_BUFFER_SIZE);
    let mut entries = RawDir::new(directory, buffer.spare_capacity_mut());
    let mut part = Part::default();
    while let Some(entry) = entries.next() {
        let entry = entry?;
        // WASI has no way to write a name that is not UTF-8, and the other entries are not at fault.
        let Ok(name) = entry.file_name().to_str() else { continue };
        // A guest must not learn anything about the parent of a mount.
        let inode = if matches!(name, "." | "..") { own.st_ino } else { entry.ino() };
        let next = start.index + part.positions.len() as u64 + 1;
        let before = part.bytes.len();
        part.bytes.extend(next.to_le_bytes());
        part.bytes.extend(inode_hash(own.st_dev, inode).to_le_bytes());
        part.bytes.extend(u32::try_from(name.len()).unwrap_or(u32::MAX).to_le_bytes());
        part.bytes.extend([file_type(directory, &entry) as u8, 0, 0, 0]);
        part.bytes.extend_from_slice(name.as_bytes());
        if part.bytes.len() > start.room {
            part.bytes.truncate(if start.cuts { start.room } else { before });
            return Ok(part);
        }
        part.positions.push(entry.next_entry_cookie());
    }
    part.is_end = true;
    Ok(part)
}

/// Returns the number that stands for an inode. wasmtime-wasi computes those of `fd_filestat_get` in this way, and they must be the same.
fn inode_hash(device: u64, inode: u64) -> u64 {
    let mut hasher = DefaultHasher::new();
    (device, inode).hash(&mut hasher);
    hasher.finish()
}

fn file_type(directory: &File, entry: &RawDirEntry<'_>) -> Filetype {
    let known = match entry.file_type() {
        // Some file systems do not store it.
        FileType::Unknown => {
            let stat = rustix::fs::statat(directory, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW);
            stat.map_or(FileType::Unknown, |stat| FileType::from_raw_mode(stat.st_mode))
        }
        known => known,
    };
    match known {
        FileType::RegularFile => Filetype::RegularFile,
        FileType::Directory => Filetype::Directory,
        FileType::Symlink => Filetype::SymbolicLink,
        FileType::BlockDevice => Filetype::BlockDevice,
        FileType::CharacterDevice => Filetype::CharacterDevice,
        _ => Filetype::Unknown,
    }
}
