//! [`unpack`]: writes the entries of a tar archive into an empty directory.
//!
//! `tar` parses the archive: ustar, GNU and pax headers. This module decides what of it is written, because the archive is that of a client.
//! It creates only directories and files, each only once and below directories that it has created, so nothing leads out of the directory.

use std::io::{self, BufWriter, Read, Write};

use cap_std::fs::{Dir, DirBuilder, DirBuilderExt as _, OpenOptions, OpenOptionsExt as _};
use capstan_engine::handler::FilesInfo;
use capstan_engine::handler_store::{FilesError, FilesLimits};
use sha2::{Digest as _, Sha256};
use tar::{Archive, EntryType};

use super::digest::{self, Entries, Entry};
use super::entry_name;

/// The first bytes of compressed files.
const COMPRESSED: [(&[u8], &str); 4] =
    [(b"\x1f\x8b", "gzip"), (b"\x28\xb5\x2f\xfd", "zstd"), (b"\xfd7zXZ", "xz"), (b"BZh", "bzip2")];

/// What an archive contained.
#[derive(Debug)]
pub struct Unpacked {
    pub(super) info: FilesInfo,
    entries: Entries,
}

impl Unpacked {
    /// Returns the paths of all files, without directories, in the order of their bytes.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().filter(|(_, entry)| matches!(entry, Entry::File(_))).map(|(path, _)| path.as_str())
    }
}

/// Unpacks `archive` into `dir`, which is empty.
pub(super) fn unpack(mut archive: impl Read, dir: &Dir, limits: FilesLimits) -> Result<Unpacked, FilesError> {
    let mut start = Vec::new();
    archive.by_ref().take(8).read_to_end(&mut start).map_err(FilesError::Io)?;
    if let Some((_, name)) = COMPRESSED.iter().find(|(magic, _)| start.starts_with(magic)) {
        return Err(FilesError::Compressed(name));
    }
    let mut archive = Archive::new(start.chain(archive));
    let mut unpacker = Unpacker { dir, limits, entries: Entries::new(), size: 0 };
    for entry in archive.entries().map_err(not_tar)? {
        unpacker.add(entry.map_err(not_tar)?)?;
    }
    let Unpacker { entries, size, .. } = unpacker;
    if entries.is_empty() {
        return Err(FilesError::Empty);
    }
    let info = FilesInfo { digest: digest::of_entries(&entries), size, entries: entries.len() as u64 };
    Ok(Unpacked { info, entries })
}

struct Unpacker<'a> {
    dir: &'a Dir,
    limits: FilesLimits,
    entries: Entries,
    /// The sum of the sizes of the files so far.
    size: u64,
}

impl Unpacker<'_> {
    fn add(&mut self, mut entry: tar::Entry<'_, impl Read>) -> Result<(), FilesError> {
        let bytes = entry.path_bytes().into_owned();
        let rejected = |reason| FilesError::Entry { name: entry_name::shown(&bytes), reason };
        let kind = match entry.header().entry_type() {
            // Metadata of the whole archive, as `git archive` writes it.
            EntryType::XGlobalHeader => return Ok(()),
            kind @ (EntryType::Regular | EntryType::Directory) => kind,
            EntryType::Symlink => return Err(rejected("is a symlink; send the file that it names")),
            EntryType::Link => return Err(rejected("is a hard link; send the content of the file")),
            EntryType::Char | EntryType::Block => return Err(rejected("is a device")),
            EntryType::Fifo => return Err(rejected("is a FIFO")),
            EntryType::GNUSparse => return Err(rejected("is a sparse file; send all of its content")),
            _ => return Err(rejected("is neither a file nor a directory")),
        };
        if let Some(extensions) = entry.pax_extensions().map_err(not_tar)? {
            for extension in extensions {
                if extension.map_err(not_tar)?.key_bytes().starts_with(b"GNU.sparse") {
                    return Err(rejected("is a sparse file; send all of its content"));
                }
            }
        }
        let Some(path) = entry_name::parse(&bytes)? else { return Ok(()) };
        // A name with a slash at its end is a directory in archives of before 1988.
        let is_directory = kind == EntryType::Directory || bytes.ends_with(b"/");
        match self.entries.get(&path) {
            Some(Entry::Directory { is_named: false }) if is_directory => {}
            Some(_) => return Err(rejected("occurs more than once")),
            None => {}
        }
        if let Some((parent, _)) = path.rsplit_once('/') {
            self.create_parents(parent)?;
        }
        if is_directory {
            return self.create_dir(&path, true);
        }
        self.write_file(path, &mut entry)
    }

    /// Creates the directories on the way to `parent`, and itself, as far as they do not exist.
    fn create_parents(&mut self, parent: &str) -> Result<(), FilesError> {
        let ends = parent.match_indices('/').map(|(end, _)| end).chain([parent.len()]);
        for path in ends.map(|end| &parent[..end]) {
            match self.entries.get(path) {
                Some(Entry::Directory { .. }) => {}
                Some(Entry::File(_)) => {
                    let reason = "is a file, and another entry lies below it";
                    return Err(FilesError::Entry { name: path.to_owned(), reason });
                }
                None => self.create_dir(path, false)?,
            }
        }
        Ok(())
    }

    fn create_dir(&mut self, path: &str, is_named: bool) -> Result<(), FilesError> {
        if self.entries.insert(path.to_owned(), Entry::Directory { is_named }).is_some() {
            return Ok(());
        }
        self.check_count()?;
        let mut builder = DirBuilder::new();
        builder.mode(0o700);
        self.dir.create_dir_with(path, &builder).map_err(FilesError::write)
    }

    fn write_file(&mut self, path: String, entry: &mut tar::Entry<'_, impl Read>) -> Result<(), FilesError> {
        let size = entry.size();
        self.size = self.size.saturating_add(size);
        if self.size > self.limits.size {
            return Err(FilesError::TooLarge(self.limits.size));
        }
        let file = self.dir.open_with(&path, OpenOptions::new().write(true).create_new(true).mode(0o600));
        let mut output = BufWriter::new(file.map_err(FilesError::write)?);
        let (mut hash, mut written, mut buffer) = (Sha256::new(), 0, vec![0; 64 << 10]);
        loop {
            let count = entry.read(&mut buffer).map_err(not_tar)?;
            if count == 0 {
                break;
            }
            hash.update(&buffer[..count]);
            output.write_all(&buffer[..count]).map_err(FilesError::write)?;
            written += count as u64;
        }
        output.flush().map_err(FilesError::write)?;
        if written != size {
            return Err(FilesError::NotTar("it is cut off".to_owned()));
        }
        self.entries.insert(path, Entry::File(hash.finalize().into()));
        self.check_count()
    }

    fn check_count(&self) -> Result<(), FilesError> {
        let limit = self.limits.entries;
        if self.entries.len() as u64 > limit { Err(FilesError::TooMany(limit)) } else { Ok(()) }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is passed to map_err")]
fn not_tar(error: io::Error) -> FilesError {
    FilesError::NotTar(error.to_string())
}
