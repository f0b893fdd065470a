//! `fd_readdir`.
//!
//! wasmtime-wasi reads the whole directory for each part of it that a guest requests, and counts entries from its start. So it takes hours
//! for 100,000 entries, skips some if others are removed meanwhile, and fails if one name is not UTF-8. Capstan reads the directory itself,
//! from the position that the kernel gave for the last entry.

use std::io;

use wasmtime::component::Resource;
use wasmtime_wasi::WasiView as _;
use wasmtime_wasi::filesystem::Descriptor;
use wasmtime_wasi::p1::types::{Dircookie, Errno, Fd, Size};
use wasmtime_wasi::p1::wasi_snapshot_preview1::WasiSnapshotPreview1 as _;
use wiggle::{GuestMemory, GuestPtr};

use super::super::dir_stream::{self, DirStream, MAX_POSITIONS, PART_SIZE, Start};
use super::accounting::Answer;
use crate::host::Host;

impl Host {
    /// Writes the entries of the directory `fd` after the first `cookie` ones to `buffer`, as far as they fit.
    pub(super) async fn read_directory(
        &mut self,
        memory: &mut GuestMemory<'_>,
        fd: Fd,
        buffer: GuestPtr<u8>,
        size: Size,
        cookie: Dircookie,
    ) -> Answer<Size> {
        let mut index = usize::try_from(cookie)?;
        let mut done = 0;
        loop {
            let Some(stream) = self.dir_stream(fd)? else {
                // It is not a directory of a mount, so this fails.
                return self.wasi.fd_readdir(memory, fd, buffer, size, cookie).await;
            };
            // Nothing follows a cookie that the guest invented.
            let Some(position) = stream.position(index) else { return Ok(done) };
            let room = (size - done) as usize;
            let start = Start { position, index: index as u64, room: room.min(PART_SIZE), cuts: room <= PART_SIZE };
            let directory = stream.directory.clone();
            let part = tokio::task::spawn_blocking(move || dir_stream::list(&directory, start)).await;
            let part = part.map_err(|_| Errno::Io)?.map_err(|error| errno(&error))?;
            let length = u32::try_from(part.bytes.len())?;
            memory.copy_from_slice(&part.bytes, buffer.add(done)?.as_array(length))?;
            self.remember_positions(fd, index, &part.positions)?;
            done += length;
            index += part.positions.len();
            if part.is_end || start.cuts {
                return Ok(done);
            }
        }
    }

    /// Returns the listing of the directory `fd`, or `None` if it is not a directory of a mount.
    fn dir_stream(&mut self, fd: Fd) -> Answer<Option<&DirStream>> {
        let number = u32::from(fd);
        let Some((ledger, handle)) = self.mount_of(fd) else { return Ok(None) };
        let ledger = ledger.clone();
        if self.disk.as_ref().is_some_and(|disk| !disk.dir_streams.contains_key(&number)) {
            let stream = match handle.resource {
                None => DirStream::open(ledger.dir(handle.mount)),
                Some(rep) => match self.wasi.ctx().table.get(&Resource::<Descriptor>::new_borrow(rep)) {
                    Ok(Descriptor::Dir(directory)) => DirStream::open(&directory.dir),
                    _ => return Ok(None),
                },
            }
            .map_err(|error| errno(&error))?;
            if let Some(disk) = &mut self.disk {
                disk.dir_streams.insert(number, stream);
            }
        }
        Ok(self.disk.as_ref().and_then(|disk| disk.dir_streams.get(&number)))
    }

    /// Stores the positions after the entries from number `index` on.
    fn remember_positions(&mut self, fd: Fd, index: usize, positions: &[u64]) -> Answer<()> {
        let Some(disk) = &mut self.disk else { return Ok(()) };
        let total: usize = disk.dir_streams.values().map(|stream| stream.positions.len()).sum();
        if total + positions.len() > MAX_POSITIONS {
            return Err(Errno::Nomem.into());
        }
        if let Some(DirStream { positions: known, .. }) = disk.dir_streams.get_mut(&u32::from(fd)) {
            let replaced = positions.len().min(known.len().saturating_sub(index));
            known.splice(index..index + replaced, positions.iter().copied());
        }
        Ok(())
    }
}

fn errno(error: &io::Error) -> Errno {
    match rustix::io::Errno::from_io_error(error) {
        Some(rustix::io::Errno::ACCESS) => Errno::Acces,
        Some(rustix::io::Errno::PERM) => Errno::Perm,
        Some(rustix::io::Errno::NOENT) => Errno::Noent,
        Some(rustix::io::Errno::MFILE | rustix::io::Errno::NFILE) => Errno::Nfile,
        Some(rustix::io::Errno::NOMEM) => Errno::Nomem,
        _ => Errno::Io,
    }
}
