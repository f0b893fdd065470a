//! What the command reads, fuzzed: the frames of an answer, and what it is called with.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;

use capstan_api::{STDERR, STDOUT, frame_head};
use clap::Parser as _;

use super::frames::{FrameError, Frames, Piece};
use super::{Cli, Command};

/// What came of an answer: its pieces, with what followed of one stream joined, and how it ended.
type Read = (Vec<Piece>, Result<(), FrameError>);

/// Takes an answer that ends between two frames. How it is cut on its way, the first byte says, and makes no difference; and what the
/// daemon frames comes out as it went in.
pub fn frames(bytes: &[u8]) -> bool {
    let Some((&cut, answer)) = bytes.split_first() else { return false };
    let (pieces, end) = read([answer]);
    assert_eq!(read(answer.chunks(1)), (pieces.clone(), end.clone()));
    assert_eq!(read(pieces_of(answer, cut)), (pieces, end.clone()));
    let sent: Vec<_> = pieces_of(answer, cut).enumerate().map(|(at, payload)| frame(at % 2 == 0, payload)).collect();
    let sent = sent.concat();
    let of = |is_stdout: bool| -> Vec<u8> {
        let payloads = pieces_of(answer, cut).enumerate().filter(|(at, _)| (at % 2 == 0) == is_stdout);
        payloads.flat_map(|(_, payload)| payload.to_vec()).collect()
    };
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let (received, whole) = read(pieces_of(&sent, cut));
    for piece in received {
        match piece {
            Piece::Stdout(bytes) => stdout.extend(bytes),
            Piece::Stderr(bytes) => stderr.extend(bytes),
            other => panic!("nobody sent {other:?}"),
        }
    }
    assert_eq!((stdout, stderr, whole), (of(true), of(false), Ok(())));
    end.is_ok()
}

/// A frame as the daemon sends it.
fn frame(is_stdout: bool, payload: &[u8]) -> Vec<u8> {
    [&frame_head(if is_stdout { STDOUT } else { STDERR }, payload.len()), payload].concat()
}

/// `bytes` in pieces of different lengths, none of them empty.
fn pieces_of(bytes: &[u8], cut: u8) -> impl Iterator<Item = &[u8]> {
    let (mut rest, mut length) = (bytes, usize::from(cut));
    std::iter::from_fn(move || {
        length = length * 5 % 251 + 1;
        let (piece, later) = rest.split_at(length.min(rest.len()));
        rest = later;
        (!piece.is_empty()).then_some(piece)
    })
}

fn read<'a>(arriving: impl IntoIterator<Item = &'a [u8]>) -> Read {
    let (mut frames, mut pieces) = (Frames::default(), Vec::new());
    for bytes in arriving {
        frames.push(bytes);
        loop {
            match frames.next() {
                Ok(Some(piece)) => join(&mut pieces, piece),
                Ok(None) => break,
                Err(error) => return (pieces, Err(error)),
            }
        }
    }
    let end = frames.end();
    (pieces, end)
}

/// Adds `piece`, to the one before it where both are of one stream.
fn join(pieces: &mut Vec<Piece>, piece: Piece) {
    let joined = match (pieces.last(), &piece) {
        (Some(Piece::Stdout(before)), Piece::Stdout(bytes)) => Piece::Stdout([&before[..], bytes].concat().into()),
        (Some(Piece::Stderr(before)), Piece::Stderr(bytes)) => Piece::Stderr([&before[..], bytes].concat().into()),
        _ => return pieces.push(piece),
    };
    *pieces.last_mut().expect("it was just looked at") = joined;
}

/// Takes what the command understands, with NUL between words. What stands after the name of a handler is the guest's, to the letter;
/// what is wrong is told.
pub fn arguments(bytes: &[u8]) -> bool {
    let words: Vec<_> = bytes.split(|byte| *byte == 0).map(|word| OsString::from_vec(word.to_vec())).collect();
    let given = std::iter::once("capstan".into()).chain(words.iter().cloned());
    match Cli::try_parse_from(given) {
        Ok(Cli { command: Command::Run(run), .. }) => {
            assert!(words.ends_with(&run.args.words), "{words:?}: {:?}", run.args.words);
            true
        }
        Ok(_) => true,
        Err(wrong) => {
            assert!(!wrong.to_string().is_empty(), "{words:?}");
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn corpus_of_arguments_holds_every_property() {
        capstan_corpus::replay("arguments", arguments);
    }

    #[test]
    fn corpus_of_frames_holds_every_property() {
        capstan_corpus::replay("frames", frames);
    }
}
