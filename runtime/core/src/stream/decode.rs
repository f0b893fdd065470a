//! Decoders of what a job prints: JSON objects, of which the last counts, and tables of them.
//!
//! They read a stream to its end whatever it holds, so that no garbage keeps its writer waiting for a reader that has given up. What was
//! understood until then is given with the error beside it. Memory is bounded; what is beyond the bound is read and thrown away.
//!
//! ```
//! # use capstan::stream::{decode, pipe};
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

mod table;

use std::ops::Range;

use bytes::{Buf as _, BytesMut};
use serde_json::error::Category;
use serde_json::{Deserializer, Map, Value};
use tokio::io::{AsyncRead, AsyncReadExt as _};

pub use self::table::{Row, Table};

/// Bytes of the longest object of a stream, where nothing else is said.
pub const OBJECT_SIZE: usize = 1 << 20;
/// Bytes of the longest table, where nothing else is said.
pub const TABLE_SIZE: usize = 16 << 20;

/// Bytes that are read at a time.
const PIECE: usize = 16 << 10;

/// What was understood of a stream, and what of it was not.
#[derive(Debug)]
pub struct Decoded<T> {
    pub value: T,
    /// What ended the understanding; after it, everything was thrown away.
    pub error: Option<DecodeError>,
}

/// Why a stream was not understood to its end.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Something that is no JSON, or not of the form that was expected, at the byte `at` of the stream.
    #[error("byte {at}: {why}")]
    Syntax { at: u64, why: String },
    /// The stream ended within an object or a table.
    #[error("byte {at}: the stream ends within what begins there")]
    Truncated { at: u64 },
    /// What begins at the byte `at` takes more than may be.
    #[error("byte {at}: what begins there takes more than {bound} bytes")]
    TooLarge { at: u64, bound: usize },
    #[error("cannot read the stream: {0}")]
    Read(std::io::Error),
}

/// The last object of a stream of objects, with white space between them or none; `None` where there is none. Objects before it are
/// replaced, not merged. Each takes at most `bound` bytes. Reads `source` to its end; not cancel-safe.
pub async fn last_object(mut source: impl AsyncRead + Unpin, bound: usize) -> Decoded<Option<Row>> {
    let mut objects = Objects { buffer: BytesMut::new(), offset: 0, parsed: 0, bound, last: None };
    let mut parsed = Ok(());
    let broken = loop {
        objects.buffer.reserve(PIECE);
        match source.read_buf(&mut objects.buffer).await {
            Ok(0) => break None,
            Ok(_) if parsed.is_err() => objects.buffer.clear(),
            Ok(_) => parsed = objects.take_whole(),
            Err(error) => break Some(DecodeError::Read(error)),
        }
    };
    let parsed = parsed.and_then(|()| objects.parse());
    Decoded { value: objects.last, error: first(parsed, broken) }
}

/// The table that a stream holds: an array of objects, or objects one behind the other. It takes at most `bound` bytes. Reads `source`
/// to its end; not cancel-safe.
pub async fn table(mut source: impl AsyncRead + Unpin, bound: usize) -> Decoded<Table> {
    let mut text = Vec::new();
    let mut error = (&mut source).take(bound as u64).read_to_end(&mut text).await.err().map(DecodeError::Read);
    if error.is_none() {
        match tokio::io::copy(&mut source, &mut tokio::io::sink()).await {
            Ok(0) => {}
            Ok(_) => error = Some(DecodeError::TooLarge { at: 0, bound }),
            Err(failed) => error = Some(DecodeError::Read(failed)),
        }
    }
    let mut table = Table::default();
    let parsed = table.read(&text);
    Decoded { value: table, error: first(parsed, error) }
}

/// The error that comes first in a stream which is cut off. Where it is cut, it is not understood, and that is no fault of its own.
fn first(parsed: Result<(), DecodeError>, cut: Option<DecodeError>) -> Option<DecodeError> {
    match parsed {
        Ok(()) | Err(DecodeError::Truncated { .. }) if cut.is_some() => cut,
        parsed => parsed.err(),
    }
}

/// A stream of objects as it arrives.
struct Objects {
    /// What has arrived and is not understood yet.
    buffer: BytesMut,
    /// Where in the stream the buffer begins.
    offset: u64,
    /// How much was in the buffer when the object in it was found not to be whole.
    parsed: usize,
    bound: usize,
    last: Option<Row>,
}

impl Objects {
    /// Takes out the objects that are whole. It looks only when twice as much is there as at the last look, or as much as may be: an
    /// object that arrives byte by byte is not read a million times.
    fn take_whole(&mut self) -> Result<(), DecodeError> {
        let is_full = self.buffer.len() > self.bound;
        if self.buffer.len() < self.parsed.saturating_mul(2).max(PIECE) && !is_full {
            return Ok(());
        }
        match self.parse() {
            Err(DecodeError::Truncated { .. }) => {
                self.parsed = self.buffer.len();
                Ok(())
            }
            parsed => parsed,
        }
    }

    /// Takes out the objects that are whole, and what is found not to be one.
    fn parse(&mut self) -> Result<(), DecodeError> {
        let mut at = space(&self.buffer);
        let parsed = loop {
            match object(&self.buffer, at, self.offset) {
                Ok(Some((_, place))) if place.len() > self.bound => break Err(self.too_large(place.start)),
                Ok(Some((row, place))) => {
                    self.last = Some(row);
                    at = place.end;
                }
                Ok(None) => break Ok(()),
                Err(DecodeError::Truncated { .. }) if self.buffer.len() - at > self.bound => {
                    break Err(self.too_large(at));
                }
                Err(error) => break Err(error),
            }
            at += space(&self.buffer[at..]);
        };
        self.offset += at as u64;
        self.buffer.advance(at);
        self.parsed = 0;
        parsed
    }

    fn too_large(&self, at: usize) -> DecodeError {
        DecodeError::TooLarge { at: self.offset + at as u64, bound: self.bound }
    }
}

/// How many bytes of white space `text` begins with.
fn space(text: &[u8]) -> usize {
    text.len() - text.trim_ascii_start().len()
}

/// The object that begins at `at` of `text`, after white space, and where it is; `None` where nothing follows. `offset` is where in
/// the stream the text begins.
fn object(text: &[u8], at: usize, offset: u64) -> Result<Option<(Row, Range<usize>)>, DecodeError> {
    let begin = at + space(&text[at..]);
    let place = |at: usize| offset + at as u64;
    match text.get(begin) {
        None => return Ok(None),
        Some(b'{') => {}
        Some(_) => {
            // JSON of another kind is named as such, and all else as what it is.
            let rest = &text[begin..];
            let why = match Deserializer::from_slice(rest).into_iter::<Value>().next() {
                Some(Err(error)) if error.classify() == Category::Syntax => plain(&error),
                _ => "expected an object".to_owned(),
            };
            return Err(DecodeError::Syntax { at: place(begin), why });
        }
    }
    let rest = &text[begin..];
    let mut values = Deserializer::from_slice(rest).into_iter::<Map<String, Value>>();
    match values.next().expect("there is something") {
        Ok(row) => Ok(Some((row, begin..begin + values.byte_offset()))),
        Err(error) if error.is_eof() => Err(DecodeError::Truncated { at: place(begin) }),
        Err(error) => Err(DecodeError::Syntax { at: place(begin + fault(rest, &error)), why: plain(&error) }),
    }
}

/// Where in `text` the error is: it knows line and column.
fn fault(text: &[u8], error: &serde_json::Error) -> usize {
    let before: usize =
        text.split_inclusive(|byte| *byte == b'\n').take(error.line().saturating_sub(1)).map(<[u8]>::len).sum();
    (before + error.column()).saturating_sub(1)
}

/// What the error says, without line and column.
fn plain(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.rsplit_once(" at line ").map_or(text.as_str(), |(why, _)| why).to_owned()
}

#[cfg(test)]
mod tests;
