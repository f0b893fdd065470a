//! The standard streams in preview 1, read and written here, because wasmtime-wasi moves 4 KiB of output at a time and copies it twice.
//!
//! Streams may be set not to block. wasmtime-wasi knows `nonblock` only for files, where it changes nothing. Programs with a scheduler of their own, such as those of Go, set
//! it on stdin: the read of one task must not stop the others. They wait with `poll_oneoff` instead.

use wasmtime_wasi::p1::types::{Errno, Error, Fd, Fdflags};
use wasmtime_wasi::p2::{StreamError, StreamResult};

use super::{Stdin, Stdout};

/// The flags of the standard streams of a run.
#[derive(Debug, Default)]
pub(crate) struct Stdio([Flags; 3]);

#[derive(Clone, Copy, Debug, Default)]
struct Flags {
    is_nonblocking: bool,
    /// Whether the descriptor was closed or replaced. From then on its number means something else.
    is_gone: bool,
}

impl Stdio {
    /// Returns the index of a descriptor that still is a standard stream: 0 is stdin, 1 is stdout, 2 is stderr.
    pub(crate) fn index(&self, fd: Fd) -> Option<usize> {
        let index = usize::try_from(u32::from(fd)).ok()?;
        self.0.get(index).filter(|flags| !flags.is_gone).map(|_| index)
    }

    /// Sets the flags of a standard stream. Returns `None` if it is not one.
    pub(crate) fn set_flags(&mut self, fd: Fd, flags: Fdflags) -> Option<Result<(), Error>> {
        let index = self.index(fd)?;
        if flags.intersects(Fdflags::DSYNC | Fdflags::SYNC | Fdflags::RSYNC) {
            return Some(Err(Errno::Inval.into()));
        }
        self.0[index].is_nonblocking = flags.contains(Fdflags::NONBLOCK);
        Some(Ok(()))
    }

    /// Returns whether the guest has made `fd` a standard stream that does not block.
    pub(crate) fn is_nonblocking(&self, fd: Fd) -> bool {
        self.index(fd).is_some_and(|index| self.0[index].is_nonblocking)
    }

    /// Records that the descriptor `fd` was closed or replaced.
    pub(crate) fn remove(&mut self, fd: Fd) {
        if let Some(index) = self.index(fd) {
            self.0[index].is_gone = true;
        }
    }
}

/// Returns `again` if a read would wait.
pub(crate) fn check_readable(stdin: &Stdin) -> Result<(), Error> {
    if stdin.is_ready() { Ok(()) } else { Err(Errno::Again.into()) }
}

/// Writes what fits without waiting, or returns `again` if nothing does.
pub(crate) fn try_write(output: &Stdout, bytes: &[u8]) -> Result<u32, Error> {
    match output.try_write(bytes) {
        Ok(0) if !bytes.is_empty() => Err(Errno::Again.into()),
        written => to_errno(written),
    }
}

/// Waits until the stream takes some of `bytes`, and writes these.
pub(crate) async fn write(output: &Stdout, bytes: &[u8]) -> Result<u32, Error> {
    to_errno(std::future::poll_fn(|cx| output.poll_write_some(cx, bytes)).await)
}

fn to_errno(written: StreamResult<usize>) -> Result<u32, Error> {
    match written {
        Ok(size) => Ok(u32::try_from(size)?),
        Err(StreamError::Closed) => Err(Errno::Pipe.into()),
        Err(StreamError::LastOperationFailed(_)) => Err(Errno::Io.into()),
        Err(StreamError::Trap(error)) => Err(Error::trap(error)),
    }
}
