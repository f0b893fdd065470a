//! [`Chunks`]: the stored bytes of a log, with their streams and times.

use std::collections::VecDeque;

use capstan_core::outcome::OutputStream;
use jiff::{SignedDuration, Timestamp};

/// The bytes of the longest chunk.
pub(super) const MAX_CHUNK: usize = 16 << 10;
/// Bytes that are written to one stream within this time form one chunk.
const MERGE_WITHIN: SignedDuration = SignedDuration::from_millis(1);

/// The stored bytes of a log. A position is the number of bytes that were written before it.
#[derive(Debug, Default)]
pub(super) struct Chunks {
    chunks: VecDeque<Chunk>,
    written: u64,
    size: usize,
}

#[derive(Debug)]
pub(super) struct Chunk {
    start: u64,
    /// When its first byte was written.
    pub(super) at: Timestamp,
    pub(super) stream: OutputStream,
    bytes: Vec<u8>,
}

impl Chunks {
    /// Returns the memory that the chunks take, in bytes.
    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// Returns the number of bytes written in all, which is the position of the next byte.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    /// Returns the position of the oldest stored byte.
    pub(super) fn first_position(&self) -> u64 {
        self.chunks.front().map_or(self.written, |chunk| chunk.start)
    }

    /// Appends `bytes` to the last chunk, or as a chunk of their own.
    pub(super) fn append(&mut self, stream: OutputStream, at: Timestamp, bytes: &[u8]) {
        let start = self.written;
        self.written += bytes.len() as u64;
        if let Some(last) = self.chunks.back_mut()
            && last.stream == stream
            && last.bytes.len() + bytes.len() <= MAX_CHUNK
            && at.duration_since(last.at) < MERGE_WITHIN
        {
            let capacity_before = last.bytes.capacity();
            last.bytes.extend_from_slice(bytes);
            self.size += last.bytes.capacity() - capacity_before;
            return;
        }
        let chunk = Chunk { start, at, stream, bytes: bytes.to_vec() };
        self.size += chunk.size();
        self.chunks.push_back(chunk);
    }

    pub(super) fn drop_oldest(&mut self) {
        let oldest = self.chunks.pop_front().expect("the log takes memory, so it has a chunk");
        self.size -= oldest.size();
    }

    /// Returns the chunk at `position`, which must be stored, and its bytes from there on.
    pub(super) fn get(&self, position: u64) -> (&Chunk, &[u8]) {
        let chunk = &self.chunks[self.chunks.partition_point(|chunk| chunk.start <= position) - 1];
        let offset = usize::try_from(position - chunk.start).expect("it is less than the length of a chunk");
        (chunk, &chunk.bytes[offset..])
    }

    /// Returns the position of the first byte written at `since` or later. Bytes dropped before that byte count as later too, because
    /// their times are unknown.
    pub(super) fn position_at(&self, since: Timestamp) -> u64 {
        match self.chunks.iter().position(|chunk| chunk.at >= since) {
            Some(0) => 0,
            Some(index) => self.chunks[index].start,
            None => self.written,
        }
    }

    /// Returns the position of the last `lines` lines of `streams`, whose bytes are taken together in the order they were written.
    pub(super) fn position_of_last_lines(&self, lines: u64, streams: &[OutputStream]) -> u64 {
        if lines == 0 {
            return self.written;
        }
        let (mut line_ends, mut is_last_byte) = (0, true);
        for chunk in self.chunks.iter().rev().filter(|chunk| streams.contains(&chunk.stream)) {
            for (offset, byte) in chunk.bytes.iter().enumerate().rev() {
                // A newline at the very end ends the last line and starts no other.
                if *byte == b'\n' && !is_last_byte {
                    line_ends += 1;
                    if line_ends == lines {
                        return chunk.start + offset as u64 + 1;
                    }
                }
                is_last_byte = false;
            }
        }
        0
    }
}

impl Chunk {
    fn size(&self) -> usize {
        self.bytes.capacity() + size_of::<Self>()
    }
}
