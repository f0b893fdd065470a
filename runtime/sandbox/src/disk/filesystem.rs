//! `wasi:filesystem` 0.2, all of whose calls go through here: those on mounts are looked at and counted, and handed on.

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

use super::super::host::Host;
use super::super::open_files;
use super::host_fs_errors::Said;
use super::streams::{Reading, Writing};
use super::{Disk, Full, Handle, Leads, Ledger};

/// The file system of a run, with its mounts.
pub(crate) struct Filesystem<'a> {
    wasi: WasiFilesystemCtxView<'a>,
    disk: Option<&'a mut Disk>,
}

/// What a linker calls [`Filesystem`].
pub(crate) struct HasFilesystem;

impl HasData for HasFilesystem {
    type Data<'a> = Filesystem<'a>;
}

impl HasFilesystem {
    /// Takes the place of what the library has put there.
    pub(crate) fn add_to_linker(linker: &mut Linker<Host>) -> Trappable<()> {
        types::add_to_linker::<Host, Self>(linker, filesystem)?;
        preopens::add_to_linker::<Host, Self>(linker, filesystem)
    }
}

fn filesystem(host: &mut Host) -> Filesystem<'_> {
    Filesystem { wasi: host.wasi.filesystem(), disk: host.disk.as_mut() }
}

impl From<Full> for FsError {
    fn from(_: Full) -> Self {
        ErrorCode::Quota.into()
    }
}

type Fd = Resource<Descriptor>;

fn same(fd: &Fd) -> Fd {
    Resource::new_borrow(fd.rep())
}

impl Filesystem<'_> {
    /// The mount that a descriptor belongs to.
    fn at(&self, fd: &Fd) -> Option<(&Arc<Ledger>, usize)> {
        let disk = self.disk.as_ref()?;
        Some((&disk.ledger, disk.handle(fd.rep())?.mount))
    }

    fn count(&self, fd: &Fd) {
        if let Some((ledger, mount)) = self.at(fd) {
            ledger.operation(mount);
        }
    }

    /// An error where `fd` is a file, below which there is no path. The library says the same, but only after what is looked at here.
    fn must_be_directory(&self, fd: &Fd) -> FsResult<()> {
        match self.wasi.table.get(fd)? {
            Descriptor::Dir(_) => Ok(()),
            Descriptor::File(_) => Err(ErrorCode::NotDirectory.into()),
        }
    }

    /// As [`Self::count`]; an error where the mount is one file, of whose directory nothing else may be asked.
    fn in_directory(&self, fd: &Fd) -> FsResult<()> {
        self.count(fd);
        self.must_be_directory(fd)?;
        match self.at(fd) {
            Some((ledger, mount)) if ledger.is_file(mount) => Err(ErrorCode::NotPermitted.into()),
            _ => Ok(()),
        }
    }

    /// As [`Self::count`]; where the mount is one file, its name and no symlinks in the place of what is asked for.
    fn leads(&self, fd: &Fd, flags: &mut PathFlags, path: &mut String) -> FsResult<bool> {
        self.count(fd);
        self.must_be_directory(fd)?;
        let Some((ledger, mount)) = self.at(fd) else { return Ok(false) };
        match ledger.leads(mount, path) {
            Leads::On => Ok(false),
            Leads::To(name) => {
                *path = name;
                *flags = PathFlags::empty();
                Ok(true)
            }
            Leads::Nowhere => Err(ErrorCode::NoEntry.into()),
        }
    }

    fn set(&mut self, fd: &Fd, mount: Option<usize>) {
        if let Some(disk) = &mut self.disk {
            disk.set(fd.rep(), mount.map(|mount| Handle { mount, size: 0 }));
        }
    }

    /// As [`Self::in_directory`] of both; an error where they belong to different mounts, as between file systems: what is moved or linked
    /// would be counted on neither.
    fn on_one_mount(&self, from: &Fd, to: &Fd) -> FsResult<()> {
        self.must_be_directory(from)?;
        self.must_be_directory(to)?;
        self.in_directory(from)?;
        self.in_directory(to)?;
        let mount = |fd| self.at(fd).map(|(_, mount)| mount);
        if mount(from) == mount(to) { Ok(()) } else { Err(ErrorCode::CrossDevice.into()) }
    }

    /// Whether something may be made at `path`: there is room for it, or the library will say why it is not.
    async fn may_make(&mut self, fd: &Fd, path: &str) -> FsResult<()> {
        let Some((ledger, mount)) = self.at(fd) else { return Ok(()) };
        if ledger.room(mount, DiskResource::Files) > 0 {
            return Ok(());
        }
        match self.wasi.stat_at(same(fd), PathFlags::empty(), path.to_owned()).await {
            Ok(_) => return Ok(()),
            // Not for want of room: nothing can be made there.
            Err(error) if error.downcast_ref() == Some(&ErrorCode::NotDirectory) => return Ok(()),
            Err(_) => {}
        }
        self.at(fd).map_or(Ok(()), |(ledger, mount)| Err(ledger.deny(mount, DiskResource::Files).into()))
    }

    /// What a call for room has come to: where the file system had none that is noted, and a quota of its own is told as one.
    async fn told<T>(&mut self, fd: &Fd, what: DiskResource, answer: FsResult<T>) -> FsResult<T> {
        let Err(error) = answer else { return answer };
        let said = match error.downcast_ref() {
            Some(ErrorCode::InsufficientSpace) => Said::Full,
            Some(ErrorCode::Io) => Said::Broken,
            _ => return Err(error),
        };
        let Some((ledger, mount)) = self.at(fd) else { return Err(error) };
        let is_quota = ledger.clone().call_failed(mount, what, said).await;
        Err(if is_quota { ErrorCode::Quota.into() } else { error })
    }

    fn made(&self, fd: &Fd) {
        if let Some((ledger, mount)) = self.at(fd) {
            ledger.made(mount);
        }
    }

    /// Whether it is the directory of a mount that is one file.
    fn is_hidden(&self, fd: &Fd) -> Trappable<bool> {
        let of_file = self.at(fd).is_some_and(|(ledger, mount)| ledger.is_file(mount));
        Ok(of_file && matches!(self.wasi.table.get(fd)?, Descriptor::Dir(_)))
    }

    /// What lies between the end of a file and `offset`, and becomes part of it with what is written there.
    fn hole(&mut self, fd: &Fd, offset: Filesize) -> Trappable<u64> {
        let Some(mut handle) = self.disk.as_ref().and_then(|disk| disk.handle(fd.rep())) else { return Ok(0) };
        if offset > handle.size
            && let Descriptor::File(file) = self.wasi.table.get(fd)?
            && let Some(disk) = &mut self.disk
        {
            // A file whose size cannot be told counts as empty.
            handle.size = file.file.metadata().map_or(0, |metadata| metadata.len());
            disk.set(fd.rep(), Some(handle));
        }
        Ok(offset.saturating_sub(handle.size))
    }

    /// A stream that counts, in the place of the library's, which has looked whether the file may be written.
    fn counted(
        &mut self,
        fd: &Fd,
        stream: Resource<DynOutputStream>,
        at: Option<Filesize>,
    ) -> FsResult<Resource<DynOutputStream>> {
        self.count(fd);
        let Some(handle) = self.disk.as_ref().and_then(|disk| disk.handle(fd.rep())) else { return Ok(stream) };
        let (Some(disk), Descriptor::File(file)) = (&self.disk, self.wasi.table.get(fd)?) else { return Ok(stream) };
        let (ledger, file) = (disk.ledger.clone(), file.file.clone());
        self.wasi.table.delete(stream)?;
        let writing: DynOutputStream = Box::new(Writing::new(ledger, handle.mount, file, at));
        Ok(self.wasi.table.push(writing)?)
    }
}

impl preopens::Host for Filesystem<'_> {
    fn get_directories(&mut self) -> Trappable<Vec<(Fd, String)>> {
        let directories = self.wasi.get_directories()?;
        for (mount, (fd, _)) in directories.iter().enumerate() {
            self.set(fd, Some(mount));
        }
        Ok(directories)
    }
}

impl types::Host for Filesystem<'_> {
    fn convert_error_code(&mut self, error: FsError) -> Trappable<ErrorCode> {
        self.wasi.convert_error_code(error)
    }

    fn filesystem_error_code(&mut self, error: Resource<wasmtime::Error>) -> Trappable<Option<ErrorCode>> {
        let why = self.wasi.table.get(&error)?;
        let is_quota = |error: &io::Error| Errno::from_io_error(error) == Some(Errno::DQUOT);
        if why.is::<Full>() || why.downcast_ref().is_some_and(is_quota) {
            return Ok(Some(ErrorCode::Quota));
        }
        self.wasi.filesystem_error_code(error)
    }
}

/// Counted, and handed on as they are.
macro_rules! counted {
    ($($name:ident($($arg:ident: $type:ty),*) -> $answer:ty;)*) => {$(
        async fn $name(&mut self, fd: Fd, $($arg: $type),*) -> FsResult<$answer> {
            self.count(&fd);
            self.wasi.$name(fd, $($arg),*).await
        }
    )*};
}

/// Counted and handed on, but not where the mount is one file: they change its directory, or tell of it.
macro_rules! in_directories {
    ($($name:ident($($arg:ident: $type:ty),*) -> $answer:ty;)*) => {$(
        async fn $name(&mut self, fd: Fd, $($arg: $type),*) -> FsResult<$answer> {
            self.in_directory(&fd)?;
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
        read_directory() -> Resource<DirectoryEntryStream>;
        set_times_at(flags: PathFlags, path: String, atim: NewTimestamp, mtim: NewTimestamp) -> ();
        readlink_at(path: String) -> String;
        remove_directory_at(path: String) -> ();
        unlink_file_at(path: String) -> ();
    }

    async fn set_times(&mut self, fd: Fd, atim: NewTimestamp, mtim: NewTimestamp) -> FsResult<()> {
        self.count(&fd);
        if self.is_hidden(&fd).map_err(FsError::trap)? {
            return Err(ErrorCode::NotPermitted.into());
        }
        self.wasi.set_times(fd, atim, mtim).await
    }

    async fn set_size(&mut self, fd: Fd, size: Filesize) -> FsResult<()> {
        self.count(&fd);
        let Some((_, mount)) = self.at(&fd) else { return self.wasi.set_size(fd, size).await };
        let growth = size.saturating_sub(self.wasi.stat(same(&fd)).await?.size);
        if let Some((ledger, mount)) = self.at(&fd)
            && growth > ledger.room(mount, DiskResource::Bytes)
        {
            return Err(ledger.deny(mount, DiskResource::Bytes).into());
        }
        let resized = self.wasi.set_size(same(&fd), size).await;
        self.told(&fd, DiskResource::Bytes, resized).await?;
        if let Some(disk) = &mut self.disk {
            disk.ledger.wrote(mount, growth);
            disk.set(fd.rep(), Some(Handle { mount, size }));
        }
        Ok(())
    }

    async fn read(&mut self, fd: Fd, len: Filesize, offset: Filesize) -> FsResult<(Vec<u8>, bool)> {
        let read = self.wasi.read(same(&fd), len, offset).await?;
        if let Some((ledger, mount)) = self.at(&fd) {
            ledger.operation(mount);
            ledger.read(mount, read.0.len() as u64);
        }
        Ok(read)
    }

    async fn write(&mut self, fd: Fd, mut bytes: Vec<u8>, offset: Filesize) -> FsResult<Filesize> {
        self.count(&fd);
        let Some((_, mount)) = self.at(&fd) else { return self.wasi.write(fd, bytes, offset).await };
        let hole = if bytes.is_empty() { 0 } else { self.hole(&fd, offset).map_err(FsError::trap)? };
        if let Some((ledger, mount)) = self.at(&fd) {
            let admitted = ledger.admit(mount, bytes.len() as u64, hole)?;
            bytes.truncate(usize::try_from(admitted).unwrap_or(usize::MAX));
        }
        let written = self.wasi.write(same(&fd), bytes, offset).await;
        let written = self.told(&fd, DiskResource::Bytes, written).await?;
        if let Some(disk) = &mut self.disk
            && written > 0
        {
            disk.ledger.wrote(mount, written.saturating_add(hole));
            let known = disk.handle(fd.rep()).map_or(0, |handle| handle.size);
            let size = known.max(offset.saturating_add(written));
            disk.set(fd.rep(), Some(Handle { mount, size }));
        }
        Ok(written)
    }

    async fn create_directory_at(&mut self, fd: Fd, path: String) -> FsResult<()> {
        self.in_directory(&fd)?;
        self.may_make(&fd, &path).await?;
        let made = self.wasi.create_directory_at(same(&fd), path).await;
        self.told(&fd, DiskResource::Files, made).await?;
        self.made(&fd);
        Ok(())
    }

    async fn symlink_at(&mut self, fd: Fd, target: String, path: String) -> FsResult<()> {
        self.in_directory(&fd)?;
        self.may_make(&fd, &path).await?;
        let made = self.wasi.symlink_at(same(&fd), target, path).await;
        self.told(&fd, DiskResource::Files, made).await?;
        self.made(&fd);
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
        self.on_one_mount(&from, &to)?;
        self.may_make(&to, &to_path).await?;
        let made = self.wasi.link_at(from, flags, from_path, same(&to), to_path).await;
        self.told(&to, DiskResource::Files, made).await?;
        self.made(&to);
        Ok(())
    }

    async fn rename_at(&mut self, from: Fd, from_path: String, to: Fd, to_path: String) -> FsResult<()> {
        self.on_one_mount(&from, &to)?;
        self.wasi.rename_at(from, from_path, to, to_path).await
    }

    async fn stat_at(&mut self, fd: Fd, mut flags: PathFlags, mut path: String) -> FsResult<DescriptorStat> {
        self.leads(&fd, &mut flags, &mut path)?;
        self.wasi.stat_at(fd, flags, path).await
    }

    async fn metadata_hash_at(
        &mut self,
        fd: Fd,
        mut flags: PathFlags,
        mut path: String,
    ) -> FsResult<MetadataHashValue> {
        self.leads(&fd, &mut flags, &mut path)?;
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
        if self.leads(&fd, &mut lookup, &mut path)? {
            // Not made where it is gone.
            how &= !(OpenFlags::CREATE | OpenFlags::EXCLUSIVE);
        }
        let Some((_, mount)) = self.at(&fd) else { return self.wasi.open_at(fd, lookup, path, how, flags).await };
        if !open_files::is_there_room() {
            // It has no word for too many open files.
            return Err(ErrorCode::InsufficientMemory.into());
        }
        // What is there, before it is opened: opening a FIFO could block a thread for ever.
        let makes = match self.wasi.stat_at(same(&fd), lookup, path.clone()).await {
            Ok(there) => can_be_opened(there.type_).map(|()| false)?,
            Err(error) if error.downcast_ref() == Some(&ErrorCode::NoEntry) => how.contains(OpenFlags::CREATE),
            Err(error) => return Err(error),
        };
        if makes
            && let Some((ledger, _)) = self.at(&fd).filter(|(ledger, _)| ledger.room(mount, DiskResource::Files) == 0)
        {
            return Err(ledger.deny(mount, DiskResource::Files).into());
        }
        let opened = self.wasi.open_at(same(&fd), lookup, path, how, flags).await;
        let opened = self.told(&fd, DiskResource::Files, opened).await?;
        if makes {
            self.made(&fd);
        }
        self.set(&opened, Some(mount));
        Ok(opened)
    }

    fn drop(&mut self, fd: Fd) -> Trappable<()> {
        let number = same(&fd);
        HostDescriptor::drop(&mut self.wasi, fd)?;
        self.set(&number, None);
        Ok(())
    }

    fn read_via_stream(&mut self, fd: Fd, offset: Filesize) -> FsResult<Resource<DynInputStream>> {
        self.count(&fd);
        let stream = self.wasi.read_via_stream(same(&fd), offset)?;
        let Some(handle) = self.disk.as_ref().and_then(|disk| disk.handle(fd.rep())) else { return Ok(stream) };
        let Some(disk) = &self.disk else { return Ok(stream) };
        let ledger = disk.ledger.clone();
        let inner = self.wasi.table.delete(stream)?;
        let reading: DynInputStream = Box::new(Reading { inner, ledger, mount: handle.mount });
        Ok(self.wasi.table.push(reading)?)
    }

    fn write_via_stream(&mut self, fd: Fd, offset: Filesize) -> FsResult<Resource<DynOutputStream>> {
        let stream = self.wasi.write_via_stream(same(&fd), offset)?;
        self.counted(&fd, stream, Some(offset))
    }

    fn append_via_stream(&mut self, fd: Fd) -> FsResult<Resource<DynOutputStream>> {
        let stream = self.wasi.append_via_stream(same(&fd))?;
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
        self.wasi.read_directory_entry(stream).await
    }

    fn drop(&mut self, stream: Resource<DirectoryEntryStream>) -> Trappable<()> {
        HostDirectoryEntryStream::drop(&mut self.wasi, stream)
    }
}

/// Files and directories can; a symlink that is not followed is refused by the library.
fn can_be_opened(what: DescriptorType) -> FsResult<()> {
    match what {
        DescriptorType::RegularFile | DescriptorType::Directory | DescriptorType::SymbolicLink => Ok(()),
        _ => Err(ErrorCode::NoSuchDevice.into()),
    }
}
