//! The scratch directory of a run: made for it, mounted, and gone with it.

use std::io;
use std::sync::Arc;

use cap_std::fs::{Dir, DirBuilder, DirBuilderExt as _};
use capstan_core::mount::{Access, Mount, Quota, ScratchGrant};
use capstan_core::policy::SCRATCH;
use capstan_engine::job::JobId;
use capstan_store::blocking;

/// The folder in the data folder that they are made in.
const FOLDER: &str = "scratch";

/// The folder for scratch directories below `data`, without what a daemon that was killed has left there.
///
/// # Errors
/// What the system says.
pub fn scratch_folder(data: &Dir) -> io::Result<Arc<Dir>> {
    match data.remove_dir_all(FOLDER) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    data.create_dir_with(FOLDER, DirBuilder::new().mode(0o700))?;
    Ok(Arc::new(data.open_dir(FOLDER)?))
}

/// A scratch directory; it is removed when this is dropped, if not before.
pub(super) struct Scratch {
    folder: Arc<Dir>,
    name: String,
}

impl Scratch {
    /// Makes one for `job`, with what a guest mounts. Cancel-safe in that what was made is removed.
    pub(super) async fn make(grant: ScratchGrant, job: JobId) -> io::Result<(Self, Mount)> {
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

    /// Removes it with all that is in it.
    pub(super) async fn remove(self) {
        blocking(move || drop(self)).await;
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = self.folder.remove_dir_all(&self.name) {
            // The next start removes it.
            tracing::warn!(name = self.name, %error, "a scratch directory cannot be removed");
        }
    }
}
