//! Bytes with a checksum, which finds what the disk has changed.

use capstan_engine::job_store::JobStoreError;

/// The bytes of the checksum.
const SIZE: usize = 4;

/// Returns `bytes` after their checksum, which also covers `context`: what else must not have changed.
pub(super) fn seal(context: &[&[u8]], bytes: &[u8]) -> Vec<u8> {
    let mut sealed = Vec::with_capacity(SIZE + bytes.len());
    sealed.extend_from_slice(&checksum(context, bytes).to_le_bytes());
    sealed.extend_from_slice(bytes);
    sealed
}

/// Returns the bytes that were sealed.
///
/// # Errors
/// [`JobStoreError::Damaged`] with the name that `what` returns.
pub(super) fn unseal<'a>(
    context: &[&[u8]],
    sealed: &'a [u8],
    what: impl FnOnce() -> String,
) -> Result<&'a [u8], JobStoreError> {
    match sealed.split_first_chunk::<SIZE>() {
        Some((sum, bytes)) if u32::from_le_bytes(*sum) == checksum(context, bytes) => Ok(bytes),
        _ => Err(JobStoreError::damaged(what(), "its checksum is wrong")),
    }
}

/// Returns the CRC-32 of `bytes` after `context`.
pub(super) fn checksum(context: &[&[u8]], bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    for part in context {
        hasher.update(part);
        // So that a byte cannot move from one part to the next.
        hasher.update(&(part.len() as u64).to_le_bytes());
    }
    hasher.update(bytes);
    hasher.finalize()
}
