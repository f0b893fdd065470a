//! Finds JSON objects in a text or in a stream.

use std::ops::Range;

use bytes::{Buf as _, BytesMut};
use serde_json::error::Category;
use serde_json::{Deserializer, Map, Value};

use super::error::DecodeError;

/// Bytes that are read at a time.
pub(super) const CHUNK: usize = 16 << 10;

/// An object of a stream, or a row of a table.
pub type Row = Map<String, Value>;

/// Decodes a stream of objects as it arrives.
pub(super) struct ObjectDecoder {
    /// Bytes that have arrived and are not decoded yet.
    pub(super) buffer: BytesMut,
    /// The position of the buffer in the stream.
    offset: u64,
    /// The length of the buffer when the object in it was found to be incomplete.
    parsed: usize,
    bound: usize,
    pub(super) last: Option<Row>,
}

impl ObjectDecoder {
    /// Creates a decoder of objects of at most `bound` bytes each.
    pub(super) fn new(bound: usize) -> Self {
        Self { buffer: BytesMut::new(), offset: 0, parsed: 0, bound, last: None }
    }

    /// Decodes the complete objects in the buffer. Does nothing until the buffer is twice as long as at the last attempt, or full: an object
    /// that arrives byte by byte is not parsed a million times.
    pub(super) fn decode_complete(&mut self) -> Result<(), DecodeError> {
        let is_full = self.buffer.len() > self.bound;
        if self.buffer.len() < self.parsed.saturating_mul(2).max(CHUNK) && !is_full {
            return Ok(());
        }
        match self.decode() {
            Err(DecodeError::Truncated { .. }) => {
                self.parsed = self.buffer.len();
                Ok(())
            }
            decoded => decoded,
        }
    }

    /// Decodes all objects in the buffer. Fails at the first text that is not an object.
    pub(super) fn decode(&mut self) -> Result<(), DecodeError> {
        let mut at = white_space(&self.buffer);
        let decoded = loop {
            match parse_object(&self.buffer, at, self.offset) {
                Ok(Some((_, range))) if range.len() > self.bound => break Err(self.too_large(range.start)),
                Ok(Some((row, range))) => {
                    self.last = Some(row);
                    at = range.end;
                }
                Ok(None) => break Ok(()),
                Err(DecodeError::Truncated { .. }) if self.buffer.len() - at > self.bound => {
                    break Err(self.too_large(at));
                }
                Err(error) => break Err(error),
            }
            at += white_space(&self.buffer[at..]);
        };
        self.offset += at as u64;
        self.buffer.advance(at);
        self.parsed = 0;
        decoded
    }

    fn too_large(&self, at: usize) -> DecodeError {
        DecodeError::TooLarge { at: self.offset + at as u64, bound: self.bound }
    }
}

/// Returns the number of bytes of white space at the start of `text`.
pub(super) fn white_space(text: &[u8]) -> usize {
    text.len() - text.trim_ascii_start().len()
}

/// Parses the object that starts at `at`, after white space. Returns it with its range in `text`, or `None` if nothing follows. `offset` is
/// the position of `text` in the stream.
pub(super) fn parse_object(text: &[u8], at: usize, offset: u64) -> Result<Option<(Row, Range<usize>)>, DecodeError> {
    let start = at + white_space(&text[at..]);
    let position = |at: usize| offset + at as u64;
    let rest = &text[start..];
    match rest.first() {
        None => return Ok(None),
        Some(b'{') => {}
        Some(_) => {
            // Distinguishes JSON of another type from text that is not JSON.
            let why = match Deserializer::from_slice(rest).into_iter::<Value>().next() {
                Some(Err(error)) if error.classify() == Category::Syntax => reason(&error),
                _ => "expected an object".to_owned(),
            };
            return Err(DecodeError::Syntax { at: position(start), why });
        }
    }
    let mut values = Deserializer::from_slice(rest).into_iter::<Row>();
    match values.next().expect("the text is not empty") {
        Ok(row) => Ok(Some((row, start..start + values.byte_offset()))),
        Err(error) if error.is_eof() => Err(DecodeError::Truncated { at: position(start) }),
        Err(error) => {
            Err(DecodeError::Syntax { at: position(start + error_position(rest, &error)), why: reason(&error) })
        }
    }
}

/// Returns the position of the error in `text`. The error has only line and column.
fn error_position(text: &[u8], error: &serde_json::Error) -> usize {
    let before: usize =
        text.split_inclusive(|byte| *byte == b'\n').take(error.line().saturating_sub(1)).map(<[u8]>::len).sum();
    (before + error.column()).saturating_sub(1)
}

/// Returns the text of the error without line and column.
fn reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.rsplit_once(" at line ").map_or(text.as_str(), |(reason, _)| reason).to_owned()
}
