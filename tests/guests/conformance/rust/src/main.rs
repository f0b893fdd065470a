//! The conformance job in Rust. `../README.md` says what each command does.

#![expect(clippy::disallowed_methods, reason = "a guest has no other way to its files, clocks and environment")]

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Read, Write};
use std::process::ExitCode;
use std::time::{Instant, SystemTime, UNIX_EPOCH};
use std::{env, fs};

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match run(&args) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(1)
        }
    }
}

fn run(args: &[&str]) -> io::Result<ExitCode> {
    match *args {
        ["args", ref rest @ ..] => rest.iter().for_each(|arg| println!("{arg}")),
        ["env", name] => match env::var(name) {
            Ok(value) => println!("{value}"),
            Err(_) => return Ok(ExitCode::from(3)),
        },
        ["cat"] => drop(copy_stdin()?),
        ["stderr", text] => eprintln!("{text}"),
        ["copy", from, to] => fs::write(to, fs::read(from)?)?,
        ["exit", code] => return Ok(ExitCode::from(code.parse::<u8>().unwrap_or(1))),
        ["random"] => print_random(),
        ["clock"] => print_clock(),
        ["stream"] => eprintln!("{}", copy_stdin()?),
        ["trap"] => fail_on_purpose(args.len()),
        ["catch"] => match parse("x") {
            Ok(number) => println!("{number}"),
            Err(error) => println!("caught {error}"),
        },
        _ => return Ok(ExitCode::from(2)),
    }
    Ok(ExitCode::SUCCESS)
}

/// Copies stdin to stdout, and returns the number of bytes.
fn copy_stdin() -> io::Result<u64> {
    let (mut input, mut output) = (io::stdin().lock(), io::stdout().lock());
    let (mut buffer, mut count) = (vec![0; 64 << 10], 0);
    loop {
        let length = input.read(&mut buffer)?;
        if length == 0 {
            output.flush()?;
            return Ok(count);
        }
        output.write_all(&buffer[..length])?;
        count += length as u64;
    }
}

/// The standard library seeds its hash maps with random bytes of the host.
fn print_random() {
    let map: HashMap<(), ()> = HashMap::new();
    println!("{:016x}{:016x}", map.hasher().hash_one(1), RandomState::new().hash_one(2));
}

fn print_clock() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    let start = Instant::now();
    while start.elapsed().is_zero() {}
    println!("{now} {}", start.elapsed().as_nanos());
}

fn parse(text: &str) -> Result<u32, &'static str> {
    text.parse().map_err(|_| "not a number")
}

#[inline(never)]
fn fail_on_purpose(count: usize) {
    assert!(count > 7, "on purpose");
}
