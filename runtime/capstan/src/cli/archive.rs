//! Packs a directory or a file of the user into the tar archive of a push.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use cap_std::fs::Dir;
use capstan_core::mount::MountSource;
use tar::{Builder, EntryType, Header};

use super::error::CliError;
use super::io_error::describe;
use crate::daemon::open_mount;

/// Returns a tar archive of what the directory `path` contains, or of the file `path` alone.
///
/// The entries are in the order of their names, and have no times and owners, so the same files make the same archive. A symlink to a file in
/// the directory becomes a copy of that file.
///
/// # Errors
/// [`CliError::Archive`] names what cannot be read or sent.
pub(super) fn pack(path: &Path) -> Result<Bytes, CliError> {
    let failed = |reason: String| CliError::Archive { path: path.to_owned(), reason };
    let MountSource { dir, file } = open_mount(path).map_err(|error| failed(describe(&error)))?;
    let mut packer = Packer { dir: &dir, builder: Builder::new(Vec::new()) };
    let packed = match &file {
        Some(name) => packer.add_file(Path::new(name)),
        None => packer.add_dir(Path::new("")),
    };
    packed.map_err(failed)?;
    packer.builder.into_inner().map(Bytes::from).map_err(|error| failed(describe(&error)))
}

struct Packer<'a> {
    /// All paths are below it, so that no symlink leads out of it.
    dir: &'a Dir,
    builder: Builder<Vec<u8>>,
}

impl Packer<'_> {
    fn add_dir(&mut self, path: &Path) -> Result<(), String> {
        let failed = |error| named(path, &error);
        let here = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let mut names = Vec::new();
        for entry in self.dir.read_dir(here).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            names.push(name.into_string().map_err(|name| format!("the name {} is not UTF-8", name.display()))?);
        }
        names.sort();
        for name in names {
            let path = path.join(name);
            let metadata = self.dir.symlink_metadata(&path).map_err(|error| named(&path, &error))?;
            if metadata.is_dir() {
                let mut header = header(EntryType::Directory, 0o755, 0);
                let added = self.builder.append_data(&mut header, with_slash(&path), std::io::empty());
                added.map_err(|error| named(&path, &error))?;
                self.add_dir(&path)?;
            } else if metadata.is_file() {
                self.add_file(&path)?;
            } else if metadata.is_symlink() {
                self.add_symlink(&path)?;
            } else {
                return Err(format!("{} is neither a file nor a directory", path.display()));
            }
        }
        Ok(())
    }

    fn add_symlink(&mut self, path: &Path) -> Result<(), String> {
        match self.dir.metadata(path) {
            Ok(target) if target.is_file() => self.add_file(path),
            Ok(target) if target.is_dir() => Err(format!("{} is a symlink to a directory", path.display())),
            Ok(_) => Err(format!("{} is a symlink to something else than a file", path.display())),
            Err(error) => Err(format!("{} is a symlink that names no file in the directory: {error}", path.display())),
        }
    }

    fn add_file(&mut self, path: &Path) -> Result<(), String> {
        let failed = |error| named(path, &error);
        let mut content = Vec::new();
        self.dir.open(path).map_err(failed)?.read_to_end(&mut content).map_err(failed)?;
        let mut header = header(EntryType::Regular, 0o644, content.len() as u64);
        self.builder.append_data(&mut header, path, &content[..]).map_err(failed)
    }
}

fn header(kind: EntryType, mode: u32, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_mtime(0);
    header
}

fn with_slash(path: &Path) -> PathBuf {
    path.join("")
}

fn named(path: &Path, error: &std::io::Error) -> String {
    if path.as_os_str().is_empty() { describe(error) } else { format!("{}: {}", path.display(), describe(error)) }
}
