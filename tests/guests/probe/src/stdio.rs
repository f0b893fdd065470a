//! Arguments, variables and the three streams.

use std::fmt::Write as _;
use std::io::{self, BufWriter, IsTerminal as _, Read as _, Write};

const BUFFER: usize = 8 * 1024;

pub(crate) fn args(args: &[&str]) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    args.iter().try_for_each(|arg| writeln!(stdout, "{}", quoted(arg)))
}

pub(crate) fn env() -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    std::env::vars().try_for_each(|(name, value)| writeln!(stdout, "{name}={value}"))
}

pub(crate) fn cat() -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    pieces_of_stdin(|piece| {
        stdout.write_all(piece)?;
        stdout.flush()
    })
}

pub(crate) fn sum() -> io::Result<()> {
    let (mut length, mut checksum) = (0_u64, 0xCBF2_9CE4_8422_2325_u64);
    pieces_of_stdin(|piece| {
        length += piece.len() as u64;
        for byte in piece {
            checksum = (checksum ^ u64::from(*byte)).wrapping_mul(0x100_0000_01B3);
        }
        Ok(())
    })?;
    writeln!(io::stdout(), "{length} {checksum:016x}")
}

pub(crate) fn both(lines: u64) -> io::Result<()> {
    for line in 0..lines {
        if line % 2 == 0 {
            writeln!(io::stdout(), "stdout {line}")?;
        } else {
            writeln!(io::stderr(), "stderr {line}")?;
        }
    }
    Ok(())
}

pub(crate) fn lines(lines: u64) -> io::Result<()> {
    let mut stdout = BufWriter::with_capacity(BUFFER, io::stdout().lock());
    (0..lines).try_for_each(|line| writeln!(stdout, "line {line}"))?;
    stdout.flush()
}

fn pieces_of_stdin(mut take: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    let mut stdin = io::stdin().lock();
    let mut buffer = [0; BUFFER];
    loop {
        match stdin.read(&mut buffer)? {
            0 => return Ok(()),
            length => take(&buffer[..length])?,
        }
    }
}

fn quoted(text: &str) -> String {
    let mut json = String::from('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => json.extend(['\\', character]),
            '\0'..='\x1f' => write!(json, "\\u{:04x}", u32::from(character)).expect("a String accepts all writes"),
            _ => json.push(character),
        }
    }
    json.push('"');
    json
}

/// Prints which streams are terminals.
pub(crate) fn tty() -> io::Result<()> {
    let terminals = [
        ("stdin", io::stdin().is_terminal()),
        ("stdout", io::stdout().is_terminal()),
        ("stderr", io::stderr().is_terminal()),
    ];
    let names = terminals.into_iter().filter(|(_, is_terminal)| *is_terminal).map(|(name, _)| format!(" {name}"));
    writeln!(io::stdout(), "terminals:{}", names.collect::<String>())
}

/// Prints `size` bytes and exits with 3.
pub(crate) fn fail(size: usize) -> io::Result<()> {
    io::stdout().write_all(&vec![b'x'; size])?;
    io::stdout().flush()?;
    std::process::exit(3)
}

#[cfg(test)]
mod tests {
    #[test]
    fn quoted_text_is_json() {
        assert_eq!(super::quoted("a\"b\\c\n\u{1}é"), r#""a\"b\\c\u000a\u0001é""#);
    }
}
