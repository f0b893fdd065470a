//! `FrameDecoder`: decodes the framed response of a run, of logs, or of an attached job, as it arrives.
//!
//! A frame has a head of eight bytes (stream, three zeros, length in big endian), then the payload. Output is returned in the pieces in
//! which it arrives. Only JSON payloads are buffered until they are complete.

use bytes::{Buf as _, Bytes, BytesMut};
use serde::Deserialize;

/// The media type of a framed response.
pub(super) const MEDIA_TYPE: &str = "application/vnd.capstan.stream";

/// The maximum size of a payload, in bytes. It limits the memory for an outcome; no daemon sends as much.
const MAX_PAYLOAD: usize = 16 << 20;

/// A part of a framed response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Chunk {
    /// Bytes of stdout, not necessarily a whole frame.
    Stdout(Bytes),
    /// Bytes of stderr, not necessarily a whole frame.
    Stderr(Bytes),
    /// The JSON of the outcome, always last.
    Outcome(Bytes),
    /// The number of bytes of output that the daemon no longer has. Not in the response of a run.
    Gap(u64),
}

/// Why a response cannot be decoded. The message completes the sentence "the daemon sent …".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum FrameError {
    #[error("a frame of the unknown stream {0}: the daemon may be newer than this command")]
    UnknownStream(u8),
    #[error("a frame whose reserved bytes are not zero")]
    Reserved,
    #[error("a frame of {0} bytes, more than the limit of {MAX_PAYLOAD}")]
    TooLong(usize),
    #[error("a response that ends within a frame")]
    Truncated,
    #[error("an invalid outcome: {0}")]
    Outcome(String),
    #[error("an invalid gap: {0}")]
    Gap(String),
    #[error("a gap in the output of a run, where none is allowed")]
    UnexpectedGap,
}

/// A decoder of framed responses. Its state is either between two frames or within one.
#[derive(Debug, Default)]
pub(super) struct FrameDecoder {
    received: Bytes,
    /// The stream of the current frame, and the number of bytes of its payload that have not been returned yet.
    frame: Option<(Stream, usize)>,
}

#[derive(Clone, Copy, Debug)]
enum Stream {
    Stdout,
    Stderr,
    Outcome,
    Gap,
}

#[derive(Deserialize)]
struct Gap {
    gap: u64,
}

impl FrameDecoder {
    /// Adds bytes that have arrived, without a copy if those before were returned.
    pub(super) fn push(&mut self, bytes: Bytes) {
        if self.received.is_empty() {
            self.received = bytes;
            return;
        }
        let mut joined = BytesMut::from(std::mem::take(&mut self.received));
        joined.extend_from_slice(&bytes);
        self.received = joined.freeze();
    }

    /// Returns the next part, or `None` if that needs more bytes.
    ///
    /// # Errors
    /// [`FrameError`]. The rest of the response cannot be decoded after an error.
    pub(super) fn next(&mut self) -> Result<Option<Chunk>, FrameError> {
        loop {
            let (stream, remaining) = match self.frame {
                Some(frame) => frame,
                None => match self.read_head()? {
                    Some(frame) => frame,
                    None => return Ok(None),
                },
            };
            let is_complete = self.received.len() >= remaining;
            if !is_complete && (matches!(stream, Stream::Outcome | Stream::Gap) || self.received.is_empty()) {
                self.frame = Some((stream, remaining));
                return Ok(None);
            }
            let payload = self.received.split_to(remaining.min(self.received.len()));
            self.frame = (!is_complete).then(|| (stream, remaining - payload.len()));
            match stream {
                Stream::Outcome => return Ok(Some(Chunk::Outcome(payload))),
                Stream::Gap => {
                    let gap: Gap =
                        serde_json::from_slice(&payload).map_err(|error| FrameError::Gap(error.to_string()))?;
                    return Ok(Some(Chunk::Gap(gap.gap)));
                }
                Stream::Stdout | Stream::Stderr if payload.is_empty() => {}
                Stream::Stdout => return Ok(Some(Chunk::Stdout(payload))),
                Stream::Stderr => return Ok(Some(Chunk::Stderr(payload))),
            }
        }
    }

    /// Checks that the response ends after a whole frame.
    ///
    /// # Errors
    /// [`FrameError::Truncated`]
    pub(super) fn finish(&self) -> Result<(), FrameError> {
        if self.frame.is_none() && self.received.is_empty() { Ok(()) } else { Err(FrameError::Truncated) }
    }

    fn read_head(&mut self) -> Result<Option<(Stream, usize)>, FrameError> {
        let Some(&[stream, r0, r1, r2, l0, l1, l2, l3]) = self.received.first_chunk() else { return Ok(None) };
        self.received.advance(8);
        let stream = match stream {
            1 => Stream::Stdout,
            2 => Stream::Stderr,
            3 => Stream::Outcome,
            4 => Stream::Gap,
            unknown => return Err(FrameError::UnknownStream(unknown)),
        };
        if [r0, r1, r2] != [0; 3] {
            return Err(FrameError::Reserved);
        }
        let length = u32::from_be_bytes([l0, l1, l2, l3]) as usize;
        if length > MAX_PAYLOAD {
            return Err(FrameError::TooLong(length));
        }
        Ok(Some((stream, length)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESPONSE: &[u8] = b"\x01\0\0\0\0\0\0\x02hi\x02\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\x03err\x03\0\0\0\0\0\0\x02{}";

    /// Decodes a response that arrives in pieces of `size` bytes. Returns stdout, stderr and the outcome.
    fn demultiplex(size: usize) -> (Vec<u8>, Vec<u8>, Option<Bytes>) {
        let (mut stdout, mut stderr, mut outcome) = (Vec::new(), Vec::new(), None);
        let mut decoder = FrameDecoder::default();
        for bytes in RESPONSE.chunks(size) {
            decoder.push(Bytes::copy_from_slice(bytes));
            while let Some(chunk) = decoder.next().unwrap() {
                assert_eq!(outcome, None, "the outcome is the last");
                match chunk {
                    Chunk::Stdout(bytes) => stdout.extend(bytes),
                    Chunk::Stderr(bytes) => stderr.extend(bytes),
                    Chunk::Outcome(bytes) => outcome = Some(bytes),
                    Chunk::Gap(_) => panic!("the response has no gap"),
                }
            }
        }
        (stdout, stderr, outcome)
    }

    #[test]
    fn frames_are_decoded_however_they_are_split() {
        for size in 1..=RESPONSE.len() {
            assert_eq!(demultiplex(size), (b"hi".to_vec(), b"err".to_vec(), Some(Bytes::from("{}"))), "{size}");
        }
    }

    #[test]
    fn output_is_returned_before_its_frame_is_complete() {
        let mut decoder = FrameDecoder::default();
        decoder.push(Bytes::from_static(b"\x01\0\0\0\0\0\0\x09begin"));
        assert_eq!(decoder.next(), Ok(Some(Chunk::Stdout(Bytes::from("begin")))));
        assert_eq!(decoder.next(), Ok(None));
        decoder.push(Bytes::from_static(b"ning\x03"));
        assert_eq!(decoder.next(), Ok(Some(Chunk::Stdout(Bytes::from("ning")))));
        assert_eq!(decoder.next(), Ok(None));
    }

    #[test]
    fn gap_is_returned_when_complete() {
        let mut decoder = FrameDecoder::default();
        decoder.push(Bytes::from_static(b"\x04\0\0\0\0\0\0\x09{\"gap\""));
        assert_eq!(decoder.next(), Ok(None));
        decoder.push(Bytes::from_static(b":7}"));
        assert_eq!(decoder.next(), Ok(Some(Chunk::Gap(7))));
        decoder.push(Bytes::from_static(b"\x04\0\0\0\0\0\0\x02{}"));
        assert!(matches!(decoder.next(), Err(FrameError::Gap(_))));
    }

    #[test]
    fn response_that_ends_within_frame_is_rejected() {
        let frame_ends = [0, 10, 18, 29, RESPONSE.len()];
        for size in 0..=RESPONSE.len() {
            let mut decoder = FrameDecoder::default();
            decoder.push(Bytes::from_static(&RESPONSE[..size]));
            while decoder.next().unwrap().is_some() {}
            let expected = if frame_ends.contains(&size) { Ok(()) } else { Err(FrameError::Truncated) };
            assert_eq!(decoder.finish(), expected, "{size} of {} bytes", RESPONSE.len());
        }
    }

    #[test]
    fn claimed_length_allocates_no_memory_before_bytes_arrive() {
        for length in [u32::MAX, 1 << 31, (16 << 20) + 1] {
            let mut decoder = FrameDecoder::default();
            decoder.push([&[3, 0, 0, 0], &length.to_be_bytes()[..]].concat().into());
            assert_eq!(decoder.next(), Err(FrameError::TooLong(length as usize)));
        }
        let mut decoder = FrameDecoder::default();
        decoder.push(Bytes::from_static(b"\x03\0\0\0\x01\0\0\0"));
        assert_eq!(decoder.next(), Ok(None));
        let capacity = BytesMut::from(decoder.received).capacity();
        assert!(capacity < 1 << 10, "{capacity}");
    }

    #[test]
    fn invalid_frame_is_rejected() {
        for (bytes, error) in [
            (b"\x00\0\0\0\0\0\0\0", FrameError::UnknownStream(0)),
            (b"\x05\0\0\0\0\0\0\0", FrameError::UnknownStream(5)),
            (b"\x01\0\0\x01\0\0\0\0", FrameError::Reserved),
            (b"\x01\0\0\0\x01\0\0\x01", FrameError::TooLong((16 << 20) + 1)),
        ] {
            let mut decoder = FrameDecoder::default();
            decoder.push(Bytes::copy_from_slice(bytes));
            assert_eq!(decoder.next(), Err(error));
        }
        let mut decoder = FrameDecoder::default();
        decoder.push(Bytes::from_static(b"\x01\0\0\0\x01\0\0\0"));
        assert_eq!(decoder.next(), Ok(None), "the longest valid frame is accepted");
    }
}
