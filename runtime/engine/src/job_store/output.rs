//! [`OutputChunk`] and [`OutputPage`]: what an attempt printed.

use bytes::Bytes;
use capstan_core::outcome::OutputStream;
use jiff::Timestamp;

/// A part of the output of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputChunk {
    pub stream: OutputStream,
    /// When it was written.
    pub at: Timestamp,
    pub bytes: Bytes,
}

/// What was read of the output of an attempt. Both streams share their positions, in the order of writing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OutputPage {
    pub pieces: Vec<OutputPiece>,
    /// The position after the last piece: where to read on.
    pub next: u64,
    /// Whether everything that the attempt has printed up to now was read.
    pub is_end: bool,
}

/// A piece of output, or bytes that are missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OutputPiece {
    Chunk(OutputChunk),
    /// Bytes that were dropped because of a limit, or cannot be read because the disk damaged them.
    Gap(u64),
}
