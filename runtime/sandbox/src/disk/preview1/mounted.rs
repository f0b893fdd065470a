//! What the calls of preview 1 are looked at for: the mount of a descriptor, the room for what is written or made, and what came of it.

use std::sync::Arc;

use capstan_core::outcome::DiskResource;
use wasmtime_wasi::p1::types::{CiovecArray, Errno, Error, Fd, Fdflags, Filesize, Filetype, Lookupflags, Size};
use wasmtime_wasi::p1::wasi_snapshot_preview1::WasiSnapshotPreview1 as _;
use wiggle::{GuestMemory, GuestPtr};

use super::super::host_fs_errors::Said;
use super::super::{Full, Handle, Leads, Ledger};
use super::{Answer, Path};
use crate::host::Host;

/// The most buffers of one call, as on Linux: each is looked at before anything is written.
const MOST_BUFFERS: u32 = 1024;

/// The most bytes of the last write that fits in part: it is copied.
const MOST_COPIED: u64 = 64 << 10;

/// Bytes to write, where to, and what the file grows by besides.
pub(super) struct Write {
    pub(super) asked: u64,
    pub(super) admitted: u64,
    hole: u64,
    /// Where the file ends afterwards, at least; `None` where that is not known.
    end: Option<u64>,
}

impl From<Full> for Error {
    fn from(_: Full) -> Self {
        Errno::Dquot.into()
    }
}

impl Host {
    /// The mount that a descriptor belongs to.
    pub(super) fn at(&self, fd: Fd) -> Option<(&Arc<Ledger>, Handle)> {
        let disk = self.disk.as_ref()?;
        Some((&disk.ledger, disk.handle(fd.into())?))
    }

    /// Counts a call on a descriptor, where that belongs to a mount.
    pub(super) fn count(&self, fd: Fd) {
        if let Some((ledger, handle)) = self.at(fd) {
            ledger.operation(handle.mount);
        }
    }

    /// An error where `fd` is not a directory: `notdir` for a file or a standard stream, `badf` for what is not open.
    pub(super) async fn must_be_directory(&mut self, memory: &mut GuestMemory<'_>, fd: Fd) -> Answer<()> {
        match self.wasi.fd_fdstat_get(memory, fd).await?.fs_filetype {
            Filetype::Directory => Ok(()),
            _ => Err(Errno::Notdir.into()),
        }
    }

    /// The answer to a call that takes a path below each of `fds`. The library answers `badf` for all that is no directory; of what is open
    /// that is not true, and Linux answers `notdir`.
    pub(super) async fn of_directories<T>(
        &mut self,
        memory: &mut GuestMemory<'_>,
        fds: &[Fd],
        answer: Answer<T>,
    ) -> Answer<T> {
        let Err(error) = answer else { return answer };
        if error.downcast_ref() == Some(&Errno::Badf) {
            for fd in fds {
                self.must_be_directory(memory, *fd).await?;
            }
        }
        Err(error)
    }

    /// As [`Host::count`]; an error where the mount is one file, of whose directory nothing else may be asked.
    pub(super) async fn in_directory(&mut self, memory: &mut GuestMemory<'_>, fd: Fd) -> Answer<()> {
        self.count(fd);
        match self.at(fd) {
            Some((ledger, handle)) if ledger.is_file(handle.mount) => {
                self.must_be_directory(memory, fd).await?;
                Err(Errno::Perm.into())
            }
            _ => Ok(()),
        }
    }

    /// As [`Host::count`]; where the mount is one file, what that is called in its directory.
    pub(super) async fn leads(&mut self, memory: &mut GuestMemory<'_>, fd: Fd, path: Path) -> Answer<Option<String>> {
        self.count(fd);
        let Some((ledger, handle)) = self.at(fd) else { return Ok(None) };
        if !ledger.is_file(handle.mount) {
            return Ok(None);
        }
        match ledger.leads(handle.mount, &memory.as_cow_str(path)?) {
            Leads::On => Ok(None),
            Leads::To(name) => Ok(Some(name)),
            Leads::Nowhere => {
                self.must_be_directory(memory, fd).await?;
                Err(Errno::Noent.into())
            }
        }
    }

    pub(super) fn set(&mut self, fd: Fd, handle: Option<Handle>) {
        if let Some(disk) = &mut self.disk {
            disk.set(fd.into(), handle);
        }
    }

    /// As [`Self::in_directory`] of both; an error where they belong to different mounts, as between file systems: what is moved or linked
    /// would be counted on neither.
    pub(super) async fn on_one_mount(&mut self, memory: &mut GuestMemory<'_>, from: Fd, to: Fd) -> Answer<()> {
        self.count(from);
        self.count(to);
        let mounts =
            [from, to].map(|fd| self.at(fd).map(|(ledger, handle)| (handle.mount, ledger.is_file(handle.mount))));
        let is_file = mounts.into_iter().flatten().any(|(_, is_file)| is_file);
        if mounts[0] == mounts[1] && !is_file {
            return Ok(());
        }
        self.must_be_directory(memory, from).await?;
        self.must_be_directory(memory, to).await?;
        Err(if is_file { Errno::Perm } else { Errno::Xdev }.into())
    }

    /// Whether something may be made at `path`: there is room for it, or the library will say why it is not.
    pub(super) async fn may_make(&mut self, memory: &mut GuestMemory<'_>, fd: Fd, path: Path) -> Answer<()> {
        let Some((ledger, handle)) = self.at(fd) else { return Ok(()) };
        if ledger.room(handle.mount, DiskResource::Files) > 0 {
            return Ok(());
        }
        match self.wasi.path_filestat_get(memory, fd, Lookupflags::empty(), path).await {
            Ok(_) => return Ok(()),
            // Not for want of room: nothing can be made there.
            Err(error) if matches!(error.downcast_ref(), Some(Errno::Badf | Errno::Notdir)) => return Ok(()),
            Err(_) => {}
        }
        self.at(fd).map_or(Ok(()), |(ledger, handle)| Err(ledger.deny(handle.mount, DiskResource::Files).into()))
    }

    /// What a call for room has come to: where the file system had none that is noted, and a quota of its own is told as one.
    pub(super) async fn told<T>(&mut self, fd: Fd, what: DiskResource, answer: Answer<T>) -> Answer<T> {
        let Err(error) = answer else { return answer };
        let said = match error.downcast_ref() {
            Some(Errno::Nospc) => Said::Full,
            Some(Errno::Io) => Said::Broken,
            _ => return Err(error),
        };
        let Some((ledger, handle)) = self.at(fd) else { return Err(error) };
        let is_quota = ledger.clone().call_failed(handle.mount, what, said).await;
        Err(if is_quota { Errno::Dquot.into() } else { error })
    }

    /// Counts what was made.
    pub(super) fn made(&self, fd: Fd) {
        if let Some((ledger, handle)) = self.at(fd) {
            ledger.made(handle.mount);
        }
    }

    /// How much of a write there is room for; `None` where it goes to no mount.
    pub(super) async fn admit(
        &mut self,
        memory: &mut GuestMemory<'_>,
        fd: Fd,
        buffers: CiovecArray,
        at: Option<Filesize>,
    ) -> Answer<Option<Write>> {
        let Some((_, mut handle)) = self.at(fd) else { return Ok(None) };
        self.count(fd);
        let asked = first_length(memory, buffers)?;
        let at = match at {
            Some(at) => at,
            None => self.wasi.fd_tell(memory, fd)?,
        };
        let mut appends = false;
        if asked > 0 && at > handle.size {
            appends = self.wasi.fd_fdstat_get(memory, fd).await?.fs_flags.contains(Fdflags::APPEND);
            if !appends {
                handle.size = self.wasi.fd_filestat_get(memory, fd).await?.size;
                self.set(fd, Some(handle));
            }
        }
        let hole = if appends || asked == 0 { 0 } else { at.saturating_sub(handle.size) };
        let (ledger, _) = self.at(fd).ok_or(Errno::Badf)?;
        let admitted = ledger.admit(handle.mount, asked, hole)?;
        Ok(Some(Write { asked, admitted, hole, end: (!appends).then_some(at) }))
    }

    /// Counts what was written of it.
    pub(super) fn wrote(&mut self, fd: Fd, write: &Write, written: Size) {
        let written = u64::from(written);
        let Some((ledger, mut handle)) = self.at(fd) else { return };
        if written == 0 {
            return;
        }
        ledger.wrote(handle.mount, written.saturating_add(write.hole));
        if let Some(end) = write.end {
            handle.size = handle.size.max(end.saturating_add(written));
            self.set(fd, Some(handle));
        }
    }
}

/// Files and directories can; a symlink that is not followed is refused by the library.
pub(super) fn can_be_opened(what: Filetype) -> Answer<()> {
    match what {
        Filetype::RegularFile | Filetype::Directory | Filetype::SymbolicLink => Ok(()),
        _ => Err(Errno::Nxio.into()),
    }
}

/// Bytes of the first buffer that has any: the one that the library writes.
fn first_length(memory: &GuestMemory<'_>, buffers: CiovecArray) -> Answer<u64> {
    if buffers.len() > MOST_BUFFERS {
        return Err(Errno::Inval.into());
    }
    for buffer in buffers.iter() {
        let buffer = memory.read(buffer?)?;
        if buffer.buf_len > 0 {
            return Ok(buffer.buf_len.into());
        }
    }
    Ok(0)
}

/// The beginning of the first buffer that has any bytes, as a memory of its own with a list of one buffer.
pub(super) fn part(memory: &GuestMemory<'_>, buffers: CiovecArray, count: u64) -> Answer<(Vec<u8>, CiovecArray)> {
    const LIST: u32 = 8;
    let count = u32::try_from(count.min(MOST_COPIED))?;
    for buffer in buffers.iter() {
        let buffer = memory.read(buffer?)?;
        if buffer.buf_len > 0 {
            let bytes = memory.to_vec(buffer.buf.as_array(count))?;
            let mut part = [LIST.to_le_bytes(), count.to_le_bytes()].concat();
            part.extend(bytes);
            return Ok((part, GuestPtr::new((0, 1))));
        }
    }
    Err(Errno::Inval.into())
}

/// A text as a memory of its own.
pub(super) fn text(text: &str) -> Answer<(Vec<u8>, Path)> {
    Ok((text.as_bytes().to_vec(), GuestPtr::new((0, u32::try_from(text.len())?))))
}
