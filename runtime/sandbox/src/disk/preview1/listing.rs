//! The listing of a large directory. The library reads the whole of a directory for each piece of its listing that is asked for, and a
//! guest asks for a few kilobytes at a time: 100,000 entries would take an hour. So what did not fit in the first piece is kept.

use wasmtime_wasi::p1::types::{Dircookie, Fd, Size};
use wasmtime_wasi::p1::wasi_snapshot_preview1::WasiSnapshotPreview1 as _;
use wiggle::{GuestMemory, GuestPtr};

use super::Answer;
use crate::host::Host;

/// The most bytes that are kept, about 100,000 entries. What is longer is listed as the library does it.
const MOST_KEPT: u32 = 4 << 20;

/// What comes before the name of an entry; the length of that is its third field.
const HEAD: usize = 24;
const NAME_LENGTH: std::ops::Range<usize> = 16..20;

/// All entries of one directory, as they are written for a guest. A run has one at a time.
pub(in crate::disk) struct Listing {
    /// The number of the descriptor that they were asked of.
    pub(in crate::disk) of: u32,
    entries: Vec<u8>,
}

impl Listing {
    /// What comes after so many entries.
    fn after(&self, count: Dircookie) -> &[u8] {
        let mut rest = self.entries.as_slice();
        for _ in 0..count {
            let Some(name) = rest.get(NAME_LENGTH).and_then(|length| length.try_into().ok()) else { return &[] };
            let entry = HEAD.saturating_add(u32::from_le_bytes(name) as usize);
            rest = rest.get(entry..).unwrap_or_default();
        }
        rest
    }
}

impl Host {
    /// What of the listing of `fd` comes after `cookie` entries, as far as there is room for it.
    pub(super) async fn list(
        &mut self,
        memory: &mut GuestMemory<'_>,
        fd: Fd,
        room: GuestPtr<u8>,
        size: Size,
        cookie: Dircookie,
    ) -> Answer<Size> {
        let of = fd.into();
        let kept = self.disk.as_mut().and_then(|disk| disk.listing.take()).filter(|kept| kept.of == of && cookie > 0);
        let listing = match kept {
            Some(kept) => kept,
            // From the beginning, it is read anew.
            None if cookie == 0 => return self.wasi.fd_readdir(memory, fd, room, size, cookie).await,
            None => {
                let mut entries = vec![0; MOST_KEPT as usize];
                let own = &mut GuestMemory::Unshared(&mut entries);
                let length = self.wasi.fd_readdir(own, fd, GuestPtr::new(0), MOST_KEPT, 0).await?;
                if length == MOST_KEPT {
                    return self.wasi.fd_readdir(memory, fd, room, size, cookie).await;
                }
                entries.truncate(length as usize);
                entries.shrink_to_fit();
                Listing { of, entries }
            }
        };
        let rest = listing.after(cookie);
        let part = &rest[..rest.len().min(size as usize)];
        let length = u32::try_from(part.len())?;
        memory.copy_from_slice(part, room.as_array(length))?;
        if let Some(disk) = &mut self.disk {
            disk.listing = Some(listing);
        }
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_passed_over_one_by_one_and_never_beyond_the_end() {
        let entry = |name: &str| {
            [&[0; 16][..], &u32::try_from(name.len()).unwrap().to_le_bytes(), &[0; 4], name.as_bytes()].concat()
        };
        let entries = [entry("a"), entry(""), entry("ccc")].concat();
        let listing = Listing { of: 3, entries: entries.clone() };
        for (count, passed) in
            [(0, 0), (1, 25), (2, 49), (3, entries.len()), (4, entries.len()), (u64::MAX, entries.len())]
        {
            assert_eq!(listing.after(count), &entries[passed..], "{count}");
        }
    }
}
