//! Functions that only the host provides: clocks and files.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::time::{Duration, Instant, SystemTime};

pub(crate) fn now() -> io::Result<()> {
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_err(io::Error::other)?;
    writeln!(io::stdout(), "{}.{:09}", since_1970.as_secs(), since_1970.subsec_nanos())
}

/// Prints everything that a program can observe about time and randomness.
pub(crate) fn senses() -> io::Result<()> {
    let begun = Instant::now();
    now()?;
    let keys: Vec<u32> = (0..32).collect::<HashSet<_>>().into_iter().collect();
    writeln!(io::stdout(), "{keys:?}")?;
    std::thread::sleep(Duration::from_millis(3));
    writeln!(io::stdout(), "{}", begun.elapsed().as_nanos())
}

pub(crate) fn read(path: &str) -> io::Result<()> {
    let bytes = fs::read(path)?;
    io::stdout().write_all(&bytes)
}

pub(crate) fn write(path: &str, text: &str) -> io::Result<()> {
    fs::write(path, text)?;
    writeln!(io::stdout(), "ok")
}

pub(crate) fn ls(path: &str) -> io::Result<()> {
    let entries = fs::read_dir(path)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    let mut names: Vec<String> = entries.collect::<io::Result<_>>()?;
    names.sort_unstable();
    let mut stdout = io::stdout().lock();
    names.iter().try_for_each(|name| writeln!(stdout, "{name}"))
}

/// Opens a file `count` times and prints how often that succeeds. The first error goes to stderr, because stdout is for the number.
pub(crate) fn handles(count: usize, path: &str) -> io::Result<()> {
    let mut open = Vec::new();
    for _ in 0..count {
        match File::open(path) {
            Ok(file) => open.push(file),
            Err(error) => {
                eprintln!("{error}");
                break;
            }
        }
    }
    writeln!(io::stdout(), "{}", open.len())
}
