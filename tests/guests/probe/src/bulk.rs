//! Calls with large buffers. Each moves what it can with one call of the host.

use std::fs::File;
use std::io::{self, Read as _, Write as _};

/// Reads with one call that has room for `size` bytes.
pub(crate) fn gulp(path: &str, size: usize) -> io::Result<()> {
    let mut buffer = vec![0; size];
    let read = match path {
        "-" => io::stdin().lock().read(&mut buffer)?,
        path => File::open(path)?.read(&mut buffer)?,
    };
    let sum: u64 = buffer[..read].iter().map(|byte| u64::from(*byte)).sum();
    writeln!(io::stdout(), "{read} {sum}")
}

/// Writes `size` bytes with one call.
pub(crate) fn gush(path: &str, size: usize) -> io::Result<()> {
    let bytes = vec![b'x'; size];
    let written = match path {
        "-" => io::stdout().lock().write(&bytes)?,
        path => host::write_once(path, &bytes)?,
    };
    writeln!(io::stderr(), "{written}")
}

/// Prints the number of distinct values among random bytes.
pub(crate) fn dice(size: usize) -> io::Result<()> {
    let mut seen = [false; 256];
    for byte in host::random(size)? {
        seen[usize::from(byte)] = true;
    }
    writeln!(io::stdout(), "{}", seen.iter().filter(|seen| **seen).count())
}

#[cfg(not(all(target_os = "wasi", target_env = "p2")))]
mod host {
    use std::fs::OpenOptions;
    use std::io::{self, Write as _};

    pub(super) fn write_once(path: &str, bytes: &[u8]) -> io::Result<usize> {
        OpenOptions::new().write(true).create(true).truncate(true).open(path)?.write(bytes)
    }

    /// The standard library has no function for it.
    pub(super) fn random(_: usize) -> io::Result<Vec<u8>> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

#[cfg(all(target_os = "wasi", target_env = "p2"))]
mod host {
    use std::io;

    use wasip2::filesystem::preopens::get_directories;
    use wasip2::filesystem::types::{DescriptorFlags, OpenFlags, PathFlags};
    use wasip2::random::random::get_random_bytes;

    /// Writes with a call on the file itself, not through a stream.
    pub(super) fn write_once(path: &str, bytes: &[u8]) -> io::Result<usize> {
        for (directory, name) in get_directories() {
            let Some(rest) = path.strip_prefix(&name) else { continue };
            let how = OpenFlags::CREATE | OpenFlags::TRUNCATE;
            let rest = rest.trim_start_matches('/');
            let file = directory.open_at(PathFlags::empty(), rest, how, DescriptorFlags::WRITE);
            let written = file.and_then(|file| file.write(bytes, 0));
            return written.map_err(|code| io::Error::other(code.name())).map(|count| usize::try_from(count).unwrap());
        }
        Err(io::ErrorKind::NotFound.into())
    }

    pub(super) fn random(size: usize) -> io::Result<Vec<u8>> {
        Ok(get_random_bytes(size as u64))
    }
}
