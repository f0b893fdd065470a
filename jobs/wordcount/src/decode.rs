//! Decodes UTF-8 from buffers that may split a character.

/// Decodes bytes to text. Replaces each ill-formed sequence with U+FFFD, like `String::from_utf8_lossy` on the whole input.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    /// The start of a character that continues in the next buffer: at most 3 bytes.
    cut: Vec<u8>,
}

impl Decoder {
    /// Passes the text of these bytes to `sink`, in pieces.
    pub(crate) fn feed<E>(&mut self, mut bytes: &[u8], mut sink: impl FnMut(&str) -> Result<(), E>) -> Result<(), E> {
        while !self.cut.is_empty() {
            let Some((first, rest)) = bytes.split_first() else {
                return Ok(());
            };
            self.cut.push(*first);
            match std::str::from_utf8(&self.cut) {
                Ok(character) => {
                    sink(character)?;
                    self.cut.clear();
                    bytes = rest;
                }
                Err(error) if error.error_len().is_none() => bytes = rest,
                // The new byte does not continue the character, but may start another one. Decodes it again.
                Err(_) => {
                    sink("\u{FFFD}")?;
                    self.cut.clear();
                }
            }
        }
        loop {
            match std::str::from_utf8(bytes) {
                Ok(text) => return sink(text),
                Err(error) => {
                    let (valid, rest) = bytes.split_at(error.valid_up_to());
                    sink(std::str::from_utf8(valid).expect("these bytes were found valid"))?;
                    let Some(length) = error.error_len() else {
                        self.cut.extend_from_slice(rest);
                        return Ok(());
                    };
                    sink("\u{FFFD}")?;
                    bytes = &rest[length..];
                }
            }
        }
    }

    /// Ends the input. An incomplete character is ill-formed.
    pub(crate) fn end<E>(self, mut sink: impl FnMut(&str) -> Result<(), E>) -> Result<(), E> {
        if self.cut.is_empty() { Ok(()) } else { sink("\u{FFFD}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(pieces: &[&[u8]]) -> String {
        let mut text = String::new();
        let mut sink = |piece: &str| -> Result<(), ()> {
            text.push_str(piece);
            Ok(())
        };
        let mut decoder = Decoder::default();
        for piece in pieces {
            decoder.feed(piece, &mut sink).unwrap();
        }
        decoder.end(&mut sink).unwrap();
        text
    }

    #[test]
    fn text_is_the_same_wherever_the_input_is_cut() {
        let inputs: [&[u8]; 6] = [
            "añ€😀z".as_bytes(),
            b"\xF0\x9F\x98",
            b"a\xFFb\xC3(\xE2\x82x\xF0\x9F\x98y",
            b"\xED\xA0\x80\xC0\xAF\xF4\x90\x80\x80",
            b"\xE2\xE2\x82\xAC\xF0\xF0\x9F\x98\x80",
            b"",
        ];
        for input in inputs {
            let expected = String::from_utf8_lossy(input);
            for first in 0..=input.len() {
                for second in first..=input.len() {
                    let pieces = [&input[..first], &input[first..second], &input[second..]];
                    assert_eq!(decode(&pieces), expected, "{pieces:?}");
                }
            }
            assert_eq!(decode(&input.chunks(1).collect::<Vec<_>>()), expected);
        }
    }
}
