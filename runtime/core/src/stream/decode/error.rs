//! [`DecodeError`]: the position and the reason at which decoding stopped.

/// The stream could not be decoded to its end.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The text at byte `at` of the stream is not JSON, or not of the expected form.
    #[error("byte {at}: {why}")]
    Syntax { at: u64, why: String },
    /// The stream ended inside an object or a table.
    #[error("byte {at}: the stream ends inside the value that starts here")]
    Truncated { at: u64 },
    /// The object or table at byte `at` is longer than the limit.
    #[error("byte {at}: the value that starts here is longer than {bound} bytes")]
    TooLarge { at: u64, bound: usize },
    #[error("cannot read the stream: {0}")]
    Read(std::io::Error),
}
