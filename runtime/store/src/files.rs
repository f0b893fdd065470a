//! [`HandlerFiles`]: the files of handlers, by their digest.
//!
//! An archive is unpacked to an unfinished directory, which gets its name when all of it is on the disk. A directory is never changed after
//! that, and any number of handlers may have it.
//!
//! A directory is removed when no record names it and nobody holds a [`FilesLease`]. Each handler that has files holds one, and so does each
//! job that is bound to it, also after the handler was replaced or removed.

mod digest;
mod entry_name;
#[cfg(test)]
mod tests;
mod unpack;

use std::collections::HashMap;
use std::io::Read;
use std::sync::{Arc, Mutex, MutexGuard, Weak};

use cap_std::fs::Dir;
use capstan_core::mount::Mount;
use capstan_engine::handler::FilesInfo;
use capstan_engine::handler_store::{FilesError, FilesLimits, StoreError};
use tokio::sync::Notify;

pub use self::unpack::Unpacked;
use super::atomic_dir::{AtomicDir, Durability};
use super::digest::hex_of;

/// The files of handlers in a data directory. Clones are the same. Calls block on the disk, unless they say otherwise.
#[derive(Clone, Debug)]
pub struct HandlerFiles(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    dir: AtomicDir,
    leases: Mutex<HashMap<String, Weak<OpenFiles>>>,
    /// Notified when a lease ends.
    ended: Notify,
}

/// The open directory of some files, which is not removed before this is dropped. Clones are the same.
#[derive(Clone, Debug)]
pub struct FilesLease(Arc<OpenFiles>);

#[derive(Debug)]
struct OpenFiles {
    dir: Arc<Dir>,
    files: Weak<Inner>,
}

impl HandlerFiles {
    /// Opens the files of `data`.
    ///
    /// # Errors
    /// Returns [`StoreError`] if the directory cannot be created or listed.
    pub fn open(data: &Dir) -> Result<Self, StoreError> {
        let dir = AtomicDir::open(data, "files", Durability::Synced)?;
        Ok(Self(Arc::new(Inner { dir, leases: Mutex::default(), ended: Notify::new() })))
    }

    /// Unpacks the tar archive that `archive` reads. The files are on the disk when this returns, and stay until the lease ends.
    ///
    /// # Errors
    /// [`FilesError`]. Nothing of the archive is left then.
    pub fn unpack(&self, archive: impl Read, limits: FilesLimits) -> Result<(Unpacked, FilesLease), FilesError> {
        let name = self.0.dir.unfinished_name();
        let dir = self.0.dir.dir();
        let result = dir.create_dir(&name).map_err(FilesError::write).and_then(|()| {
            let unfinished = dir.open_dir(&name).map_err(FilesError::write)?;
            let unpacked = unpack::unpack(archive, &unfinished, limits)?;
            let lease = self.finish(&name, &unfinished, hex_of(&unpacked.info.digest)).map_err(FilesError::write)?;
            Ok((unpacked, lease))
        });
        // The directory has been renamed, unless there was one with the same content or something failed. What cannot be removed now, the
        // next start removes.
        let _ = dir.remove_dir_all(&name);
        result
    }

    /// Gives the unfinished directory `name` the name `hex`, unless a directory with that name and content exists.
    fn finish(&self, name: &str, unfinished: &Dir, hex: &str) -> std::io::Result<FilesLease> {
        let dir = self.0.dir.dir();
        // A `Dir` is only a place; its file can be synced.
        rustix::fs::syncfs(unfinished.open(".")?)?;
        let mut leases = self.leases();
        let is_intact = || digest::of_dir(&dir.open_dir(hex).ok()?).ok();
        if dir.symlink_metadata(hex).is_ok() {
            if is_intact().as_deref().map(hex_of) == Some(hex) {
                return self.lease(&mut leases, hex);
            }
            // It was damaged. Runs that have it open keep it.
            dir.rename(hex, dir, self.0.dir.unfinished_name())?;
            leases.remove(hex);
        }
        dir.rename(name, dir, hex)?;
        self.0.dir.sync()?;
        self.lease(&mut leases, hex)
    }

    /// Opens the files with `digest`.
    ///
    /// # Errors
    /// Returns [`StoreError::Damaged`] if they are missing.
    pub fn open_files(&self, digest: &str) -> Result<FilesLease, StoreError> {
        let hex = hex_of(digest);
        self.lease(&mut self.leases(), hex).map_err(|_| StoreError::Damaged(format!("the directory of files {hex}")))
    }

    fn lease(&self, leases: &mut HashMap<String, Weak<OpenFiles>>, hex: &str) -> std::io::Result<FilesLease> {
        if let Some(lease) = leases.get(hex).and_then(Weak::upgrade) {
            return Ok(FilesLease(lease));
        }
        let dir = Arc::new(self.0.dir.dir().open_dir(hex)?);
        let lease = Arc::new(OpenFiles { dir, files: Arc::downgrade(&self.0) });
        leases.insert(hex.to_owned(), Arc::downgrade(&lease));
        Ok(FilesLease(lease))
    }

    /// Removes the files that nobody holds and that `is_used`, which gets the digits of a digest, does not know either.
    ///
    /// # Errors
    /// [`StoreError::Io`]
    pub fn remove_unused(&self, is_used: impl Fn(&str) -> bool) -> Result<(), StoreError> {
        for hex in self.0.dir.names()? {
            let mut leases = self.leases();
            if leases.get(&hex).is_some_and(|lease| lease.strong_count() > 0) || is_used(&hex) {
                continue;
            }
            leases.remove(&hex);
            // Nobody finds it by its name any more, so the rest needs no lock.
            let name = self.0.dir.unfinished_name();
            let renamed = self.0.dir.dir().rename(&hex, self.0.dir.dir(), &name);
            drop(leases);
            let removed = renamed.and_then(|()| self.0.dir.dir().remove_dir_all(&name));
            removed.map_err(|error| StoreError::io(format_args!("remove the files {hex}"), error))?;
        }
        Ok(())
    }

    /// Removes what interrupted calls of an earlier process have left.
    ///
    /// # Errors
    /// [`StoreError::Io`]
    pub fn remove_leftovers(&self) -> Result<(), StoreError> {
        self.0.dir.remove_abandoned_dirs()
    }

    /// Waits until a lease has ended since the last call. Does not block. Cancel-safe.
    pub async fn lease_ended(&self) {
        self.0.ended.notified().await;
    }

    fn leases(&self) -> MutexGuard<'_, HashMap<String, Weak<OpenFiles>>> {
        self.0.leases.lock().expect("no panic while the lock is held")
    }
}

impl FilesLease {
    /// Returns the mount of the files for a run. Does not block.
    pub fn mount(&self) -> Mount {
        Mount::of_files(self.0.dir.clone(), None)
    }
}

impl Drop for OpenFiles {
    fn drop(&mut self) {
        if let Some(files) = self.files.upgrade() {
            files.ended.notify_one();
        }
    }
}

/// What an archive contained.
impl Unpacked {
    /// Returns what the files are.
    pub fn info(&self) -> &FilesInfo {
        &self.info
    }
}
