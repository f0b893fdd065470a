//! [`StaticFile`]: a file of a handler that is served as it is.

use std::fs::File;
use std::io;

use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt as _};
use rustix::fs::OFlags;

use crate::mount::Mount;

/// The file that a directory is served as.
const INDEX: &str = "index.html";

/// An open file of a handler.
#[derive(Debug)]
pub struct StaticFile {
    pub file: File,
    /// Bytes.
    pub size: u64,
    /// The path below the files of the handler.
    pub path: String,
}

/// What a path leads to.
#[derive(Debug)]
pub enum StaticContent {
    File(StaticFile),
    /// A directory with an index, whose path did not end with `/`. Relative links of the index need it.
    Directory,
}

impl StaticFile {
    /// Opens `path` below the files of a handler. A directory is its `index.html`. An empty segment at the end of the path stands for
    /// a directory. Blocks on the disk.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] for what is neither a file nor a directory with an index, and for a path with `..` or a NUL. Symbolic links
    /// never lead out of the files. Other errors are those of the system.
    pub fn open(files: &Mount, path: &str) -> io::Result<StaticContent> {
        let (path, is_directory) = match path.strip_suffix('/') {
            Some(path) => (path, true),
            None => (path, path.is_empty()),
        };
        let is_name = |name: &str| !matches!(name, "" | "." | "..") && !name.contains('\0');
        if !path.is_empty() && !path.split('/').all(is_name) {
            return Err(io::ErrorKind::NotFound.into());
        }
        if !is_directory && let Some(file) = open_file(&files.dir, path)? {
            return Ok(StaticContent::File(file));
        }
        let index = if path.is_empty() { INDEX.to_owned() } else { format!("{path}/{INDEX}") };
        match open_file(&files.dir, &index)? {
            Some(file) if is_directory => Ok(StaticContent::File(file)),
            Some(_) => Ok(StaticContent::Directory),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

/// Opens a file. Returns `None` if it is something else.
fn open_file(dir: &Dir, path: &str) -> io::Result<Option<StaticFile>> {
    let mut options = OpenOptions::new();
    // A FIFO must not block.
    options.read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed());
    let file = match dir.open_with(path, &options) {
        // A path through a file.
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => return Err(io::ErrorKind::NotFound.into()),
        file => file?.into_std(),
    };
    let metadata = file.metadata()?;
    let opened = StaticFile { size: metadata.len(), file, path: path.to_owned() };
    Ok(metadata.is_file().then_some(opened))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::disallowed_methods, reason = "tests create files")]

    use std::io::Read as _;
    use std::sync::Arc;

    use super::*;

    fn content(files: &Mount, path: &str) -> String {
        match StaticFile::open(files, path) {
            Ok(StaticContent::File(mut file)) => {
                let mut text = String::new();
                file.file.read_to_string(&mut text).unwrap();
                assert_eq!(file.size, text.len() as u64);
                text
            }
            Ok(StaticContent::Directory) => "directory".to_owned(),
            Err(error) => error.kind().to_string(),
        }
    }

    #[test]
    fn open_finds_files_and_indexes_and_never_leaves_the_directory() {
        let outer = tempfile::tempdir().unwrap();
        let root = outer.path().join("files");
        std::fs::create_dir_all(root.join("a/b")).unwrap();
        std::fs::write(outer.path().join("secret"), "secret").unwrap();
        std::fs::write(root.join("a/index.html"), "index").unwrap();
        std::fs::write(root.join("a/x.txt"), "x").unwrap();
        std::os::unix::fs::symlink("../secret", root.join("link")).unwrap();
        let dir = Dir::open_ambient_dir(&root, cap_std::ambient_authority()).unwrap();
        let files = Mount::of_files(Arc::new(dir), None);
        for (path, expected) in [("a/x.txt", "x"), ("a/", "index"), ("a/index.html", "index"), ("a", "directory")] {
            assert_eq!(content(&files, path), expected, "{path}");
        }
        for path in ["", "/", "a/b", "a/b/", "a/x.txt/", "a/x.txt/y", "missing", "a//x.txt", "/a", "a/./x.txt", "a\0"] {
            assert_eq!(content(&files, path), io::ErrorKind::NotFound.to_string(), "{path:?}");
        }
        for path in ["link", "../secret", "a/../../secret", ".."] {
            assert_ne!(content(&files, path), "secret", "{path}");
        }
    }
}
