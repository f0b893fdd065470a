//! [`MaintenanceError`]: why a store cannot be checked, backed up, restored or vacuumed; and what these need to begin.

use std::io;

use cap_std::fs::Dir;
use capstan_engine::job_store::JobStoreError;
use rusqlite::Connection;

use super::connection::FILE;
use super::failure::file_failed;
use super::open::DIR;
use super::schema;

/// Why a store cannot be checked, backed up, restored or vacuumed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MaintenanceError {
    #[error("there is no job store: {DIR}/{FILE} does not exist; name the data directory of the daemon")]
    NoStore,
    #[error("there is no complete backup: {FILE} does not exist; name the directory of a backup that has succeeded")]
    NoBackup,
    #[error(
        "the schema of the job store has version {found}, which is older than version {known} of this capstan; a start of the daemon \
         migrates the store; a backup is restored by the capstan that wrote it"
    )]
    OlderSchema { found: usize, known: usize },
    #[error(
        "the schema of the job store has version {found}, and this capstan knows versions up to {known}; use the capstan that wrote it, \
         or a newer one"
    )]
    NewerSchema { found: usize, known: usize },
    #[error("the directory is not empty; name an empty one for the backup, or one that does not exist")]
    NotEmpty,
    #[error("there is a job store already; move its directory `{DIR}` away first, for example to `{DIR}.old`")]
    StoreExists,
    #[error("{what} in the backup is damaged: {reason}; use another backup, or restore this one with --accept-damage")]
    DamagedBackup { what: String, reason: String },
    #[error(transparent)]
    Store(#[from] JobStoreError),
}

/// Opens the directory of the store below the data directory `data`.
pub(super) fn open_store(data: &Dir) -> Result<Dir, MaintenanceError> {
    let opening = file_failed("open the directory");
    match data.open_dir(DIR) {
        Ok(dir) if dir.try_exists(FILE).map_err(&opening)? => Ok(dir),
        Ok(_) => Err(MaintenanceError::NoStore),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(MaintenanceError::NoStore),
        Err(error) => Err(opening(error).into()),
    }
}

/// Returns the version of the schema of `db`.
///
/// # Errors
/// [`MaintenanceError`] if it is not the present one.
pub(super) fn present_version(db: &Connection) -> Result<usize, MaintenanceError> {
    let (found, known) = (schema::version(db)?, schema::MIGRATIONS.len());
    match found.cmp(&known) {
        std::cmp::Ordering::Less => Err(MaintenanceError::OlderSchema { found, known }),
        std::cmp::Ordering::Equal => Ok(found),
        std::cmp::Ordering::Greater => Err(MaintenanceError::NewerSchema { found, known }),
    }
}
