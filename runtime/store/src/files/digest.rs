//! The digest of a directory: the SHA-256 of the names and contents of all that it contains, in the order of the names.
//!
//! Each entry adds its kind, the length of its path and its path, and a file the SHA-256 of its content. Times, modes and owners do not count.

use std::collections::BTreeMap;
use std::io;

use cap_std::fs::Dir;
use sha2::{Digest as _, Sha256};

use crate::digest::hex;

/// What a path names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    Directory {
        /// Whether it was named itself, or only by what it contains.
        is_named: bool,
    },
    File([u8; 32]),
}

/// All entries by their path, which is relative and has `/` between its components.
pub(super) type Entries = BTreeMap<String, Entry>;

/// Returns the digest of `entries`, as `sha256:HEX`.
pub(super) fn of_entries(entries: &Entries) -> String {
    let mut hash = Sha256::new_with_prefix("capstan files 1\n");
    for (path, entry) in entries {
        let (kind, content): (_, &[u8]) = match entry {
            Entry::Directory { .. } => (b'd', &[]),
            Entry::File(content) => (b'f', content),
        };
        hash.update([kind]);
        hash.update((path.len() as u64).to_le_bytes());
        hash.update(path);
        hash.update(content);
    }
    format!("sha256:{}", hex(&hash.finalize()))
}

/// Returns the digest of the content of `dir`.
///
/// # Errors
/// An error of the system, or an entry that is neither a file nor a directory.
pub(super) fn of_dir(dir: &Dir) -> io::Result<String> {
    let mut entries = Entries::new();
    add(dir, "", &mut entries)?;
    Ok(of_entries(&entries))
}

fn add(dir: &Dir, prefix: &str, entries: &mut Entries) -> io::Result<()> {
    for entry in dir.entries()? {
        let entry = entry?;
        let name = entry.file_name().into_string().map_err(|_| io::ErrorKind::InvalidData)?;
        let path = format!("{prefix}{name}");
        let kind = entry.file_type()?;
        if kind.is_dir() {
            add(&entry.open_dir()?, &format!("{path}/"), entries)?;
            entries.insert(path, Entry::Directory { is_named: true });
        } else if kind.is_file() {
            let mut hash = Sha256::new();
            io::copy(&mut entry.open()?, &mut hash)?;
            entries.insert(path, Entry::File(hash.finalize().into()));
        } else {
            return Err(io::ErrorKind::InvalidData.into());
        }
    }
    Ok(())
}
