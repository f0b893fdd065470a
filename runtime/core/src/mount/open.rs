//! Opens the directory or file that a mount grants, without leaving the directory that contains it.

use std::io;
use std::path::Path;
use std::sync::Arc;

use cap_std::fs::{Dir, FileTypeExt as _, Metadata};

/// The content of a mount: a directory, or one file of it.
#[derive(Clone, Debug)]
pub struct MountSource {
    pub dir: Arc<Dir>,
    /// The name of the file. `None` for the whole directory.
    pub file: Option<String>,
}

/// Opens `path` below `dir`. Neither `..` nor a symlink leads out of `dir`. Returns `dir` itself if the path is empty.
///
/// # Errors
/// An error of the system, or a path that is neither a directory nor a file. Such a path is never opened, because opening it could block.
pub fn open_beneath(dir: &Arc<Dir>, path: &Path) -> io::Result<MountSource> {
    if path.as_os_str().is_empty() {
        return Ok(MountSource { dir: dir.clone(), file: None });
    }
    let metadata = dir.symlink_metadata(path)?;
    if metadata.is_symlink() && dir.metadata(path)?.is_file() {
        return Err(io::Error::other("it is a symlink to a file; name the file itself"));
    }
    if metadata.is_symlink() || metadata.is_dir() {
        return Ok(MountSource { dir: Arc::new(dir.open_dir(path)?), file: None });
    }
    let parent = match path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        Some(parent) => Arc::new(dir.open_dir(parent)?),
        None => dir.clone(),
    };
    open_file(parent, path)
}

/// Returns the file in `dir` that is named by the last component of `path`. Does not open it.
///
/// # Errors
/// An error of the system, or a path that is not a file. Such a path is never opened, because opening it could block.
pub fn open_file(dir: Arc<Dir>, path: &Path) -> io::Result<MountSource> {
    let name = path.file_name().and_then(|name| name.to_str());
    let name = name.ok_or_else(|| io::Error::other("its name is not valid UTF-8"))?.to_owned();
    match file_kind(&dir.symlink_metadata(&name)?) {
        "a file" => {}
        other => return Err(io::Error::other(format!("it is {other}; a mount must be a directory or a file"))),
    }
    // Checks the permission without opening the file: it may have been replaced by a FIFO.
    rustix::fs::accessat(&dir, &name, rustix::fs::Access::READ_OK, rustix::fs::AtFlags::empty())?;
    Ok(MountSource { dir, file: Some(name) })
}

fn file_kind(metadata: &Metadata) -> &'static str {
    let kind = metadata.file_type();
    if kind.is_file() {
        "a file"
    } else if kind.is_dir() {
        "a directory"
    } else if kind.is_symlink() {
        "a symlink"
    } else if kind.is_fifo() {
        "a FIFO"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a device"
    }
}
