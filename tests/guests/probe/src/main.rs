//! The guest with which tests examine WASI: one program with many small commands. The first argument selects the command.
//!
//! It uses only `std`, so that it behaves like any program of the toolchain. If a host call fails, it prints `error: …` on stdout and exits
//! with 1. For wrong usage it prints the usage on stderr and exits with 2.

#![allow(clippy::disallowed_methods, clippy::exit, reason = "this program exists to request what a guest must not get")]

mod ask;
mod bulk;
mod burn;
mod by_file;
mod disk;
mod net;
mod paths;
mod stdio;

use std::io::{self, Write as _};
use std::process::ExitCode;

const USAGE: &str = "usage: probe COMMAND
  name                  print the name the program was started with
  args [ARG...]         print each argument on a line, as a JSON string
  env                   print the variables as NAME=VALUE, in their order
  blurt NAME            print a variable on stderr as part of an error message, and exit with 1
  exit CODE             exit with this code
  tty                   print which streams are terminals
  fail SIZE             print SIZE bytes, then exit with 3
  panic                 panic
  cat                   copy stdin to stdout in pieces of 8 KiB
  sum                   print the number of bytes on stdin and their FNV-1a checksum
  stderr TEXT           print a line on stderr
  both N                print N lines on stdout and stderr in turn
  lines N               print N numbered lines
  spin                  compute forever
  sleep SECONDS         sleep, then print ok
  alloc MIB             allocate and touch memory, then print ok
  now                   print the wall-clock time in seconds since 1970
  senses                print the time, the order of the keys in a hash table, and how long a sleep of 3 ms took
  read PATH             print a file
  write PATH TEXT       write a file, then print ok
  ls PATH               print the names in a directory, sorted
  handles N PATH        open a file N times, keep it open, and print how many times it worked
  put PATH COUNT PIECE  write COUNT bytes to a new file in pieces of PIECE bytes, then print ok
  spread SIZE PATH...   write SIZE bytes to each new file, and print yes or no for each
  churn PATH COUNT SIZE COUNT times write SIZE bytes to a new file and remove it, then print ok
  at PATH OFFSET TEXT   write at an offset, then print ok
  append PATH TEXT      write at the end, then print ok
  resize PATH SIZE      make a file larger or smaller, then print ok
  many PREFIX COUNT     create empty files, and print how many it could create
  mkdir PATH            make a directory, then print ok
  symlink TARGET PATH   make a symlink, then print ok
  link PATH PATH        make a link, then print ok
  rename PATH PATH      rename, then print ok
  remove PATH           remove a file, then print ok
  race PATH COUNT       COUNT times read a file and create another next to it, then print each content and how often it was read
  hold N PATH           open a file N times, print how often it succeeded, and keep it open until stdin ends
  connect ADDR          connect over TCP, then print ok
  leave PATH TEXT       write a file, print ok, and wait until stdin ends
  gulp PATH SIZE        read a file, or stdin if it is -, with one call that has room for SIZE bytes, and print how many it read
  gush PATH SIZE        write SIZE bytes to a file, or stdout if it is -, with one call, and print how many it wrote on stderr
only as a component:
  dice SIZE             print the number of distinct values among SIZE random bytes that one call returned
  raw CALL MOUNT        make a call with the unmodified path on stdin, then print ok
  by-file MOUNT FILE    make every call that takes a directory with a file, and print what each returns
  resolve NAME          print the addresses of a host
  tcp HOST PORT TEXT    send a text over TCP to the first address that answers, and print the answer
  dial ADDR N           connect N times, and print how many connections succeeded
  send ADDR N           send N bytes over TCP, then print ok
  receive ADDR          read everything over TCP, and print the number of bytes
  udp ADDR TEXT...      send datagrams, and print the answer to each
  udp-connected ADDR TEXT...
  udp-astray ADDR ADDR  connect a socket to one address, and send a datagram to another
  udp-again ADDR ADDR   connect a socket to one address, then to another, and send a datagram
  listen ADDR           bind and listen over TCP, then print ok";

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

/// Why a command failed.
enum Failure {
    /// The command does not exist, or its arguments are wrong.
    Usage,
    /// The host returned an error.
    Host(io::Error),
}

fn run(name: &str, words: &[&str]) -> Result<(), Failure> {
    let done = match words {
        ["name"] => writeln!(io::stdout(), "{name}"),
        ["args", rest @ ..] => stdio::args(rest),
        ["env"] => stdio::env(),
        ["blurt", name] => writeln!(io::stderr(), "cannot log in with {}", std::env::var(name).unwrap_or_default())
            .and_then(|()| std::process::exit(1)),
        ["tty"] => stdio::tty(),
        ["fail", size] => stdio::fail(number(size)?),
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
        ["put", path, count, piece] => disk::put(path, number(count)?, number(piece)?),
        ["spread", size, paths @ ..] => disk::spread(number(size)?, paths),
        ["churn", path, count, size] => disk::churn(path, number(count)?, number(size)?),
        ["at", path, offset, text] => disk::put_at(path, number(offset)?, text),
        ["append", path, text] => disk::append(path, text),
        ["resize", path, size] => disk::resize(path, number(size)?),
        ["many", prefix, count] => disk::many(prefix, number(count)?),
        ["mkdir", path] => disk::mkdir(path),
        ["symlink", target, path] => disk::symlink(target, path),
        ["link", from, path] => disk::link(from, path),
        ["rename", from, path] => disk::rename(from, path),
        ["remove", path] => disk::remove(path),
        ["race", path, count] => paths::race(path, number(count)?),
        ["hold", count, path] => paths::hold(number(count)?, path),
        ["leave", path, text] => paths::leave(path, text),
        ["gulp", path, size] => bulk::gulp(path, number(size)?),
        ["gush", path, size] => bulk::gush(path, number(size)?),
        ["dice", size] => bulk::dice(number(size)?),
        ["by-file", mount, file] => by_file::by_file(mount, file).ok_or(Failure::Usage)?,
        ["raw", call, mount] => paths::raw(call, mount).ok_or(Failure::Usage)?,
        ["connect", address] => net::connect(address).and_then(|()| writeln!(io::stdout(), "ok")),
        other => net::net(other).ok_or(Failure::Usage)?,
    };
    done.map_err(Failure::Host)
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, Failure> {
    text.parse().map_err(|_| Failure::Usage)
}
