//! [`HeadParser`]: parses the header fields at the start of the output of a command, while they arrive.

use bytes::{Buf as _, Bytes};
use hyper::header::{HeaderName, HeaderValue};

/// The most bytes of a head.
pub(super) const MAX_HEAD: usize = 64 << 10;
/// Bytes of a line that an error repeats.
const MAX_QUOTED: usize = 80;

/// The header fields, in their order.
pub(super) type HeadFields = Vec<(HeaderName, HeaderValue)>;

/// Parses a head in pieces. Lines end with LF or CRLF; an empty one ends the head.
#[derive(Debug, Default)]
pub(super) struct HeadParser {
    fields: HeadFields,
    /// The start of a line whose end has not arrived.
    line: Vec<u8>,
    /// Bytes that were parsed, those of `line` included.
    parsed: usize,
}

/// Why output does not start with a head.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum HeadError {
    #[error("the output ended before the empty line that ends the header fields")]
    Incomplete,
    #[error("the output is empty")]
    NoOutput,
    #[error("the output starts with an empty line; before it, at least one header field is needed")]
    NoFields,
    #[error("the header fields have more than {MAX_HEAD} bytes")]
    TooLarge,
    #[error("{0:?} is no header field")]
    InvalidField(String),
}

impl HeadParser {
    /// Parses `piece`, and removes from it what belongs to the head. Returns the fields once the head is complete; what is left of `piece` is
    /// then the start of the body.
    ///
    /// # Errors
    /// [`HeadError`]. The parser must not be used afterwards.
    pub(super) fn parse(&mut self, piece: &mut Bytes) -> Result<Option<HeadFields>, HeadError> {
        loop {
            let end = piece.iter().position(|byte| *byte == b'\n');
            let length = end.unwrap_or(piece.len());
            self.parsed += length + 1;
            if self.parsed > MAX_HEAD {
                return Err(HeadError::TooLarge);
            }
            if end.is_none() {
                self.parsed -= 1;
                self.line.extend_from_slice(piece);
                piece.clear();
                return Ok(None);
            }
            let is_last = if self.line.is_empty() {
                parse_line(&piece[..length], &mut self.fields)?
            } else {
                self.line.extend_from_slice(&piece[..length]);
                let is_last = parse_line(&self.line, &mut self.fields)?;
                self.line.clear();
                is_last
            };
            piece.advance(length + 1);
            if is_last {
                return Ok(Some(std::mem::take(&mut self.fields)));
            }
        }
    }

    /// Returns why the head is not complete although the output has ended.
    pub(super) fn at_end(&self) -> HeadError {
        if self.parsed == 0 { HeadError::NoOutput } else { HeadError::Incomplete }
    }
}

/// Appends the field in a line, or returns whether the line is the empty one that ends the head.
fn parse_line(line: &[u8], fields: &mut HeadFields) -> Result<bool, HeadError> {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.is_empty() {
        return if fields.is_empty() { Err(HeadError::NoFields) } else { Ok(true) };
    }
    fields.push(parse_field(line).ok_or_else(|| HeadError::InvalidField(quote(line)))?);
    Ok(false)
}

fn parse_field(line: &[u8]) -> Option<(HeaderName, HeaderValue)> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    let name = HeaderName::from_bytes(&line[..colon]).ok()?;
    Some((name, HeaderValue::from_bytes(line[colon + 1..].trim_ascii()).ok()?))
}

fn quote(line: &[u8]) -> String {
    String::from_utf8_lossy(&line[..line.len().min(MAX_QUOTED)]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Parses `output` in pieces of `size` bytes. Returns the fields as text, and the body.
    fn parse(output: &[u8], size: usize) -> Result<(Vec<String>, Vec<u8>), HeadError> {
        let (mut parser, mut pieces) = (HeadParser::default(), output.chunks(size));
        for piece in pieces.by_ref() {
            let mut piece = Bytes::copy_from_slice(piece);
            if let Some(fields) = parser.parse(&mut piece)? {
                let text = |(name, value): (HeaderName, HeaderValue)| format!("{name}={}", value.to_str().unwrap());
                return Ok((
                    fields.into_iter().map(text).collect(),
                    [&piece[..], &pieces.collect::<Vec<_>>().concat()].concat(),
                ));
            }
            assert!(piece.is_empty());
        }
        Err(parser.at_end())
    }

    #[test]
    fn head_in_pieces_of_any_size_is_parsed() {
        for output in ["A: 1\nX-B:  2 \n\nbody\n\n", "A: 1\r\nX-B:2\r\n\r\nbody\n\n", "A:1\r\nX-B: 2\n\r\nbody\n\n"] {
            for size in 1..=output.len() {
                let (fields, body) = parse(output.as_bytes(), size).unwrap();
                assert_eq!(
                    (fields, body),
                    (vec!["a=1".to_owned(), "x-b=2".to_owned()], b"body\n\n".to_vec()),
                    "{size}"
                );
            }
        }
    }

    #[test]
    fn output_without_a_complete_head_is_an_error() {
        for (output, expected) in [
            ("", HeadError::NoOutput),
            ("\nbody", HeadError::NoFields),
            ("\r\n", HeadError::NoFields),
            ("A: 1\n", HeadError::Incomplete),
            ("A: 1", HeadError::Incomplete),
            ("<html>\n\n", HeadError::InvalidField("<html>".to_owned())),
            (": x\n\n", HeadError::InvalidField(": x".to_owned())),
            ("A : x\n\n", HeadError::InvalidField("A : x".to_owned())),
            ("A: 1\n B: 2\n\n", HeadError::InvalidField(" B: 2".to_owned())),
            ("A: 1\r2\n\n", HeadError::InvalidField("A: 1\r2".to_owned())),
            ("A: \0\n\n", HeadError::InvalidField("A: \0".to_owned())),
        ] {
            assert_eq!(parse(output.as_bytes(), 3), Err(expected), "{output:?}");
        }
    }

    #[test]
    fn head_is_bounded() {
        let head = |bytes: usize| [b"a: ".to_vec(), vec![b'x'; bytes - 5], b"\n\n".to_vec()].concat();
        for size in [100, MAX_HEAD + 1] {
            assert!(parse(&head(MAX_HEAD), size).is_ok());
            assert_eq!(parse(&head(MAX_HEAD + 1), size), Err(HeadError::TooLarge));
        }
        assert_eq!(parse(&vec![b'x'; 1 << 20], 1000), Err(HeadError::TooLarge));
        assert_eq!(parse(&b"a: 1\n".repeat(1 << 16), 1000), Err(HeadError::TooLarge));
    }
}
