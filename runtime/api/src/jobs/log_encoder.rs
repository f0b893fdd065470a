//! `LogEncoder`: the stored output of a job as a client gets it, plain or in frames.

use bytes::{Bytes, BytesMut};
use capstan_core::outcome::OutputStream;
use capstan_engine::output_log::Piece;
use serde_json::json;

use super::super::run::framed;
use super::log_reader::EndedJob;

/// The stream of a frame that reports missing output.
const GAP: u8 = 4;

/// Encodes the output of one job for one client.
pub(super) struct LogEncoder {
    /// The streams that the client has selected.
    streams: Vec<OutputStream>,
    is_framed: bool,
    has_timestamps: bool,
    /// Whether the next byte of stdout, and of stderr, starts a line, which gets a timestamp.
    at_line_start: [bool; 2],
}

impl LogEncoder {
    pub(super) fn new(streams: Vec<OutputStream>, is_framed: bool, has_timestamps: bool) -> Self {
        Self { streams, is_framed, has_timestamps, at_line_start: [true; 2] }
    }

    /// Encodes `piece`. Returns no bytes for a stream that is not selected.
    pub(super) fn encode(&mut self, piece: &Piece) -> Bytes {
        match piece {
            Piece::Output { stream, .. } if !self.streams.contains(stream) => Bytes::new(),
            Piece::Output { stream, at, bytes } => {
                let text = if self.has_timestamps {
                    self.add_timestamps(*stream, &format!("{at:.9} "), bytes)
                } else {
                    bytes.clone()
                };
                let stream = if *stream == OutputStream::Stdout { framed::STDOUT } else { framed::STDERR };
                self.frame(stream, text)
            }
            Piece::Gap { missed } if self.is_framed => self.frame(GAP, json!({"gap": missed}).to_string().into()),
            Piece::Gap { missed } => {
                self.at_line_start = [true; 2];
                format!("[capstan: {missed} bytes of output are missing here]\n").into()
            }
        }
    }

    /// Returns `bytes` with `timestamp` before each line that starts in them.
    fn add_timestamps(&mut self, stream: OutputStream, timestamp: &str, bytes: &[u8]) -> Bytes {
        let at_line_start = &mut self.at_line_start[usize::from(stream == OutputStream::Stderr)];
        let mut text = BytesMut::with_capacity(bytes.len() + timestamp.len());
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            if *at_line_start {
                text.extend_from_slice(timestamp.as_bytes());
            }
            text.extend_from_slice(line);
            *at_line_start = line.ends_with(b"\n");
        }
        text.freeze()
    }

    fn frame(&self, stream: u8, text: Bytes) -> Bytes {
        if self.is_framed { [&framed::frame_head(stream, text.len()), &*text].concat().into() } else { text }
    }

    /// Encodes how the job ended. Returns no bytes without frames, and before the end.
    pub(super) fn encode_outcome(&self, ended: Option<&EndedJob>) -> Bytes {
        match ended {
            Some(EndedJob { id, handler, end }) if self.is_framed => framed::outcome_frame(*id, handler, end),
            _ => Bytes::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn add_timestamps_puts_timestamp_before_each_line_of_its_stream() {
        let mut encoder = LogEncoder::new(Vec::new(), false, true);
        assert_eq!(encoder.add_timestamps(OutputStream::Stdout, "T ", b"a\nb"), "T a\nT b");
        assert_eq!(encoder.add_timestamps(OutputStream::Stderr, "T ", b"x\n"), "T x\n");
        assert_eq!(encoder.add_timestamps(OutputStream::Stdout, "T ", b"c\n\nd\n"), "c\nT \nT d\n");
    }
}
