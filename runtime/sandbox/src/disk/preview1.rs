//! All calls of preview 1. Those on mounts are checked and counted, the others go straight to wasmtime-wasi.
//!
//! The descriptors of wasmtime-wasi are private. What Capstan must know about them it finds out with calls that a guest could make too.

mod accounting;
mod readdir;
mod transfer;

use capstan_core::outcome::DiskResource;
use wasmtime::Result as Trappable;
use wasmtime_wasi::p1::types::{
    Advice, CiovecArray, Clockid, Dircookie, Errno, Event, Exitcode, Fd, Fdflags, Fdstat, Filedelta, Filesize,
    Filestat, Filetype, Fstflags, IovecArray, Lookupflags, Oflags, Prestat, Riflags, Rights, Roflags, Sdflags, Siflags,
    Signal, Size, Subscription, Timestamp, UserErrorConversion, Whence,
};
use wasmtime_wasi::p1::wasi_snapshot_preview1::WasiSnapshotPreview1;
use wiggle::{GuestMemory, GuestPtr};

use self::accounting::{Answer, Path, check_can_open, string_memory};
use super::Handle;
use crate::host::Host;
use crate::open_files;

impl UserErrorConversion for Host {}

/// Defines calls that go straight to wasmtime-wasi.
macro_rules! passed_on {
    ($($name:ident($($arg:ident: $type:ty),*) -> $answer:ty;)*) => {$(
        fn $name(&mut self, memory: &mut GuestMemory<'_>, $($arg: $type),*) -> Answer<$answer> {
            self.wasi.$name(memory, $($arg),*)
        }
    )*};
}

/// Defines calls that are only counted.
macro_rules! counted {
    ($($name:ident($fd:ident: Fd $(, $arg:ident: $type:ty)*) -> $answer:ty;)*) => {$(
        async fn $name(&mut self, memory: &mut GuestMemory<'_>, $fd: Fd, $($arg: $type),*) -> Answer<$answer> {
            self.count($fd);
            self.wasi.$name(memory, $fd, $($arg),*).await
        }
    )*};
}

/// Defines calls that are counted, and denied if the mount is a single file, because they change its directory or report about it.
macro_rules! in_directories {
    ($($name:ident($fd:ident: Fd $(, $arg:ident: $type:ty)*) -> $answer:ty;)*) => {$(
        async fn $name(&mut self, memory: &mut GuestMemory<'_>, $fd: Fd, $($arg: $type),*) -> Answer<$answer> {
            self.check_in_directory(memory, $fd).await?;
            let answer = self.wasi.$name(memory, $fd, $($arg),*).await;
            self.explain_badf(memory, &[$fd], answer).await
        }
    )*};
}

impl WasiSnapshotPreview1 for Host {
    fn set_hostcall_fuel(&mut self, fuel: usize) {
        self.wasi.set_hostcall_fuel(fuel);
    }

    passed_on! {
        args_get(argv: GuestPtr<GuestPtr<u8>>, argv_buf: GuestPtr<u8>) -> ();
        args_sizes_get() -> (Size, Size);
        environ_get(environ: GuestPtr<GuestPtr<u8>>, environ_buf: GuestPtr<u8>) -> ();
        environ_sizes_get() -> (Size, Size);
        clock_res_get(id: Clockid) -> Timestamp;
        clock_time_get(id: Clockid, precision: Timestamp) -> Timestamp;
        // wasmtime-wasi does not support it, so it needs no space.
        fd_allocate(fd: Fd, offset: Filesize, len: Filesize) -> ();
        fd_fdstat_set_rights(fd: Fd, base: Rights, inheriting: Rights) -> ();
        fd_prestat_get(fd: Fd) -> Prestat;
        fd_prestat_dir_name(fd: Fd, path: GuestPtr<u8>, path_max_len: Size) -> ();
        fd_tell(fd: Fd) -> Filesize;
        proc_raise(signal: Signal) -> ();
        sched_yield() -> ();
        random_get(buf: GuestPtr<u8>, buf_len: Size) -> ();
        sock_accept(fd: Fd, flags: Fdflags) -> Fd;
        sock_recv(fd: Fd, data: IovecArray, flags: Riflags) -> (Size, Roflags);
        sock_send(fd: Fd, data: CiovecArray, flags: Siflags) -> Size;
        sock_shutdown(fd: Fd, how: Sdflags) -> ();
    }

    counted! {
        fd_advise(fd: Fd, offset: Filesize, len: Filesize, advice: Advice) -> ();
        fd_datasync(fd: Fd) -> ();
        fd_filestat_get(fd: Fd) -> Filestat;
        fd_seek(fd: Fd, offset: Filedelta, whence: Whence) -> Filesize;
        fd_sync(fd: Fd) -> ();
    }

    in_directories! {
        path_filestat_set_times(
            fd: Fd, flags: Lookupflags, path: Path, atim: Timestamp, mtim: Timestamp, fst_flags: Fstflags
        ) -> ();
        path_readlink(fd: Fd, path: Path, buf: GuestPtr<u8>, buf_len: Size) -> Size;
        path_remove_directory(fd: Fd, path: Path) -> ();
        path_unlink_file(fd: Fd, path: Path) -> ();
    }

    fn proc_exit(&mut self, memory: &mut GuestMemory<'_>, status: Exitcode) -> wasmtime::Error {
        self.wasi.proc_exit(memory, status)
    }

    async fn poll_oneoff(
        &mut self,
        memory: &mut GuestMemory<'_>,
        subscriptions: GuestPtr<Subscription>,
        events: GuestPtr<Event>,
        count: Size,
    ) -> Answer<Size> {
        self.wasi.poll_oneoff(memory, subscriptions, events, count).await
    }

    async fn fd_filestat_set_times(
        &mut self,
        memory: &mut GuestMemory<'_>,
        fd: Fd,
        atim: Timestamp,
        mtim: Timestamp,
        flags: Fstflags,
    ) -> Answer<()> {
        self.count(fd);
        let is_directory = async |host: &mut Self, memory: &mut GuestMemory<'_>| -> Answer<bool> {
            Ok(host.wasi.fd_filestat_get(memory, fd).await?.filetype == Filetype::Directory)
        };
        if self.mount_of(fd).is_some_and(|(ledger, handle)| ledger.is_file(handle.mount))
            && is_directory(self, memory).await?
        {
            return Err(Errno::Perm.into());
        }
        self.wasi.fd_filestat_set_times(memory, fd, atim, mtim, flags).await
    }

    fn fd_fdstat_set_flags(&mut self, memory: &mut GuestMemory<'_>, fd: Fd, flags: Fdflags) -> Answer<()> {
        match self.stdio.set_flags(fd, flags) {
            Some(answer) => answer,
            None => self.wasi.fd_fdstat_set_flags(memory, fd, flags),
        }
    }

    async fn fd_fdstat_get(&mut self, memory: &mut GuestMemory<'_>, fd: Fd) -> Answer<Fdstat> {
        self.count(fd);
        let mut stat = self.wasi.fd_fdstat_get(memory, fd).await?;
        if self.stdio.is_nonblocking(fd) {
            stat.fs_flags |= Fdflags::NONBLOCK;
        }
        Ok(stat)
    }

    async fn fd_close(&mut self, memory: &mut GuestMemory<'_>, fd: Fd) -> Answer<()> {
        self.wasi.fd_close(memory, fd).await?;
        self.stdio.remove(fd);
        self.set_handle(fd, None);
        Ok(())
    }

    async fn fd_renumber(&mut self, memory: &mut GuestMemory<'_>, from: Fd, to: Fd) -> Answer<()> {
        self.wasi.fd_renumber(memory, from, to).await?;
        if u32::from(from) != u32::from(to) {
            let moved = self.disk.as_ref().and_then(|disk| disk.handle(from.into()));
            self.stdio.remove(from);
            self.stdio.remove(to);
            self.set_handle(from, None);
            self.set_handle(to, moved);
        }
        Ok(())
    }

    async fn fd_readdir(
        &mut self,
        memory: &mut GuestMemory<'_>,
        fd: Fd,
        buffer: GuestPtr<u8>,
        size: Size,
        cookie: Dircookie,
    ) -> Answer<Size> {
        self.check_in_directory(memory, fd).await?;
        let listed = self.read_directory(memory, fd, buffer, size, cookie).await;
        self.explain_badf(memory, &[fd], listed).await
    }

    async fn fd_read(&mut self, memory: &mut GuestMemory<'_>, fd: Fd, buffers: IovecArray) -> Answer<Size> {
        self.read(memory, fd, buffers, None).await
    }

    async fn fd_pread(
        &mut self,
        memory: &mut GuestMemory<'_>,
        fd: Fd,
        buffers: IovecArray,
        offset: Filesize,
    ) -> Answer<Size> {
        self.read(memory, fd, buffers, Some(offset)).await
    }

    async fn fd_write(&mut self, memory: &mut GuestMemory<'_>, fd: Fd, buffers: CiovecArray) -> Answer<Size> {
        self.write(memory, fd, buffers, None).await
    }

    async fn fd_pwrite(
        &mut self,
        memory: &mut GuestMemory<'_>,
        fd: Fd,
        buffers: CiovecArray,
        offset: Filesize,
    ) -> Answer<Size> {
        self.write(memory, fd, buffers, Some(offset)).await
    }

    async fn fd_filestat_set_size(&mut self, memory: &mut GuestMemory<'_>, fd: Fd, size: Filesize) -> Answer<()> {
        let Some((_, handle)) = self.mount_of(fd) else {
            return self.wasi.fd_filestat_set_size(memory, fd, size).await;
        };
        self.count(fd);
        let growth = size.saturating_sub(self.wasi.fd_filestat_get(memory, fd).await?.size);
        let (ledger, _) = self.mount_of(fd).ok_or(Errno::Badf)?;
        if growth > ledger.remaining(handle.mount, DiskResource::Bytes) {
            return Err(ledger.deny(handle.mount, DiskResource::Bytes).into());
        }
        let resized = self.wasi.fd_filestat_set_size(memory, fd, size).await;
        self.record_failure(fd, DiskResource::Bytes, resized).await?;
        if let Some((ledger, handle)) = self.mount_of(fd) {
            ledger.count_written(handle.mount, growth);
        }
        self.set_handle(fd, Some(Handle { size, ..handle }));
        Ok(())
    }

    async fn path_filestat_get(
        &mut self,
        memory: &mut GuestMemory<'_>,
        fd: Fd,
        flags: Lookupflags,
        path: Path,
    ) -> Answer<Filestat> {
        let there = match self.resolve(memory, fd, path).await? {
            None => self.wasi.path_filestat_get(memory, fd, flags, path).await,
            Some(name) => {
                let (mut host_memory, path) = string_memory(&name)?;
                let flags = Lookupflags::empty();
                self.wasi.path_filestat_get(&mut GuestMemory::Unshared(&mut host_memory), fd, flags, path).await
            }
        };
        self.explain_badf(memory, &[fd], there).await
    }

    async fn path_create_directory(&mut self, memory: &mut GuestMemory<'_>, fd: Fd, path: Path) -> Answer<()> {
        self.check_in_directory(memory, fd).await?;
        self.check_can_create(memory, fd, path).await?;
        let created = self.wasi.path_create_directory(memory, fd, path).await;
        let created = self.explain_badf(memory, &[fd], created).await;
        self.record_failure(fd, DiskResource::Files, created).await?;
        self.count_created(fd);
        Ok(())
    }

    async fn path_symlink(&mut self, memory: &mut GuestMemory<'_>, target: Path, fd: Fd, path: Path) -> Answer<()> {
        self.check_in_directory(memory, fd).await?;
        self.check_can_create(memory, fd, path).await?;
        let created = self.wasi.path_symlink(memory, target, fd, path).await;
        let created = self.explain_badf(memory, &[fd], created).await;
        self.record_failure(fd, DiskResource::Files, created).await?;
        self.count_created(fd);
        Ok(())
    }

    async fn path_link(
        &mut self,
        memory: &mut GuestMemory<'_>,
        from: Fd,
        flags: Lookupflags,
        from_path: Path,
        to: Fd,
        to_path: Path,
    ) -> Answer<()> {
        self.check_same_mount(memory, from, to).await?;
        // Checked before the quota: a call that cannot create anything must not be recorded as denied by it.
        self.must_be_directory(memory, from).await?;
        self.check_can_create(memory, to, to_path).await?;
        let created = self.wasi.path_link(memory, from, flags, from_path, to, to_path).await;
        let created = self.explain_badf(memory, &[from, to], created).await;
        self.record_failure(to, DiskResource::Files, created).await?;
        self.count_created(to);
        Ok(())
    }

    async fn path_rename(
        &mut self,
        memory: &mut GuestMemory<'_>,
        from: Fd,
        from_path: Path,
        to: Fd,
        to_path: Path,
    ) -> Answer<()> {
        self.check_same_mount(memory, from, to).await?;
        let renamed = self.wasi.path_rename(memory, from, from_path, to, to_path).await;
        self.explain_badf(memory, &[from, to], renamed).await
    }

    async fn path_open(
        &mut self,
        memory: &mut GuestMemory<'_>,
        dir: Fd,
        lookup: Lookupflags,
        path: Path,
        how: Oflags,
        rights: Rights,
        inheriting: Rights,
        flags: Fdflags,
    ) -> Answer<Fd> {
        let Some((_, handle)) = self.mount_of(dir) else {
            let opened = self.wasi.path_open(memory, dir, lookup, path, how, rights, inheriting, flags).await;
            return self.explain_badf(memory, &[dir], opened).await;
        };
        let mount = handle.mount;
        let mounted_file = self.resolve(memory, dir, path).await?;
        if !open_files::may_open_another() {
            return Err(Errno::Nfile.into());
        }
        let resource = self.next_resource()?;
        if let Some(name) = mounted_file {
            // If the file was removed, it is not created again; and a symlink is not followed.
            let (lookup, how) = (Lookupflags::empty(), how & !(Oflags::CREAT | Oflags::EXCL));
            let (mut host_memory, path) = string_memory(&name)?;
            let memory = &mut GuestMemory::Unshared(&mut host_memory);
            let there = self.wasi.path_filestat_get(memory, dir, lookup, path).await;
            check_can_open(self.explain_badf(memory, &[dir], there).await?.filetype)?;
            let opened = self.wasi.path_open(memory, dir, lookup, path, how, rights, inheriting, flags).await?;
            self.set_handle(opened, Some(Handle { mount, size: 0, resource: Some(resource) }));
            return Ok(opened);
        }
        // Checked before opening: opening a FIFO could block a thread forever.
        let creates = match self.wasi.path_filestat_get(memory, dir, lookup, path).await {
            Ok(there) => check_can_open(there.filetype).map(|()| false)?,
            Err(error) if error.downcast_ref() == Some(&Errno::Noent) => how.contains(Oflags::CREAT),
            Err(error) => return self.explain_badf(memory, &[dir], Err(error)).await,
        };
        if creates
            && let Some((ledger, _)) =
                self.mount_of(dir).filter(|(ledger, _)| ledger.remaining(mount, DiskResource::Files) == 0)
        {
            return Err(ledger.deny(mount, DiskResource::Files).into());
        }
        let opened = self.wasi.path_open(memory, dir, lookup, path, how, rights, inheriting, flags).await;
        let opened = self.record_failure(dir, DiskResource::Files, opened).await?;
        if creates {
            self.count_created(dir);
        }
        self.set_handle(opened, Some(Handle { mount, size: 0, resource: Some(resource) }));
        Ok(opened)
    }
}

/// Adds all calls of preview 1 to `linker`.
pub(crate) fn add_to_linker(linker: &mut wasmtime::Linker<Host>) -> Trappable<()> {
    wasmtime_wasi::p1::wasi_snapshot_preview1::add_to_linker(linker, |host: &mut Host| host)
}
