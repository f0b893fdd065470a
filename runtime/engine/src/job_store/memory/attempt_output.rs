//! [`AttemptOutput`]: the output of one attempt in memory.

use std::collections::VecDeque;

use super::super::output::{OutputChunk, OutputPage, OutputPiece};

/// The output of an attempt.
#[derive(Debug, Default)]
pub(super) struct AttemptOutput {
    /// The chunks that are kept, each with its position.
    pub(super) chunks: VecDeque<(u64, OutputChunk)>,
    pub(super) bytes: u64,
    /// The position after the last byte.
    pub(super) end: u64,
}

impl AttemptOutput {
    pub(super) fn append(&mut self, chunk: OutputChunk) {
        let length = chunk.bytes.len() as u64;
        self.chunks.push_back((self.end, chunk));
        self.bytes += length;
        self.end += length;
    }

    /// Drops the oldest chunk. Returns its size, or `None` if there is none.
    pub(super) fn drop_first(&mut self) -> Option<u64> {
        let length = self.chunks.pop_front()?.1.bytes.len() as u64;
        self.bytes -= length;
        Some(length)
    }

    pub(super) fn read(&self, position: u64, limit: u64) -> OutputPage {
        let mut page = OutputPage { next: position, ..OutputPage::default() };
        let mut size = 0;
        for (at, chunk) in &self.chunks {
            let end = at + chunk.bytes.len() as u64;
            if end <= page.next {
                continue;
            }
            if size >= limit {
                return page;
            }
            if *at > page.next {
                page.pieces.push(OutputPiece::Gap(at - page.next));
                page.next = *at;
            }
            let skip = usize::try_from(page.next - at).expect("it is within the chunk");
            page.pieces.push(OutputPiece::Chunk(OutputChunk { bytes: chunk.bytes.slice(skip..), ..chunk.clone() }));
            size += end - page.next;
            page.next = end;
        }
        if page.next < self.end {
            page.pieces.push(OutputPiece::Gap(self.end - page.next));
            page.next = self.end;
        }
        page.is_end = true;
        page
    }
}
