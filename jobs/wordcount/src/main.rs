//! A job that counts the lines, words and bytes of stdin, and writes the counts and the most frequent words to stdout as JSON.
//!
//! Stdin may contain any bytes. Bytes that are not UTF-8 separate words. It is streamed through one fixed buffer, so its length is unlimited.

mod count;
mod decode;
mod report;

use std::io::{self, Read as _, Write as _};

use capstan_guest::{Args, Exit};

use crate::count::Count;

/// Bytes to read in one host call. wasmtime-wasi returns at most 64 KiB.
const BUFFER: usize = 64 * 1024;

fn main() -> Exit {
    Exit::of(wordcount(Args::of_job()))
}

fn wordcount(mut args: Args) -> Result<(), Exit> {
    let top = args.flag("top")?.unwrap_or(10_u32);
    args.finish()?;

    let mut count = Count::default();
    let mut decoder = decode::Decoder::default();
    let mut stdin = io::stdin().lock();
    let mut buffer = vec![0; BUFFER];
    loop {
        let length = match stdin.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error.into()),
        };
        count.bytes(&buffer[..length]);
        decoder.feed(&buffer[..length], |text| count.text(text))?;
    }
    decoder.end(|text| count.text(text))?;

    let mut stdout = io::stdout().lock();
    stdout.write_all(report::json(&count.finish()?, top).as_bytes())?;
    Ok(stdout.flush()?)
}
