//! Reads and writes of preview 1, whatever the size of the buffer.
//!
//! wasmtime-wasi moves the first buffer that is not empty, and fails if it is larger than the limit on host copies. POSIX permits a call to
//! move less, so a call with a larger buffer moves pieces, and continues until the buffer is full, as the kernel does.
//!
//! The standard streams are those of [`stdio`].

use capstan_core::outcome::DiskResource;
use wasmtime_wasi::p1::types::{CiovecArray, Errno, Fd, Filesize, IovecArray, Size};
use wasmtime_wasi::p1::wasi_snapshot_preview1::WasiSnapshotPreview1 as _;
use wiggle::{GuestMemory, GuestPtr, GuestType};

use super::accounting::Answer;
use crate::host::Host;
use crate::stdio::{self, Stdout};

/// How many buffers one call may have, as on Linux. Each is read before anything is moved.
const MAX_BUFFERS: u32 = 1024;
/// A larger buffer is moved in pieces. With the list of buffers it is within the limit on host copies, 8 MiB.
const MAX_WHOLE: u32 = (8 << 20) - MAX_BUFFERS * 8;
/// Bytes that wasmtime-wasi reads at an offset in one call.
const MAX_AT_OFFSET: u32 = 64 << 10;
/// Bytes of a piece.
const PIECE_SIZE: u32 = 1 << 20;
/// Bytes of the list of one buffer: an address and a length.
const LIST_SIZE: u32 = 8;

/// A part of a transfer, as a separate memory: a list of one buffer, then the buffer.
struct Piece(Vec<u8>);

impl Piece {
    /// Creates a piece for up to `length` bytes.
    fn new(length: u32) -> Self {
        Self(vec![0; (LIST_SIZE + length) as usize])
    }

    /// Creates a piece with a copy of `source`.
    fn copy_of(memory: &GuestMemory<'_>, source: GuestPtr<[u8]>) -> Answer<Self> {
        let mut piece = Vec::with_capacity((LIST_SIZE + source.len()) as usize);
        piece.extend([0; LIST_SIZE as usize]);
        piece.extend_from_slice(&memory.as_cow(source)?);
        Ok(Self(piece))
    }

    /// Makes the list of buffers have one of `length` bytes, and returns the memory.
    fn memory(&mut self, length: u32) -> GuestMemory<'_> {
        let list = [LIST_SIZE.to_le_bytes(), length.to_le_bytes()].concat();
        self.0[..LIST_SIZE as usize].copy_from_slice(&list);
        GuestMemory::Unshared(&mut self.0)
    }

    fn bytes(&self, length: u32) -> &[u8] {
        &self.0[LIST_SIZE as usize..][..length as usize]
    }

    /// Returns the address of the list.
    fn list<T>() -> GuestPtr<[T]> {
        GuestPtr::new((0, 1))
    }
}

impl Host {
    /// Reads at `offset`, or at the current position.
    pub(super) async fn read(
        &mut self,
        memory: &mut GuestMemory<'_>,
        fd: Fd,
        buffers: IovecArray,
        offset: Option<Filesize>,
    ) -> Answer<Size> {
        let buffer = first_buffer(memory, buffers, |buffer| buffer.buf.as_array(buffer.buf_len))?;
        if self.stdio.index(fd) == Some(0) && offset.is_none() {
            return self.read_stdin(memory, fd, buffer).await;
        }
        let max_whole = if offset.is_some() { MAX_AT_OFFSET } else { MAX_WHOLE };
        let read = if buffer.len() <= max_whole {
            self.read_whole(memory, fd, buffers, offset).await?
        } else {
            self.read_pieces(memory, fd, buffer, offset).await?
        };
        if let Some((ledger, handle)) = self.mount_of(fd) {
            ledger.count_operation(handle.mount);
            ledger.count_read(handle.mount, read.into());
        }
        Ok(read)
    }

    /// Reads what has arrived on stdin. Waits for it, unless the guest has made stdin one that does not block.
    async fn read_stdin(&mut self, memory: &mut GuestMemory<'_>, fd: Fd, buffer: GuestPtr<[u8]>) -> Answer<Size> {
        if self.stdio.is_nonblocking(fd) {
            stdio::check_readable(&self.stdin)?;
        }
        let Some(target) = memory.as_slice_mut(buffer)?.filter(|target| !target.is_empty()) else { return Ok(0) };
        Ok(u32::try_from(std::future::poll_fn(|cx| self.stdin.poll_read_into(cx, target)).await)?)
    }

    async fn read_whole(
        &mut self,
        memory: &mut GuestMemory<'_>,
        fd: Fd,
        buffers: IovecArray,
        offset: Option<Filesize>,
    ) -> Answer<Size> {
        match offset {
            None => self.wasi.fd_read(memory, fd, buffers).await,
            Some(offset) => self.wasi.fd_pread(memory, fd, buffers, offset).await,
        }
    }

    async fn read_pieces(
        &mut self,
        memory: &mut GuestMemory<'_>,
        fd: Fd,
        buffer: GuestPtr<[u8]>,
        offset: Option<Filesize>,
    ) -> Answer<Size> {
        // Checked first: what is read from a stream and cannot be stored is lost.
        memory.as_slice_mut(buffer)?;
        let is_file = self.mount_of(fd).is_some();
        let mut piece = Piece::new(PIECE_SIZE);
        let mut done = 0;
        while done < buffer.len() {
            let length = PIECE_SIZE.min(buffer.len() - done);
            let at = offset.map(|offset| offset.saturating_add(done.into()));
            self.refill_copies();
            let read = self.read_whole(&mut piece.memory(length), fd, Piece::list(), at).await;
            let Some(read) = unless_partial(read, done)? else { break };
            let target = buffer.get_range(done..done + read).ok_or(Errno::Fault)?;
            memory.copy_from_slice(piece.bytes(read), target)?;
            done += read;
            // A read at an offset may return less before the end of the file.
            if read == 0 || !is_file {
                break;
            }
        }
        Ok(done)
    }

    /// Writes at `offset`, or at the current position, as much as the quota has room for.
    pub(super) async fn write(
        &mut self,
        memory: &mut GuestMemory<'_>,
        fd: Fd,
        buffers: CiovecArray,
        offset: Option<Filesize>,
    ) -> Answer<Size> {
        let buffer = first_buffer(memory, buffers, |buffer| buffer.buf.as_array(buffer.buf_len))?;
        if let (None, Some(output)) = (offset, self.stdio.index(fd).and_then(|index| self.output(index))) {
            let is_nonblocking = self.stdio.is_nonblocking(fd);
            return write_output(output, &memory.as_cow(buffer)?, is_nonblocking).await;
        }
        if buffer.len() <= MAX_WHOLE {
            return self.write_admitted(memory, fd, buffers, buffer, offset).await;
        }
        let is_file = self.mount_of(fd).is_some();
        let mut done = 0;
        while done < buffer.len() {
            let length = PIECE_SIZE.min(buffer.len() - done);
            let source = buffer.get_range(done..done + length).ok_or(Errno::Fault)?;
            let mut piece = Piece::copy_of(memory, source)?;
            let at = offset.map(|offset| offset.saturating_add(done.into()));
            self.refill_copies();
            let whole = GuestPtr::new((LIST_SIZE, length));
            let written = self.write_admitted(&mut piece.memory(length), fd, Piece::list(), whole, at).await;
            let Some(written) = unless_partial(written, done)? else { break };
            done += written;
            if written < length || !is_file {
                break;
            }
        }
        Ok(done)
    }

    /// Returns the standard stream that a guest writes at this index.
    fn output(&self, index: usize) -> Option<&Stdout> {
        [None, Some(&self.stdout), Some(&self.stderr)][index]
    }

    /// Writes `buffer`, which is the first of `buffers` that is not empty, and counts it if it goes to a mount.
    async fn write_admitted(
        &mut self,
        memory: &mut GuestMemory<'_>,
        fd: Fd,
        buffers: CiovecArray,
        buffer: GuestPtr<[u8]>,
        offset: Option<Filesize>,
    ) -> Answer<Size> {
        let Some(write) = self.admit_write(memory, fd, buffer.len().into(), offset).await? else {
            return self.write_whole(memory, fd, buffers, offset).await;
        };
        let admitted = u32::try_from(write.admitted)?;
        let written = if admitted == buffer.len() {
            self.write_whole(memory, fd, buffers, offset).await
        } else {
            let length = admitted.min(PIECE_SIZE);
            let source = buffer.get_range(0..length).ok_or(Errno::Fault)?;
            let mut piece = Piece::copy_of(memory, source)?;
            self.write_whole(&mut piece.memory(length), fd, Piece::list(), offset).await
        };
        let written = self.record_failure(fd, DiskResource::Bytes, written).await?;
        self.count_written(fd, &write, written);
        Ok(written)
    }

    async fn write_whole(
        &mut self,
        memory: &mut GuestMemory<'_>,
        fd: Fd,
        buffers: CiovecArray,
        offset: Option<Filesize>,
    ) -> Answer<Size> {
        match offset {
            None => self.wasi.fd_write(memory, fd, buffers).await,
            Some(offset) => self.wasi.fd_pwrite(memory, fd, buffers, offset).await,
        }
    }

    /// Allows wasmtime-wasi to copy another piece. It counts what one call copies, and a call may have many pieces.
    fn refill_copies(&mut self) {
        self.wasi.set_hostcall_fuel((LIST_SIZE + PIECE_SIZE) as usize);
    }
}

/// Writes `bytes` to a standard stream: all of them, or what fits if it does not block.
async fn write_output(output: &Stdout, bytes: &[u8], is_nonblocking: bool) -> Answer<Size> {
    if is_nonblocking {
        return stdio::try_write(output, bytes);
    }
    let (mut done, size) = (0, u32::try_from(bytes.len())?);
    while done < size {
        match unless_partial(stdio::write(output, &bytes[done as usize..]).await, done)? {
            Some(written) => done += written,
            None => break,
        }
    }
    Ok(done)
}

/// Returns the first buffer that is not empty, or an empty one.
fn first_buffer<T: GuestType>(
    memory: &GuestMemory<'_>,
    buffers: GuestPtr<[T]>,
    bytes: fn(T) -> GuestPtr<[u8]>,
) -> Answer<GuestPtr<[u8]>> {
    if buffers.len() > MAX_BUFFERS {
        return Err(Errno::Inval.into());
    }
    for buffer in buffers.iter() {
        let buffer = bytes(memory.read(buffer?)?);
        if buffer.len() > 0 {
            return Ok(buffer);
        }
    }
    Ok(GuestPtr::new((0, 0)))
}

/// Returns the size of a piece that was moved. An error after `done` bytes is `None`, because the call has moved these: the next call
/// returns the error.
fn unless_partial(moved: Answer<Size>, done: Size) -> Answer<Option<Size>> {
    match moved {
        Err(error) if done > 0 && error.downcast_ref().is_some() => Ok(None),
        moved => moved.map(Some),
    }
}
