//! [`Listing`]: the entries of a directory, kept between the calls that list it in preview 1.

use std::ops::Range;

/// Bytes of an entry before its name, in the layout of preview 1.
const ENTRY_HEADER_SIZE: usize = 24;
/// Where the length of the name is in the header.
const NAME_LENGTH: Range<usize> = 16..20;

/// All entries of one directory, encoded for a guest.
pub(super) struct Listing {
    /// The descriptor of the directory.
    pub(super) directory: u32,
    pub(super) entries: Vec<u8>,
}

impl Listing {
    /// Returns what comes after the first `count` entries.
    pub(super) fn after(&self, count: u64) -> &[u8] {
        let mut rest = self.entries.as_slice();
        for _ in 0..count {
            let Some(name) = rest.get(NAME_LENGTH).and_then(|length| length.try_into().ok()) else { return &[] };
            let entry = ENTRY_HEADER_SIZE.saturating_add(u32::from_le_bytes(name) as usize);
            rest = rest.get(entry..).unwrap_or_default();
        }
        rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_skips_entries_and_stops_at_the_end() {
        let entry = |name: &str| {
            [&[0; 16][..], &u32::try_from(name.len()).unwrap().to_le_bytes(), &[0; 4], name.as_bytes()].concat()
        };
        let entries = [entry("a"), entry(""), entry("ccc")].concat();
        let listing = Listing { directory: 3, entries: entries.clone() };
        for (count, skipped) in
            [(0, 0), (1, 25), (2, 49), (3, entries.len()), (4, entries.len()), (u64::MAX, entries.len())]
        {
            assert_eq!(listing.after(count), &entries[skipped..], "{count}");
        }
    }
}
