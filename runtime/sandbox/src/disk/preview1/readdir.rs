//! `fd_readdir` for large directories.
//!
//! wasmtime-wasi reads the whole directory for each part of it that a guest requests, which is a few kilobytes at a time: 100,000 entries
//! would take an hour. So the entries that did not fit into the first part are kept as a [`Listing`].

use wasmtime_wasi::p1::types::{Dircookie, Fd, Size};
use wasmtime_wasi::p1::wasi_snapshot_preview1::WasiSnapshotPreview1 as _;
use wiggle::{GuestMemory, GuestPtr};

use super::super::listing::Listing;
use super::accounting::Answer;
use crate::host::Host;

/// Bytes of the largest listing that is kept, about 100,000 entries. wasmtime-wasi reads larger directories again for each part.
const MAX_LISTING_SIZE: u32 = 4 << 20;

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
        let directory = fd.into();
        let stored = self.disk.as_mut().and_then(|disk| disk.listing.take());
        let stored = stored.filter(|listing| listing.directory == directory && cookie > 0);
        let listing = match stored {
            Some(listing) => listing,
            // A guest that starts again gets the current entries.
            None if cookie == 0 => return self.wasi.fd_readdir(memory, fd, buffer, size, cookie).await,
            None => {
                let mut entries = vec![0; MAX_LISTING_SIZE as usize];
                let host_memory = &mut GuestMemory::Unshared(&mut entries);
                let length = self.wasi.fd_readdir(host_memory, fd, GuestPtr::new(0), MAX_LISTING_SIZE, 0).await?;
                if length == MAX_LISTING_SIZE {
                    return self.wasi.fd_readdir(memory, fd, buffer, size, cookie).await;
                }
                entries.truncate(length as usize);
                entries.shrink_to_fit();
                Listing { directory, entries }
            }
        };
        let rest = listing.after(cookie);
        let part = &rest[..rest.len().min(size as usize)];
        let length = u32::try_from(part.len())?;
        memory.copy_from_slice(part, buffer.as_array(length))?;
        if let Some(disk) = &mut self.disk {
            disk.listing = Some(listing);
        }
        Ok(length)
    }
}
