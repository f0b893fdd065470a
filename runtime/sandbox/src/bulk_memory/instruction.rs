//! [`BulkInstruction`]: a bulk memory instruction with its immediate operands.

/// The instructions that are split.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum BulkInstruction {
    Fill { memory: u32 },
    Copy { to: u32, from: u32 },
    Init { memory: u32, segment: u32 },
}

impl BulkInstruction {
    /// Returns the index of the memory that the instruction writes.
    pub(super) fn written_memory(self) -> u32 {
        match self {
            Self::Fill { memory } | Self::Init { memory, .. } | Self::Copy { to: memory, .. } => memory,
        }
    }
}
