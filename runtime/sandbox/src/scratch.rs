//! [`Scratch`]: the scratch directory of a run, which is created, mounted and removed with the run.

use std::io;
use std::sync::Arc;

use cap_std::fs::{Dir, DirBuilder, DirBuilderExt as _};
use capstan_core::mount::{Access, Mount, Quota, ScratchGrant};
use capstan_core::policy::SCRATCH;
use capstan_engine::job::JobId;
use capstan_store::blocking;

/// The folder in the data directory that contains the scratch directories.
const FOLDER: &str = "scratch";

/// Creates the folder for scratch directories below `data`. Removes what a daemon that was killed has left there.
///
/// # Errors
/// The error of the file system.
pub fn scratch_folder(data: &Dir) -> io::Result<Arc<Dir>> {
    match data.remove_dir_all(FOLDER) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    data.create_dir_with(FOLDER, DirBuilder::new().mode(0o700))?;
    Ok(Arc::new(data.open_dir(FOLDER)?))
}

/// A scratch directory. Dropping it removes the directory, but blocks; use [`Scratch::remove`].
pub(super) struct Scratch {
    folder: Arc<Dir>,
    name: String,
}

impl Scratch {
    /// Creates the directory for `job`, and the mount for its guest.
    ///
    /// Cancel-safe: if the future is dropped, the directory is removed.
    pub(super) async fn create(grant: ScratchGrant, job: JobId) -> io::Result<(Self, Mount)> {
        blocking(move || {
            let ScratchGrant { folder, bytes } = grant;
            let name = job.to_string();
            folder.create_dir_with(&name, DirBuilder::new().mode(0o700))?;
            let scratch = Self { folder: folder.clone(), name };
            let dir = Arc::new(folder.open_dir(&scratch.name)?);
            let quota = Quota { bytes, ..Quota::UNLIMITED };
            Ok((scratch, Mount { dir, file: None, guest_path: SCRATCH.into(), access: Access::ReadWrite, quota }))
        })
        .await
    }

    /// Removes the directory and its content.
    pub(super) async fn remove(self) {
        blocking(move || drop(self)).await;
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = self.folder.remove_dir_all(&self.name) {
            tracing::warn!(name = self.name, %error, "cannot remove a scratch directory; the next start of the daemon removes it");
        }
    }
}
