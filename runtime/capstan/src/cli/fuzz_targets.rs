//! The fuzz targets of the command: decoding frames, and parsing the command line.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;

use bytes::Bytes;
use capstan_api::{STDERR, STDOUT, frame_head};
use clap::Parser as _;

use super::frames::{Chunk, FrameDecoder, FrameError};
use super::{Cli, Command};

/// The result of decoding a response: its parts, with neighbours of the same stream joined, and how it ended.
type Decoded = (Vec<Chunk>, Result<(), FrameError>);

/// Decodes the bytes as a framed response. Accepts a response that ends between two frames.
///
/// Checks that the pieces in which a response arrives make no difference, and that output framed by the daemon is decoded unchanged. The
/// first byte selects the lengths of the pieces.
pub fn frames(bytes: &[u8]) -> bool {
    let Some((&seed, response)) = bytes.split_first() else { return false };
    let (chunks, end) = decode([response]);
    assert_eq!(decode(response.chunks(1)), (chunks.clone(), end.clone()));
    assert_eq!(decode(split(response, seed)), (chunks, end.clone()));
    let frames: Vec<_> =
        split(response, seed).enumerate().map(|(index, payload)| frame(index % 2 == 0, payload)).collect();
    let framed = frames.concat();
    let expected = |is_stdout: bool| -> Vec<u8> {
        let payloads = split(response, seed).enumerate().filter(|(index, _)| (index % 2 == 0) == is_stdout);
        payloads.flat_map(|(_, payload)| payload.to_vec()).collect()
    };
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let (decoded, framed_end) = decode(split(&framed, seed));
    for chunk in decoded {
        match chunk {
            Chunk::Stdout(bytes) => stdout.extend(bytes),
            Chunk::Stderr(bytes) => stderr.extend(bytes),
            other => panic!("{other:?} was not sent"),
        }
    }
    assert_eq!((stdout, stderr, framed_end), (expected(true), expected(false), Ok(())));
    end.is_ok()
}

/// Returns a frame as the daemon sends it.
fn frame(is_stdout: bool, payload: &[u8]) -> Vec<u8> {
    [&frame_head(if is_stdout { STDOUT } else { STDERR }, payload.len()), payload].concat()
}

/// Splits `bytes` into pieces of different lengths, none of them empty.
fn split(bytes: &[u8], seed: u8) -> impl Iterator<Item = &[u8]> {
    let (mut rest, mut length) = (bytes, usize::from(seed));
    std::iter::from_fn(move || {
        length = length * 5 % 251 + 1;
        let (piece, later) = rest.split_at(length.min(rest.len()));
        rest = later;
        (!piece.is_empty()).then_some(piece)
    })
}

fn decode<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Decoded {
    let (mut decoder, mut chunks) = (FrameDecoder::default(), Vec::new());
    for bytes in pieces {
        decoder.push(Bytes::copy_from_slice(bytes));
        loop {
            match decoder.next() {
                Ok(Some(chunk)) => join(&mut chunks, chunk),
                Ok(None) => break,
                Err(error) => return (chunks, Err(error)),
            }
        }
    }
    let end = decoder.finish();
    (chunks, end)
}

/// Appends `chunk`, or joins it to the last one if both are of the same output stream.
fn join(chunks: &mut Vec<Chunk>, chunk: Chunk) {
    let joined = match (chunks.last(), &chunk) {
        (Some(Chunk::Stdout(before)), Chunk::Stdout(bytes)) => Chunk::Stdout([&before[..], bytes].concat().into()),
        (Some(Chunk::Stderr(before)), Chunk::Stderr(bytes)) => Chunk::Stderr([&before[..], bytes].concat().into()),
        _ => return chunks.push(chunk),
    };
    *chunks.last_mut().expect("it has just been matched") = joined;
}

/// Parses a command line whose words are separated by NUL. Accepts one that the command accepts.
///
/// Checks that everything after the name of a handler goes to the guest unchanged, and that wrong usage has a message.
pub fn arguments(bytes: &[u8]) -> bool {
    let words: Vec<_> = bytes.split(|byte| *byte == 0).map(|word| OsString::from_vec(word.to_vec())).collect();
    let line = std::iter::once("capstan".into()).chain(words.iter().cloned());
    match Cli::try_parse_from(line) {
        Ok(Cli { command: Command::Run(run), .. }) => {
            assert!(words.ends_with(&run.args.words), "{words:?}: {:?}", run.args.words);
            true
        }
        Ok(_) => true,
        Err(error) => {
            assert!(!error.to_string().is_empty(), "{words:?}");
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
