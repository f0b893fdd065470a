//! A command that answers requests as CGI/1.1. `PATH_INFO` selects what it does:
//!
//! | path | does |
//! |---|---|
//! | `/hello` | prints a short text |
//! | `/env` | prints its variables, one a line |
//! | `/echo` | prints stdin while it arrives |
//! | `/raw/CODE` | prints the percent-decoded query as its whole output, reads stdin to its end, and exits with CODE |
//! | `/fields` | prints header fields of 10 MB |
//! | `/flood` | prints a body without end |
//! | `/spin` | prints nothing and never ends |

#![allow(clippy::disallowed_methods, clippy::exit, reason = "a guest reads its own variables and exits with a code")]

use std::io::{self, Read as _, Write as _};
use std::process::ExitCode;

fn main() -> io::Result<ExitCode> {
    let path = std::env::var("PATH_INFO").unwrap_or_default();
    match path.split('/').nth(1).unwrap_or_default() {
        "hello" => print("Content-Type: text/plain\n\nhello\n")?,
        "env" => print_variables()?,
        "echo" => echo()?,
        "raw" => return print_raw(path.rsplit('/').next().unwrap_or_default()),
        "fields" => print(&format!("X-Field: {}\n", "x".repeat(1000)).repeat(10_000))?,
        "flood" => flood()?,
        "spin" => loop {
            std::hint::spin_loop();
        },
        other => print(&format!("Status: 404 Not Found\nContent-Type: text/plain\n\nno test {other:?}\n"))?,
    }
    Ok(ExitCode::SUCCESS)
}

fn print(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

fn print_variables() -> io::Result<()> {
    let lines: String = std::env::vars().map(|(name, value)| format!("{name}={value}\n")).collect();
    print(&format!("Content-Type: text/plain\n\n{lines}"))
}

fn echo() -> io::Result<()> {
    print("Content-Type: application/octet-stream\n\n")?;
    let (mut stdin, mut stdout) = (io::stdin(), io::stdout());
    let mut buffer = vec![0; 64 << 10];
    loop {
        let read = stdin.read(&mut buffer)?;
        if read == 0 {
            return Ok(());
        }
        stdout.write_all(&buffer[..read])?;
        stdout.flush()?;
    }
}

fn print_raw(code: &str) -> io::Result<ExitCode> {
    let query = std::env::var("QUERY_STRING").unwrap_or_default();
    let mut stdout = io::stdout();
    stdout.write_all(&percent_decode(query.as_bytes()))?;
    stdout.flush()?;
    io::copy(&mut io::stdin(), &mut io::sink())?;
    Ok(ExitCode::from(code.parse::<u8>().unwrap_or_default()))
}

fn flood() -> io::Result<()> {
    print("Content-Type: application/octet-stream\n\n")?;
    let piece = vec![b'x'; 64 << 10];
    loop {
        io::stdout().write_all(&piece)?;
    }
}

fn percent_decode(mut text: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(text.len());
    while let Some((&first, rest)) = text.split_first() {
        let digits = rest.get(..2).filter(|_| first == b'%').and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                decoded.push(byte);
                text = &rest[2..];
            }
            None => {
                decoded.push(first);
                text = rest;
            }
        }
    }
    decoded
}
