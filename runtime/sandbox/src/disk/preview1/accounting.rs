//! The checks and counts around the calls of preview 1: the mount of a descriptor, its remaining quota, and the result.

use std::sync::Arc;

use capstan_core::outcome::DiskResource;
use wasmtime_wasi::WasiView as _;
use wasmtime_wasi::p1::types::{Errno, Error, Fd, Fdflags, Filesize, Filetype, Lookupflags, Size};
use wasmtime_wasi::p1::wasi_snapshot_preview1::WasiSnapshotPreview1 as _;
use wiggle::{GuestMemory, GuestPtr};

use super::super::Handle;
use super::super::host_fs_errors::FsFailure;
use super::super::ledger::{Ledger, PathTarget, QuotaExceeded};
use crate::handles;
use crate::host::Host;

pub(super) type Answer<T> = Result<T, Error>;
pub(super) type Path = GuestPtr<str>;

/// A write that the quota admits, at least partly.
pub(super) struct AdmittedWrite {
    /// Bytes that the quota has room for.
    pub(super) admitted: u64,
    /// Bytes between the end of the file and the start of the write, which become part of the file.
    hole: u64,
    /// The offset of the write. `None` if it appends, so that the offset is not known.
    offset: Option<u64>,
}

impl From<QuotaExceeded> for Error {
    fn from(_: QuotaExceeded) -> Self {
        Errno::Dquot.into()
    }
}

impl Host {
    /// Returns the ledger and the handle of a descriptor, or `None` if it belongs to no mount.
    pub(super) fn mount_of(&self, fd: Fd) -> Option<(&Arc<Ledger>, Handle)> {
        let disk = self.disk.as_ref()?;
        Some((&disk.ledger, disk.handle(fd.into())?))
    }

    /// Counts a call on a descriptor, if it belongs to a mount.
    pub(super) fn count(&self, fd: Fd) {
        if let Some((ledger, handle)) = self.mount_of(fd) {
            ledger.count_operation(handle.mount);
        }
    }

    /// Returns an error if `fd` is not a directory: `notdir` for a file or a standard stream, `badf` if it is not open.
    pub(super) async fn must_be_directory(&mut self, memory: &mut GuestMemory<'_>, fd: Fd) -> Answer<()> {
        match self.wasi.fd_fdstat_get(memory, fd).await?.fs_filetype {
            Filetype::Directory => Ok(()),
            _ => Err(Errno::Notdir.into()),
        }
    }

    /// Returns the number that the next resource of the guest gets, or `mfile` if its handles are all in use.
    pub(super) fn next_resource(&mut self) -> Answer<u32> {
        handles::next(self.wasi.ctx().table).ok_or_else(|| Errno::Mfile.into())
    }

    /// Corrects the answer to a call that takes a path below each of `fds`: wasmtime-wasi returns `badf` for everything that is not a
    /// directory, but for an open descriptor `notdir` is right, as on Linux.
    pub(super) async fn explain_badf<T>(
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

    /// Counts the call, and returns an error if the mount is a single file: the guest may not access anything else in its directory.
    pub(super) async fn check_in_directory(&mut self, memory: &mut GuestMemory<'_>, fd: Fd) -> Answer<()> {
        self.count(fd);
        match self.mount_of(fd) {
            Some((ledger, handle)) if ledger.is_file(handle.mount) => {
                self.must_be_directory(memory, fd).await?;
                Err(Errno::Perm.into())
            }
            _ => Ok(()),
        }
    }

    /// Counts the call, and returns the name of the mounted file in its directory on the host. `None` if `path` is in a mounted directory, or
    /// on no mount.
    pub(super) async fn resolve(&mut self, memory: &mut GuestMemory<'_>, fd: Fd, path: Path) -> Answer<Option<String>> {
        self.count(fd);
        let Some((ledger, handle)) = self.mount_of(fd) else { return Ok(None) };
        if !ledger.is_file(handle.mount) {
            return Ok(None);
        }
        match ledger.resolve(handle.mount, &memory.as_cow_str(path)?) {
            PathTarget::InDirectory => Ok(None),
            PathTarget::File(name) => Ok(Some(name)),
            PathTarget::Nothing => {
                self.must_be_directory(memory, fd).await?;
                Err(Errno::Noent.into())
            }
        }
    }

    /// Records which mount a descriptor belongs to.
    pub(super) fn set_handle(&mut self, fd: Fd, handle: Option<Handle>) {
        if let Some(disk) = &mut self.disk {
            disk.set_handle(fd.into(), handle);
        }
    }

    /// Counts the call for both descriptors. Returns an error if a mount is a single file, or if the mounts differ, as between file systems:
    /// what is moved or linked would be counted on neither.
    pub(super) async fn check_same_mount(&mut self, memory: &mut GuestMemory<'_>, from: Fd, to: Fd) -> Answer<()> {
        self.count(from);
        self.count(to);
        let mounts =
            [from, to].map(|fd| self.mount_of(fd).map(|(ledger, handle)| (handle.mount, ledger.is_file(handle.mount))));
        let is_file = mounts.into_iter().flatten().any(|(_, is_file)| is_file);
        if mounts[0] == mounts[1] && !is_file {
            return Ok(());
        }
        self.must_be_directory(memory, from).await?;
        self.must_be_directory(memory, to).await?;
        Err(if is_file { Errno::Perm } else { Errno::Xdev }.into())
    }

    /// Returns an error if the quota has no room for something new at `path`. If nothing can be created there anyway, wasmtime-wasi
    /// is called and reports why.
    pub(super) async fn check_can_create(&mut self, memory: &mut GuestMemory<'_>, fd: Fd, path: Path) -> Answer<()> {
        let Some((ledger, handle)) = self.mount_of(fd) else { return Ok(()) };
        if ledger.remaining(handle.mount, DiskResource::Files) > 0 {
            return Ok(());
        }
        match self.wasi.path_filestat_get(memory, fd, Lookupflags::empty(), path).await {
            Ok(_) => return Ok(()),
            // The reason is not the quota.
            Err(error) if matches!(error.downcast_ref(), Some(Errno::Badf | Errno::Notdir)) => return Ok(()),
            Err(_) => {}
        }
        self.mount_of(fd).map_or(Ok(()), |(ledger, handle)| Err(ledger.deny(handle.mount, DiskResource::Files).into()))
    }

    /// Records it if a call failed because the file system has no more of `resource`. Returns `answer`, but as the error for an exceeded
    /// quota if that is the reason.
    pub(super) async fn record_failure<T>(&mut self, fd: Fd, resource: DiskResource, answer: Answer<T>) -> Answer<T> {
        let Err(error) = answer else { return answer };
        let failure = match error.downcast_ref() {
            Some(Errno::Nospc) => FsFailure::NoSpace,
            Some(Errno::Io) => FsFailure::Io,
            _ => return Err(error),
        };
        let Some((ledger, handle)) = self.mount_of(fd) else { return Err(error) };
        let is_quota = ledger.clone().record_failed_call(handle.mount, resource, failure).await;
        Err(if is_quota { Errno::Dquot.into() } else { error })
    }

    /// Counts something that was created below the directory `fd`.
    pub(super) fn count_created(&self, fd: Fd) {
        if let Some((ledger, handle)) = self.mount_of(fd) {
            ledger.count_created(handle.mount);
        }
    }

    /// Returns how many of `requested` bytes the quota has room for, or `None` if they go to no mount. `offset` is `None` for the current position.
    pub(super) async fn admit_write(
        &mut self,
        memory: &mut GuestMemory<'_>,
        fd: Fd,
        requested: u64,
        offset: Option<Filesize>,
    ) -> Answer<Option<AdmittedWrite>> {
        let Some((_, mut handle)) = self.mount_of(fd) else { return Ok(None) };
        self.count(fd);
        let offset = match offset {
            Some(offset) => offset,
            None => self.wasi.fd_tell(memory, fd)?,
        };
        let mut appends = false;
        if requested > 0 && offset > handle.size {
            appends = self.wasi.fd_fdstat_get(memory, fd).await?.fs_flags.contains(Fdflags::APPEND);
            if !appends {
                handle.size = self.wasi.fd_filestat_get(memory, fd).await?.size;
                self.set_handle(fd, Some(handle));
            }
        }
        let hole = if appends || requested == 0 { 0 } else { offset.saturating_sub(handle.size) };
        let (ledger, _) = self.mount_of(fd).ok_or(Errno::Badf)?;
        let admitted = ledger.admit_write(handle.mount, requested, hole)?;
        Ok(Some(AdmittedWrite { admitted, hole, offset: (!appends).then_some(offset) }))
    }

    /// Counts the bytes of a write that were written.
    pub(super) fn count_written(&mut self, fd: Fd, write: &AdmittedWrite, written: Size) {
        let written = u64::from(written);
        let Some((ledger, mut handle)) = self.mount_of(fd) else { return };
        if written == 0 {
            return;
        }
        ledger.count_written(handle.mount, written.saturating_add(write.hole));
        if let Some(offset) = write.offset {
            handle.size = handle.size.max(offset.saturating_add(written));
            self.set_handle(fd, Some(handle));
        }
    }
}

/// Returns an error unless it is a file or a directory. wasmtime-wasi rejects a symlink that is not followed.
pub(super) fn check_can_open(file_type: Filetype) -> Answer<()> {
    match file_type {
        Filetype::RegularFile | Filetype::Directory | Filetype::SymbolicLink => Ok(()),
        _ => Err(Errno::Nxio.into()),
    }
}

/// Returns `text` as a separate memory, and a pointer to it.
pub(super) fn string_memory(text: &str) -> Answer<(Vec<u8>, Path)> {
    Ok((text.as_bytes().to_vec(), GuestPtr::new((0, u32::try_from(text.len())?))))
}
