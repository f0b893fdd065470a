//! The guest by which tests ask what WASI does: one program of many small commands, the first argument says which.
//!
//! It uses `std` alone, so that what it shows is what any program of the toolchain meets. A host call that fails is told on stdout, as `error: …`,
//! and ends with exit code 1; wrong usage is told on stderr and ends with 2.

#![allow(
    clippy::disallowed_methods,
    clippy::exit,
    reason = "to ask for what a guest must not get is what this program is for"
)]

mod ask;
mod burn;
mod stdio;

use std::io::{self, Write as _};
use std::process::ExitCode;

const USAGE: &str = "usage: probe COMMAND
  name                  print the name the program was started with
  args [ARG...]         print each argument on a line, as a JSON string
  env                   print the variables as NAME=VALUE, in their order
  exit CODE             end with this exit code
  panic                 panic
  cat                   copy stdin to stdout in pieces of 8 KiB
  sum                   print the number of bytes on stdin and their FNV-1a checksum
  stderr TEXT           print a line on stderr
  both N                print N lines on stdout and stderr in turn
  lines N               print N numbered lines
  spin                  compute for ever
  sleep SECONDS         sleep, then print ok
  alloc MIB             allocate and touch memory, then print ok
  now                   print the wall-clock time in seconds since 1970
  senses                print that, the order in which a hash table gives its keys, and how long a sleep of 3 ms took
  read PATH             print a file
  write PATH TEXT       write a file, then print ok
  ls PATH               print the names in a directory, sorted
  handles N PATH        open a file N times, keep it open, and print how many times it worked
  connect ADDR          connect over TCP, then print ok";

fn main() -> ExitCode {
    let mut args = std::env::args();
    let name = args.next().unwrap_or_default();
    let args: Vec<String> = args.collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match run(&name, &words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Usage) => {
            eprintln!("{USAGE}");
            ExitCode::from(2)
        }
        Err(Failure::Host(error)) => {
            println!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Why a command did not do what it is for.
enum Failure {
    /// There is no such command, or its arguments are wrong.
    Usage,
    /// The host refused something.
    Host(io::Error),
}

fn run(name: &str, words: &[&str]) -> Result<(), Failure> {
    let done = match words {
        ["name"] => writeln!(io::stdout(), "{name}"),
        ["args", rest @ ..] => stdio::args(rest),
        ["env"] => stdio::env(),
        ["exit", code] => std::process::exit(number(code)?),
        ["panic"] => panic!("as asked"),
        ["cat"] => stdio::cat(),
        ["sum"] => stdio::sum(),
        ["stderr", text] => writeln!(io::stderr(), "{text}"),
        ["both", lines] => stdio::both(number(lines)?),
        ["lines", lines] => stdio::lines(number(lines)?),
        ["spin"] => burn::spin(),
        ["sleep", seconds] => burn::sleep(number(seconds)?),
        ["alloc", mebibytes] => burn::alloc(number(mebibytes)?),
        ["now"] => ask::now(),
        ["senses"] => ask::senses(),
        ["read", path] => ask::read(path),
        ["write", path, text] => ask::write(path, text),
        ["ls", path] => ask::ls(path),
        ["handles", count, path] => ask::handles(number(count)?, path),
        ["connect", address] => ask::connect(address),
        _ => return Err(Failure::Usage),
    };
    done.map_err(Failure::Host)
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, Failure> {
    text.parse().map_err(|_| Failure::Usage)
}
