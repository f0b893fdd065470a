//! Paths: passed unmodified from stdin, read repeatedly, and kept open.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};

use crate::disk;

/// Reads a file `count` times, each time creates and removes a file next to it, and prints each content and how often it was read.
pub(crate) fn race(path: &str, count: usize) -> io::Result<()> {
    let beside = format!("{path}-made");
    let mut seen = BTreeMap::<String, usize>::new();
    for _ in 0..count {
        let read = fs::read_to_string(path).unwrap_or_else(|error| format!("error: {error}"));
        *seen.entry(read).or_default() += 1;
        // If neither works, no file can be in the wrong place.
        let _ = disk::make_and_remove(&beside);
    }
    let mut stdout = io::stdout().lock();
    seen.iter().try_for_each(|(what, count)| writeln!(stdout, "{count} {what}"))
}

/// Opens a file `count` times, prints how often that succeeds, and keeps the files open until stdin ends.
pub(crate) fn hold(count: usize, path: &str) -> io::Result<()> {
    let open: Vec<_> = (0..count).map_while(|_| File::open(path).ok()).collect();
    writeln!(io::stdout(), "{}", open.len())?;
    io::stdout().flush()?;
    io::stdin().read_to_end(&mut Vec::new()).map(drop)
}

/// Writes a text to a file and waits until stdin ends.
pub(crate) fn leave(path: &str, text: &str) -> io::Result<()> {
    disk::put_at(path, 0, text)?;
    io::stdout().flush()?;
    io::stdin().read_to_end(&mut Vec::new()).map(drop)
}

#[cfg(all(target_os = "wasi", target_env = "p2"))]
pub(crate) use self::p2::*;

#[cfg(not(all(target_os = "wasi", target_env = "p2")))]
mod p1 {
    /// For preview 1 a guest in text format makes these calls, because `std` modifies paths.
    pub(crate) fn raw(_: &str, _: &str) -> Option<std::io::Result<()>> {
        None
    }
}

#[cfg(not(all(target_os = "wasi", target_env = "p2")))]
pub(crate) use self::p1::*;

#[cfg(all(target_os = "wasi", target_env = "p2"))]
mod p2 {
    use std::io::{self, Write as _};

    use wasip2::clocks::wall_clock::Datetime;
    use wasip2::filesystem::preopens::get_directories;
    use wasip2::filesystem::types::{Descriptor, DescriptorFlags, ErrorCode, NewTimestamp, OpenFlags, PathFlags};

    const FOLLOW: PathFlags = PathFlags::SYMLINK_FOLLOW;

    /// Makes a call on a mount with the path on stdin and prints ok. Returns `None` if the call does not exist.
    pub(crate) fn raw(call: &str, mount: &str) -> Option<io::Result<()>> {
        let path = match io::read_to_string(io::stdin()) {
            Ok(path) => path,
            Err(error) => return Some(Err(error)),
        };
        let (directory, _) = get_directories().into_iter().find(|(_, name)| name == mount)?;
        let result = result_of(call, &directory, &path)?;
        Some(result.map_err(|code| io::Error::other(code.name())).and_then(|()| writeln!(io::stdout(), "ok")))
    }

    fn result_of(call: &str, directory: &Descriptor, path: &str) -> Option<Result<(), ErrorCode>> {
        let stay = PathFlags::empty();
        let open = |follow, how, flags| directory.open_at(follow, path, how, flags).map(drop);
        let times = |seconds, nanoseconds| {
            let at = NewTimestamp::Timestamp(Datetime { seconds, nanoseconds });
            directory.set_times_at(FOLLOW, path, at, at)
        };
        Some(match call {
            "open" => open(FOLLOW, OpenFlags::empty(), DescriptorFlags::READ),
            "open-nofollow" => open(stay, OpenFlags::empty(), DescriptorFlags::READ),
            "create" => open(FOLLOW, OpenFlags::CREATE, DescriptorFlags::WRITE),
            "truncate" => open(FOLLOW, OpenFlags::TRUNCATE, DescriptorFlags::WRITE),
            "open-directory" => open(FOLLOW, OpenFlags::DIRECTORY, DescriptorFlags::READ),
            "stat" => directory.stat_at(FOLLOW, path).map(drop),
            "stat-nofollow" => directory.stat_at(stay, path).map(drop),
            "readlink" => directory.readlink_at(path).map(drop),
            "mkdir" => directory.create_directory_at(path),
            "rmdir" => directory.remove_directory_at(path),
            "unlink" => directory.unlink_file_at(path),
            "symlink" => directory.symlink_at("inside", path),
            "link-from" => directory.link_at(stay, path, directory, "made"),
            "link-to" => directory.link_at(stay, "inside", directory, path),
            "rename-from" => directory.rename_at(path, directory, "made"),
            "rename-to" => directory.rename_at("inside", directory, path),
            "set-times" => times(0, 1),
            "set-times-to-the-last" => times(u64::MAX, 999_999_999),
            "set-times-to-the-year-1000000" => times(31_494_784_780_800, 0),
            "set-times-over-a-second" => times(1, u32::MAX),
            _ => return None,
        })
    }
}
