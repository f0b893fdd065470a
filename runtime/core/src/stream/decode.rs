//! Decoders for the output of a job: the last of several JSON objects, or a table of them.
//!
//! A decoder reads its stream to the end, whatever it contains, so that invalid output never blocks its writer. The result contains
//! everything decoded before an error, and the error. Memory is bounded: bytes beyond the bound are read and discarded.
//!
//! ```
//! # use capstan_core::stream::{decode, pipe};
//! # use tokio::io::AsyncWriteExt as _;
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! let (mut stdout, printed) = pipe(64);
//! stdout.write_all(br#"{"progress": 1} {"progress": 2} and done"#).await.unwrap();
//! drop(stdout);
//! let decoded = decode::last_object(printed, decode::OBJECT_SIZE).await;
//! assert_eq!(decoded.value.unwrap()["progress"], 2);
//! assert_eq!(decoded.error.unwrap().to_string(), "byte 32: expected value");
//! # }
//! ```

mod error;
mod object;
mod table;

use tokio::io::{AsyncRead, AsyncReadExt as _};

pub use self::error::DecodeError;
pub use self::object::Row;
use self::object::{CHUNK, ObjectDecoder};
pub use self::table::Table;

/// Default for the maximum length of an object in bytes.
pub const OBJECT_SIZE: usize = 1 << 20;
/// Default for the maximum length of a table in bytes.
pub const TABLE_SIZE: usize = 16 << 20;

/// The decoded part of a stream.
#[derive(Debug)]
pub struct Decoded<T> {
    pub value: T,
    /// The error that ended the decoding. Everything after it was discarded.
    pub error: Option<DecodeError>,
}

/// Returns the last object of a stream of objects, which white space may separate, or `None` if there is none. An object replaces the ones
/// before it. Each object has at most `bound` bytes.
///
/// Reads `source` to its end. Not cancel safe.
pub async fn last_object(mut source: impl AsyncRead + Unpin, bound: usize) -> Decoded<Option<Row>> {
    let mut decoder = ObjectDecoder::new(bound);
    let mut decoded = Ok(());
    let read_error = loop {
        decoder.buffer.reserve(CHUNK);
        match source.read_buf(&mut decoder.buffer).await {
            Ok(0) => break None,
            Ok(_) if decoded.is_err() => decoder.buffer.clear(),
            Ok(_) => decoded = decoder.decode_complete(),
            Err(error) => break Some(DecodeError::Read(error)),
        }
    };
    let decoded = decoded.and_then(|()| decoder.decode());
    Decoded { value: decoder.last, error: first_error(decoded, read_error) }
}

/// Returns the table in a stream: an array of objects, or a sequence of objects. It has at most `bound` bytes.
///
/// Reads `source` to its end. Not cancel safe.
pub async fn table(mut source: impl AsyncRead + Unpin, bound: usize) -> Decoded<Table> {
    let mut text = Vec::new();
    let mut read_error = (&mut source).take(bound as u64).read_to_end(&mut text).await.err().map(DecodeError::Read);
    if read_error.is_none() {
        match tokio::io::copy(&mut source, &mut tokio::io::sink()).await {
            Ok(0) => {}
            Ok(_) => read_error = Some(DecodeError::TooLarge { at: 0, bound }),
            Err(error) => read_error = Some(DecodeError::Read(error)),
        }
    }
    let mut table = Table::default();
    let decoded = table.decode(&text);
    Decoded { value: table, error: first_error(decoded, read_error) }
}

/// Returns the first error in the stream. If reading stopped early, a truncated value is a consequence of that, and not an error of its own.
fn first_error(decoded: Result<(), DecodeError>, read_error: Option<DecodeError>) -> Option<DecodeError> {
    match decoded {
        Ok(()) | Err(DecodeError::Truncated { .. }) if read_error.is_some() => read_error,
        decoded => decoded.err(),
    }
}

#[cfg(test)]
mod tests;
