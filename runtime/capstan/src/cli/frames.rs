//! The framed answer of a run or of logs, taken apart as it arrives: eight bytes of head (stream, three zeros, length in big endian), then the
//! payload. Output is handed on in the pieces in which it comes; only what is JSON is collected.

use bytes::{Buf as _, Bytes, BytesMut};
use serde::Deserialize;

/// What a client accepts to get frames.
pub(super) const MEDIA_TYPE: &str = "application/vnd.capstan.stream";

/// Bytes of the longest payload: more than any daemon sends, and a bound for what the outcome may take.
const MAX_PAYLOAD: usize = 16 << 20;

/// A part of the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// Some of what the guest wrote to stdout.
    Stdout(Bytes),
    /// Some of what the guest wrote to stderr.
    Stderr(Bytes),
    /// All of the outcome, which is the last.
    Outcome(Bytes),
    /// Bytes of output that the daemon does not have any more; in logs only.
    Gap(u64),
}

/// What makes an answer unreadable; completes the sentence "the daemon sent …".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum FrameError {
    #[error("a frame of a stream that is not known: {0}")]
    UnknownStream(u8),
    #[error("a frame whose reserved bytes are not zero")]
    Reserved,
    #[error("a frame of {0} bytes, more than the {MAX_PAYLOAD} that one may have")]
    TooLong(usize),
    #[error("an answer that ends within a frame")]
    Truncated,
    #[error("an outcome that cannot be read: {0}")]
    Outcome(String),
    #[error("a gap that cannot be read: {0}")]
    Gap(String),
    #[error("a gap in the output of a run")]
    Missing,
}

/// Takes an answer apart; in a state between two frames, or within one.
#[derive(Debug, Default)]
pub(super) struct Frames {
    received: BytesMut,
    /// The stream of the frame that is being read, and how many bytes of it are still to come.
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

impl Frames {
    /// Adds what has arrived.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.received.extend_from_slice(bytes);
    }

    /// The next piece of what has arrived; `None` where that takes more bytes.
    ///
    /// # Errors
    /// [`FrameError`]; what follows cannot be read either.
    pub(super) fn next(&mut self) -> Result<Option<Piece>, FrameError> {
        loop {
            let (stream, left) = match self.frame {
                Some(frame) => frame,
                None => match self.head()? {
                    Some(frame) => frame,
                    None => return Ok(None),
                },
            };
            let whole = self.received.len() >= left;
            if !whole && (matches!(stream, Stream::Outcome | Stream::Gap) || self.received.is_empty()) {
                self.frame = Some((stream, left));
                return Ok(None);
            }
            let payload = self.received.split_to(left.min(self.received.len())).freeze();
            self.frame = (!whole).then(|| (stream, left - payload.len()));
            match stream {
                Stream::Outcome => return Ok(Some(Piece::Outcome(payload))),
                Stream::Gap => {
                    let gap: Gap =
                        serde_json::from_slice(&payload).map_err(|error| FrameError::Gap(error.to_string()))?;
                    return Ok(Some(Piece::Gap(gap.gap)));
                }
                Stream::Stdout | Stream::Stderr if payload.is_empty() => {}
                Stream::Stdout => return Ok(Some(Piece::Stdout(payload))),
                Stream::Stderr => return Ok(Some(Piece::Stderr(payload))),
            }
        }
    }

    /// That nothing more comes.
    ///
    /// # Errors
    /// [`FrameError::Truncated`] where the last frame is not whole.
    pub(super) fn end(&self) -> Result<(), FrameError> {
        if self.frame.is_none() && self.received.is_empty() { Ok(()) } else { Err(FrameError::Truncated) }
    }

    fn head(&mut self) -> Result<Option<(Stream, usize)>, FrameError> {
        let Some(&[stream, a, b, c, l0, l1, l2, l3]) = self.received.first_chunk() else { return Ok(None) };
        self.received.advance(8);
        let stream = match stream {
            1 => Stream::Stdout,
            2 => Stream::Stderr,
            3 => Stream::Outcome,
            4 => Stream::Gap,
            unknown => return Err(FrameError::UnknownStream(unknown)),
        };
        if [a, b, c] != [0; 3] {
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

    const ANSWER: &[u8] = b"\x01\0\0\0\0\0\0\x02hi\x02\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\x03err\x03\0\0\0\0\0\0\x02{}";

    /// What comes out of an answer that arrives in pieces of `size` bytes: stdout, stderr, outcome.
    fn demultiplex(size: usize) -> (Vec<u8>, Vec<u8>, Option<Bytes>) {
        let (mut stdout, mut stderr, mut outcome) = (Vec::new(), Vec::new(), None);
        let mut frames = Frames::default();
        for bytes in ANSWER.chunks(size) {
            frames.push(bytes);
            while let Some(piece) = frames.next().unwrap() {
                assert_eq!(outcome, None, "the outcome is the last");
                match piece {
                    Piece::Stdout(bytes) => stdout.extend(bytes),
                    Piece::Stderr(bytes) => stderr.extend(bytes),
                    Piece::Outcome(bytes) => outcome = Some(bytes),
                    Piece::Gap(_) => panic!("there is no gap in it"),
                }
            }
        }
        (stdout, stderr, outcome)
    }

    #[test]
    fn frames_survive_any_splitting() {
        for size in 1..=ANSWER.len() {
            assert_eq!(demultiplex(size), (b"hi".to_vec(), b"err".to_vec(), Some(Bytes::from("{}"))), "{size}");
        }
    }

    #[test]
    fn output_does_not_wait_for_the_rest_of_its_frame() {
        let mut frames = Frames::default();
        frames.push(b"\x01\0\0\0\0\0\0\x09begin");
        assert_eq!(frames.next(), Ok(Some(Piece::Stdout(Bytes::from("begin")))));
        assert_eq!(frames.next(), Ok(None));
        frames.push(b"ning\x03");
        assert_eq!(frames.next(), Ok(Some(Piece::Stdout(Bytes::from("ning")))));
        assert_eq!(frames.next(), Ok(None));
    }

    #[test]
    fn a_gap_is_read_whole() {
        let mut frames = Frames::default();
        frames.push(b"\x04\0\0\0\0\0\0\x09{\"gap\"");
        assert_eq!(frames.next(), Ok(None));
        frames.push(b":7}");
        assert_eq!(frames.next(), Ok(Some(Piece::Gap(7))));
        frames.push(b"\x04\0\0\0\0\0\0\x02{}");
        assert!(matches!(frames.next(), Err(FrameError::Gap(_))));
    }

    #[test]
    fn an_answer_that_ends_within_a_frame_is_no_answer() {
        let whole = [0, 10, 18, 29, ANSWER.len()];
        for size in 0..=ANSWER.len() {
            let mut frames = Frames::default();
            frames.push(&ANSWER[..size]);
            while frames.next().unwrap().is_some() {}
            let ended = if whole.contains(&size) { Ok(()) } else { Err(FrameError::Truncated) };
            assert_eq!(frames.end(), ended, "{size} of {} bytes", ANSWER.len());
        }
    }

    #[test]
    fn no_length_that_is_told_takes_memory_before_it_is_there() {
        for length in [u32::MAX, 1 << 31, (16 << 20) + 1] {
            let mut frames = Frames::default();
            frames.push(&[&[3, 0, 0, 0], &length.to_be_bytes()[..]].concat());
            assert_eq!(frames.next(), Err(FrameError::TooLong(length as usize)));
        }
        let mut frames = Frames::default();
        frames.push(b"\x03\0\0\0\x01\0\0\0");
        assert_eq!(frames.next(), Ok(None));
        assert!(frames.received.capacity() < 1 << 10, "{}", frames.received.capacity());
    }

    #[test]
    fn what_is_no_frame_is_refused() {
        for (bytes, error) in [
            (b"\x00\0\0\0\0\0\0\0", FrameError::UnknownStream(0)),
            (b"\x05\0\0\0\0\0\0\0", FrameError::UnknownStream(5)),
            (b"\x01\0\0\x01\0\0\0\0", FrameError::Reserved),
            (b"\x01\0\0\0\x01\0\0\x01", FrameError::TooLong((16 << 20) + 1)),
        ] {
            let mut frames = Frames::default();
            frames.push(bytes);
            assert_eq!(frames.next(), Err(error));
        }
        let mut frames = Frames::default();
        frames.push(b"\x01\0\0\0\x01\0\0\0");
        assert_eq!(frames.next(), Ok(None), "the longest frame there may be is read");
    }
}
