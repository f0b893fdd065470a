//! `LastLines`: the last lines of a job's output.

use std::collections::VecDeque;

use capstan_engine::output_log::Piece;

/// Keeps the last lines of what it is given.
pub(super) struct LastLines {
    lines: u64,
    pieces: VecDeque<Piece>,
    /// The line breaks in `pieces`.
    count: u64,
}

impl LastLines {
    /// Returns an empty collection that keeps `lines` lines.
    pub(super) fn new(lines: u64) -> Self {
        Self { lines, pieces: VecDeque::new(), count: 0 }
    }

    pub(super) fn push(&mut self, piece: Piece) {
        self.count += breaks(&piece);
        self.pieces.push_back(piece);
        while let Some(first) = self.pieces.front()
            && self.count - breaks(first) > self.lines
        {
            self.count -= breaks(first);
            self.pieces.pop_front();
        }
    }

    /// Returns the pieces, the first one cut to where the last lines start.
    pub(super) fn into_pieces(mut self) -> VecDeque<Piece> {
        if self.lines == 0 {
            return VecDeque::new();
        }
        let ends_with_break = matches!(self.pieces.back(), Some(Piece::Output { bytes, .. }) if bytes.ends_with(b"\n"));
        let wanted = self.lines + u64::from(ends_with_break) - 1;
        while self.count > wanted {
            let Some(first) = self.pieces.front_mut() else { break };
            let in_first = breaks(first);
            if self.count - in_first > wanted || in_first == 0 {
                self.count -= in_first;
                self.pieces.pop_front();
                continue;
            }
            let Piece::Output { bytes, .. } = first else { break };
            let end = bytes.iter().position(|byte| *byte == b'\n').expect("it has a line break");
            *bytes = bytes.slice(end + 1..);
            self.count -= 1;
            if bytes.is_empty() {
                self.pieces.pop_front();
            }
        }
        self.pieces
    }
}

fn breaks(piece: &Piece) -> u64 {
    match piece {
        Piece::Output { bytes, .. } => bytes.iter().filter(|byte| **byte == b'\n').count() as u64,
        Piece::Gap { .. } => 0,
    }
}
