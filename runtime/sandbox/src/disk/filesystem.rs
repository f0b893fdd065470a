//! All calls of `wasi:filesystem` 0.2. Those on mounts are checked and counted, then all go to wasmtime-wasi.

use std::io;
use std::sync::Arc;

use capstan_core::outcome::DiskResource;
use rustix::io::Errno;
use wasmtime::Result as Trappable;
use wasmtime::component::{HasData, Linker, Resource};
use wasmtime_wasi::filesystem::{Descriptor, WasiFilesystemCtxView, WasiFilesystemView as _};
use wasmtime_wasi::p2::bindings::filesystem::preopens;
use wasmtime_wasi::p2::bindings::filesystem::types::{
    self, Advice, DescriptorFlags, DescriptorStat, DescriptorType, DirectoryEntry, DirectoryEntryStream, ErrorCode,
    Filesize, HostDescriptor, HostDirectoryEntryStream, MetadataHashValue, NewTimestamp, OpenFlags, PathFlags,
};
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, FsError, FsResult};

use super::host_fs_errors::FsFailure;
use super::ledger::{Ledger, PathTarget, QuotaExceeded};
use super::streams::{FileInputStream, FileOutputStream};
use super::{Disk, Handle};
use crate::handles;
use crate::host::Host;
use crate::open_files;

/// The file system of a run.
pub(crate) struct Filesystem<'a> {
    wasi: WasiFilesystemCtxView<'a>,
    disk: Option<&'a mut Disk>,
}

/// Names [`Filesystem`] to a linker.
pub(crate) struct HasFilesystem;

impl HasData for HasFilesystem {
    type Data<'a> = Filesystem<'a>;
}

impl HasFilesystem {
    /// Replaces the functions that wasmtime-wasi has added to `linker`.
    pub(crate) fn add_to_linker(linker: &mut Linker<Host>) -> Trappable<()> {
        types::add_to_linker::<Host, Self>(linker, filesystem)?;
        preopens::add_to_linker::<Host, Self>(linker, filesystem)
    }
}

/// Returns the file system of a run.
pub(crate) fn filesystem(host: &mut Host) -> Filesystem<'_> {
    Filesystem { wasi: host.wasi.filesystem(), disk: host.disk.as_mut() }
}

impl From<QuotaExceeded> for FsError {
    fn from(_: QuotaExceeded) -> Self {
        ErrorCode::Quota.into()
    }
}

type Fd = Resource<Descriptor>;

/// Returns the same descriptor, borrowed.
fn borrow(fd: &Fd) -> Fd {
    Resource::new_borrow(fd.rep())
}

impl Filesystem<'_> {
    /// Returns the ledger and the mount of a descriptor, or `None` if it belongs to no mount.
    fn mount_of(&self, fd: &Fd) -> Option<(&Arc<Ledger>, usize)> {
        let disk = self.disk.as_ref()?;
        Some((&disk.ledger, disk.handle(fd.rep())?.mount))
    }

    /// Counts a call on a descriptor, if it belongs to a mount.
    fn count(&self, fd: &Fd) {
        if let Some((ledger, mount)) = self.mount_of(fd) {
            ledger.count_operation(mount);
        }
    }

    /// Returns an error if `fd` is a file, which has no paths below it. wasmtime-wasi would return the same, but only after the checks here.
    fn must_be_directory(&self, fd: &Fd) -> FsResult<()> {
        match self.wasi.table.get(fd)? {
            Descriptor::Dir(_) => Ok(()),
            Descriptor::File(_) => Err(ErrorCode::NotDirectory.into()),
        }
    }

    /// Counts the call, and returns an error if the mount is a single file: the guest may not access anything else in its directory.
    fn check_in_directory(&self, fd: &Fd) -> FsResult<()> {
        self.count(fd);
        self.must_be_directory(fd)?;
        match self.mount_of(fd) {
            Some((ledger, mount)) if ledger.is_file(mount) => Err(ErrorCode::NotPermitted.into()),
            _ => Ok(()),
        }
    }

    /// Counts the call. If the mount is a single file, replaces `path` by its name on the host, makes `flags` follow no symlinks, and returns
    /// `true`.
    fn resolve(&self, fd: &Fd, flags: &mut PathFlags, path: &mut String) -> FsResult<bool> {
        self.count(fd);
        self.must_be_directory(fd)?;
        let Some((ledger, mount)) = self.mount_of(fd) else { return Ok(false) };
        match ledger.resolve(mount, path) {
            PathTarget::InDirectory => Ok(false),
            PathTarget::File(name) => {
                *path = name;
                *flags = PathFlags::empty();
                Ok(true)
            }
            PathTarget::Nothing => Err(ErrorCode::NoEntry.into()),
        }
    }

    /// Returns an error if the guest has no handle left for what it opens. WASI 0.2 has no code for too many open files.
    fn check_handles(&mut self) -> FsResult<()> {
        handles::next(self.wasi.table).map(drop).ok_or_else(|| ErrorCode::InsufficientMemory.into())
    }

    /// Records which mount a descriptor belongs to.
    fn set_mount(&mut self, fd: &Fd, mount: Option<usize>) {
        if let Some(disk) = &mut self.disk {
            disk.set_handle(fd.rep(), mount.map(|mount| Handle { mount, size: 0, resource: None }));
        }
    }

    /// Counts the call for both descriptors. Returns an error if a mount is a single file, or if the mounts differ, as between file systems:
    /// what is moved or linked would be counted on neither.
    fn check_same_mount(&self, from: &Fd, to: &Fd) -> FsResult<()> {
        self.must_be_directory(from)?;
        self.must_be_directory(to)?;
        self.check_in_directory(from)?;
        self.check_in_directory(to)?;
        let mount = |fd| self.mount_of(fd).map(|(_, mount)| mount);
        if mount(from) == mount(to) { Ok(()) } else { Err(ErrorCode::CrossDevice.into()) }
    }

    /// Returns an error if the quota has no room for something new at `path`. If nothing can be created there anyway, wasmtime-wasi
    /// is called and reports why.
    async fn check_can_create(&mut self, fd: &Fd, path: &str) -> FsResult<()> {
        let Some((ledger, mount)) = self.mount_of(fd) else { return Ok(()) };
        if ledger.remaining(mount, DiskResource::Files) > 0 {
            return Ok(());
        }
        match self.wasi.stat_at(borrow(fd), PathFlags::empty(), path.to_owned()).await {
            Ok(_) => return Ok(()),
            // The reason is not the quota.
            Err(error) if error.downcast_ref() == Some(&ErrorCode::NotDirectory) => return Ok(()),
            Err(_) => {}
        }
        self.mount_of(fd).map_or(Ok(()), |(ledger, mount)| Err(ledger.deny(mount, DiskResource::Files).into()))
    }

    /// Records it if a call failed because the file system has no more of `resource`. Returns `answer`, but as the error for an exceeded
    /// quota if that is the reason.
    async fn record_failure<T>(&mut self, fd: &Fd, resource: DiskResource, answer: FsResult<T>) -> FsResult<T> {
        let Err(error) = answer else { return answer };
        let failure = match error.downcast_ref() {
            Some(ErrorCode::InsufficientSpace) => FsFailure::NoSpace,
            Some(ErrorCode::Io) => FsFailure::Io,
            _ => return Err(error),
        };
        let Some((ledger, mount)) = self.mount_of(fd) else { return Err(error) };
        let is_quota = ledger.clone().record_failed_call(mount, resource, failure).await;
        Err(if is_quota { ErrorCode::Quota.into() } else { error })
    }

    /// Counts something that was created below the directory `fd`.
    fn count_created(&self, fd: &Fd) {
        if let Some((ledger, mount)) = self.mount_of(fd) {
            ledger.count_created(mount);
        }
    }

    /// Returns whether `fd` is the directory that contains a mounted file. The guest may not change it.
    fn is_parent_of_mounted_file(&self, fd: &Fd) -> Trappable<bool> {
        let is_file = self.mount_of(fd).is_some_and(|(ledger, mount)| ledger.is_file(mount));
        Ok(is_file && matches!(self.wasi.table.get(fd)?, Descriptor::Dir(_)))
    }

    /// Returns the bytes between the end of a file and `offset`, which become part of the file with a write there.
    fn hole(&mut self, fd: &Fd, offset: Filesize) -> Trappable<u64> {
        let Some(mut handle) = self.disk.as_ref().and_then(|disk| disk.handle(fd.rep())) else { return Ok(0) };
        if offset > handle.size
            && let Descriptor::File(file) = self.wasi.table.get(fd)?
            && let Some(disk) = &mut self.disk
        {
            // If the size is not known, the file counts as empty.
            handle.size = file.file.metadata().map_or(0, |metadata| metadata.len());
            disk.set_handle(fd.rep(), Some(handle));
        }
        Ok(offset.saturating_sub(handle.size))
    }

    /// Replaces the `stream` of wasmtime-wasi, which has checked that the file may be written, by one that counts. `offset` is `None` for the
    /// end of the file.
    fn counted(
        &mut self,
        fd: &Fd,
        stream: Resource<DynOutputStream>,
        offset: Option<Filesize>,
    ) -> FsResult<Resource<DynOutputStream>> {
        self.count(fd);
        let Some(handle) = self.disk.as_ref().and_then(|disk| disk.handle(fd.rep())) else { return Ok(stream) };
        let (Some(disk), Descriptor::File(file)) = (&self.disk, self.wasi.table.get(fd)?) else { return Ok(stream) };
        let (ledger, file) = (disk.ledger.clone(), file.file.clone());
        self.wasi.table.delete(stream)?;
        let stream: DynOutputStream = Box::new(FileOutputStream::new(ledger, handle.mount, file, offset));
        Ok(self.wasi.table.push(stream)?)
    }
}

impl preopens::Host for Filesystem<'_> {
    fn get_directories(&mut self) -> Trappable<Vec<(Fd, String)>> {
        let directories = self.wasi.get_directories()?;
        for (mount, (fd, _)) in directories.iter().enumerate() {
            self.set_mount(fd, Some(mount));
        }
        Ok(directories)
    }
}

impl types::Host for Filesystem<'_> {
    fn convert_error_code(&mut self, error: FsError) -> Trappable<ErrorCode> {
        self.wasi.convert_error_code(error)
    }

    fn filesystem_error_code(&mut self, error: Resource<wasmtime::Error>) -> Trappable<Option<ErrorCode>> {
        let cause = self.wasi.table.get(&error)?;
        let is_quota = |error: &io::Error| Errno::from_io_error(error) == Some(Errno::DQUOT);
        if cause.is::<QuotaExceeded>() || cause.downcast_ref().is_some_and(is_quota) {
            return Ok(Some(ErrorCode::Quota));
        }
        self.wasi.filesystem_error_code(error)
    }
}

/// Defines calls that are only counted.
macro_rules! counted {
    ($($name:ident($($arg:ident: $type:ty),*) -> $answer:ty;)*) => {$(
        async fn $name(&mut self, fd: Fd, $($arg: $type),*) -> FsResult<$answer> {
            self.count(&fd);
            self.wasi.$name(fd, $($arg),*).await
        }
    )*};
}

/// Defines calls that are counted, and denied if the mount is a single file, because they change its directory or report about it.
macro_rules! in_directories {
    ($($name:ident($($arg:ident: $type:ty),*) -> $answer:ty;)*) => {$(
        async fn $name(&mut self, fd: Fd, $($arg: $type),*) -> FsResult<$answer> {
            self.check_in_directory(&fd)?;
            self.wasi.$name(fd, $($arg),*).await
        }
    )*};
}

impl HostDescriptor for Filesystem<'_> {
    counted! {
        advise(offset: Filesize, len: Filesize, advice: Advice) -> ();
        sync_data() -> ();
        get_flags() -> DescriptorFlags;
        get_type() -> DescriptorType;
        sync() -> ();
        stat() -> DescriptorStat;
        metadata_hash() -> MetadataHashValue;
    }

    in_directories! {
        set_times_at(flags: PathFlags, path: String, atim: NewTimestamp, mtim: NewTimestamp) -> ();
        readlink_at(path: String) -> String;
        remove_directory_at(path: String) -> ();
        unlink_file_at(path: String) -> ();
    }

    async fn read_directory(&mut self, fd: Fd) -> FsResult<Resource<DirectoryEntryStream>> {
        self.check_in_directory(&fd)?;
        self.check_handles()?;
        self.wasi.read_directory(fd).await
    }

    async fn set_times(&mut self, fd: Fd, atim: NewTimestamp, mtim: NewTimestamp) -> FsResult<()> {
        self.count(&fd);
        if self.is_parent_of_mounted_file(&fd).map_err(FsError::trap)? {
            return Err(ErrorCode::NotPermitted.into());
        }
        self.wasi.set_times(fd, atim, mtim).await
    }

    async fn set_size(&mut self, fd: Fd, size: Filesize) -> FsResult<()> {
        self.count(&fd);
        let Some((_, mount)) = self.mount_of(&fd) else { return self.wasi.set_size(fd, size).await };
        let growth = size.saturating_sub(self.wasi.stat(borrow(&fd)).await?.size);
        if let Some((ledger, mount)) = self.mount_of(&fd)
            && growth > ledger.remaining(mount, DiskResource::Bytes)
        {
            return Err(ledger.deny(mount, DiskResource::Bytes).into());
        }
        let resized = self.wasi.set_size(borrow(&fd), size).await;
        self.record_failure(&fd, DiskResource::Bytes, resized).await?;
        if let Some(disk) = &mut self.disk {
            disk.ledger.count_written(mount, growth);
            disk.set_handle(fd.rep(), Some(Handle { mount, size, resource: None }));
        }
        Ok(())
    }

    async fn read(&mut self, fd: Fd, len: Filesize, offset: Filesize) -> FsResult<(Vec<u8>, bool)> {
        let read = self.wasi.read(borrow(&fd), len, offset).await?;
        if let Some((ledger, mount)) = self.mount_of(&fd) {
            ledger.count_operation(mount);
            ledger.count_read(mount, read.0.len() as u64);
        }
        Ok(read)
    }

    async fn write(&mut self, fd: Fd, mut bytes: Vec<u8>, offset: Filesize) -> FsResult<Filesize> {
        self.count(&fd);
        let Some((_, mount)) = self.mount_of(&fd) else { return self.wasi.write(fd, bytes, offset).await };
        let hole = if bytes.is_empty() { 0 } else { self.hole(&fd, offset).map_err(FsError::trap)? };
        if let Some((ledger, mount)) = self.mount_of(&fd) {
            let admitted = ledger.admit_write(mount, bytes.len() as u64, hole)?;
            bytes.truncate(usize::try_from(admitted).unwrap_or(usize::MAX));
        }
        let written = self.wasi.write(borrow(&fd), bytes, offset).await;
        let written = self.record_failure(&fd, DiskResource::Bytes, written).await?;
        if let Some(disk) = &mut self.disk
            && written > 0
        {
            disk.ledger.count_written(mount, written.saturating_add(hole));
            let known = disk.handle(fd.rep()).map_or(0, |handle| handle.size);
            let size = known.max(offset.saturating_add(written));
            disk.set_handle(fd.rep(), Some(Handle { mount, size, resource: None }));
        }
        Ok(written)
    }

    async fn create_directory_at(&mut self, fd: Fd, path: String) -> FsResult<()> {
        self.check_in_directory(&fd)?;
        self.check_can_create(&fd, &path).await?;
        let created = self.wasi.create_directory_at(borrow(&fd), path).await;
        self.record_failure(&fd, DiskResource::Files, created).await?;
        self.count_created(&fd);
        Ok(())
    }

    async fn symlink_at(&mut self, fd: Fd, target: String, path: String) -> FsResult<()> {
        self.check_in_directory(&fd)?;
        self.check_can_create(&fd, &path).await?;
        let created = self.wasi.symlink_at(borrow(&fd), target, path).await;
        self.record_failure(&fd, DiskResource::Files, created).await?;
        self.count_created(&fd);
        Ok(())
    }

    async fn link_at(
        &mut self,
        from: Fd,
        flags: PathFlags,
        from_path: String,
        to: Fd,
        to_path: String,
    ) -> FsResult<()> {
        self.check_same_mount(&from, &to)?;
        self.check_can_create(&to, &to_path).await?;
        let created = self.wasi.link_at(from, flags, from_path, borrow(&to), to_path).await;
        self.record_failure(&to, DiskResource::Files, created).await?;
        self.count_created(&to);
        Ok(())
    }

    async fn rename_at(&mut self, from: Fd, from_path: String, to: Fd, to_path: String) -> FsResult<()> {
        self.check_same_mount(&from, &to)?;
        self.wasi.rename_at(from, from_path, to, to_path).await
    }

    async fn stat_at(&mut self, fd: Fd, mut flags: PathFlags, mut path: String) -> FsResult<DescriptorStat> {
        self.resolve(&fd, &mut flags, &mut path)?;
        self.wasi.stat_at(fd, flags, path).await
    }

    async fn metadata_hash_at(
        &mut self,
        fd: Fd,
        mut flags: PathFlags,
        mut path: String,
    ) -> FsResult<MetadataHashValue> {
        self.resolve(&fd, &mut flags, &mut path)?;
        self.wasi.metadata_hash_at(fd, flags, path).await
    }

    async fn open_at(
        &mut self,
        fd: Fd,
        mut lookup: PathFlags,
        mut path: String,
        mut how: OpenFlags,
        flags: DescriptorFlags,
    ) -> FsResult<Fd> {
        if self.resolve(&fd, &mut lookup, &mut path)? {
            // If the file was removed, it is not created again.
            how &= !(OpenFlags::CREATE | OpenFlags::EXCLUSIVE);
        }
        let Some((_, mount)) = self.mount_of(&fd) else { return self.wasi.open_at(fd, lookup, path, how, flags).await };
        self.check_handles()?;
        if !open_files::may_open_another() {
            return Err(ErrorCode::InsufficientMemory.into());
        }
        // Checked before opening: opening a FIFO could block a thread forever.
        let creates = match self.wasi.stat_at(borrow(&fd), lookup, path.clone()).await {
            Ok(stat) => check_can_open(stat.type_).map(|()| false)?,
            Err(error) if error.downcast_ref() == Some(&ErrorCode::NoEntry) => how.contains(OpenFlags::CREATE),
            Err(error) => return Err(error),
        };
        if creates
            && let Some((ledger, _)) =
                self.mount_of(&fd).filter(|(ledger, _)| ledger.remaining(mount, DiskResource::Files) == 0)
        {
            return Err(ledger.deny(mount, DiskResource::Files).into());
        }
        let opened = self.wasi.open_at(borrow(&fd), lookup, path, how, flags).await;
        let opened = self.record_failure(&fd, DiskResource::Files, opened).await?;
        if creates {
            self.count_created(&fd);
        }
        self.set_mount(&opened, Some(mount));
        Ok(opened)
    }

    fn drop(&mut self, fd: Fd) -> Trappable<()> {
        let closed = borrow(&fd);
        HostDescriptor::drop(&mut self.wasi, fd)?;
        self.set_mount(&closed, None);
        Ok(())
    }

    fn read_via_stream(&mut self, fd: Fd, offset: Filesize) -> FsResult<Resource<DynInputStream>> {
        self.count(&fd);
        self.check_handles()?;
        let stream = self.wasi.read_via_stream(borrow(&fd), offset)?;
        let Some(handle) = self.disk.as_ref().and_then(|disk| disk.handle(fd.rep())) else { return Ok(stream) };
        let Some(disk) = &self.disk else { return Ok(stream) };
        let ledger = disk.ledger.clone();
        let inner = self.wasi.table.delete(stream)?;
        let stream: DynInputStream = Box::new(FileInputStream { inner, ledger, mount: handle.mount });
        Ok(self.wasi.table.push(stream)?)
    }

    fn write_via_stream(&mut self, fd: Fd, offset: Filesize) -> FsResult<Resource<DynOutputStream>> {
        self.check_handles()?;
        let stream = self.wasi.write_via_stream(borrow(&fd), offset)?;
        self.counted(&fd, stream, Some(offset))
    }

    fn append_via_stream(&mut self, fd: Fd) -> FsResult<Resource<DynOutputStream>> {
        self.check_handles()?;
        let stream = self.wasi.append_via_stream(borrow(&fd))?;
        self.counted(&fd, stream, None)
    }

    async fn is_same_object(&mut self, a: Fd, b: Fd) -> Trappable<bool> {
        self.wasi.is_same_object(a, b).await
    }
}

impl HostDirectoryEntryStream for Filesystem<'_> {
    async fn read_directory_entry(
        &mut self,
        stream: Resource<DirectoryEntryStream>,
    ) -> FsResult<Option<DirectoryEntry>> {
        loop {
            match self.wasi.read_directory_entry(Resource::new_borrow(stream.rep())).await {
                // WASI has no way to write a name that is not UTF-8, and the other entries are not at fault.
                Err(error) if error.downcast_ref() == Some(&ErrorCode::IllegalByteSequence) => {}
                entry => return entry,
            }
        }
    }

    fn drop(&mut self, stream: Resource<DirectoryEntryStream>) -> Trappable<()> {
        HostDirectoryEntryStream::drop(&mut self.wasi, stream)
    }
}

/// Returns an error unless it is a file or a directory. wasmtime-wasi rejects a symlink that is not followed.
fn check_can_open(descriptor_type: DescriptorType) -> FsResult<()> {
    match descriptor_type {
        DescriptorType::RegularFile | DescriptorType::Directory | DescriptorType::SymbolicLink => Ok(()),
        _ => Err(ErrorCode::NoSuchDevice.into()),
    }
}
