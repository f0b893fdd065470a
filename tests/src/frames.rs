//! Parses the framed response of a run. A frame is a head of eight bytes (stream, three zeros, length in big endian) and a payload.

use serde_json::Value;

/// The media type that a client accepts to get frames.
pub const MEDIA_TYPE: &str = "application/vnd.capstan.stream";

const HEAD: usize = 8;

/// A complete framed response.
#[derive(Debug)]
pub struct Framed {
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    /// The payload of the last frame: `job`, `handler`, `outcome`, `exit_code`, `usage`.
    pub last: Value,
}

impl Framed {
    /// Returns the kind of the outcome.
    pub fn kind(&self) -> &str {
        self.outcome()["kind"].as_str().unwrap_or_else(|| panic!("no kind in {}", self.last))
    }

    /// Returns the outcome.
    pub fn outcome(&self) -> &Value {
        &self.last["outcome"]
    }

    /// Compares the kind of the outcome and the exit code.
    #[track_caller]
    pub fn assert_outcome(&self, kind: &str, exit_code: u8) {
        assert_eq!(self.kind(), kind, "{}", self.last);
        assert_eq!(self.last["exit_code"], exit_code, "{}", self.last);
    }
}

/// Splits a complete body into its streams.
///
/// # Panics
/// If the body is not a whole number of frames, or its last frame is not its only outcome.
pub fn demultiplex(body: &[u8]) -> Framed {
    let mut framed = Framed { stdout: Vec::new(), stderr: Vec::new(), last: Value::Null };
    let mut splitter = Splitter::default();
    for (stream, payload) in splitter.push(body) {
        assert_eq!(framed.last, Value::Null, "a frame of stream {stream} follows the outcome");
        match stream {
            1 => framed.stdout.extend(payload),
            2 => framed.stderr.extend(payload),
            3 => framed.last = serde_json::from_slice(&payload).expect("the outcome is JSON"),
            _ => panic!("unknown stream {stream}"),
        }
    }
    assert!(splitter.rest.is_empty(), "{} bytes follow the last whole frame", splitter.rest.len());
    assert_ne!(framed.last, Value::Null, "no frame contains the outcome");
    framed
}

/// Splits a body that arrives in pieces.
#[derive(Debug, Default)]
pub struct Splitter {
    rest: Vec<u8>,
}

impl Splitter {
    /// Adds a piece and returns the frames that are now complete.
    pub fn push(&mut self, piece: &[u8]) -> Vec<(u8, Vec<u8>)> {
        self.rest.extend_from_slice(piece);
        let mut frames = Vec::new();
        while let Some((head, body)) = self.rest.split_first_chunk::<HEAD>() {
            let [stream, a, b, c, length @ ..] = *head;
            assert_eq!([a, b, c], [0; 3], "the reserved bytes of a frame are zero");
            let length = u32::from_be_bytes(length) as usize;
            if body.len() < length {
                break;
            }
            frames.push((stream, body[..length].to_vec()));
            self.rest.drain(..HEAD + length);
        }
        frames
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splitter_with_single_bytes_returns_same_frames() {
        let body = b"\x01\0\0\0\0\0\0\x02hi\x02\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\x02{}";
        let whole = Splitter::default().push(body);
        assert_eq!(whole, [(1, b"hi".to_vec()), (2, Vec::new()), (3, b"{}".to_vec())]);
        let mut splitter = Splitter::default();
        let bytewise: Vec<_> = body.iter().flat_map(|byte| splitter.push(&[*byte])).collect();
        assert_eq!(bytewise, whole);
    }

    #[test]
    #[should_panic(expected = "no frame contains the outcome")]
    fn response_without_outcome_is_rejected() {
        demultiplex(b"\x01\0\0\0\0\0\0\x02hi");
    }
}
