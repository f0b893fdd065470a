//! `capstan store`: checks, backs up and restores the store of durable jobs and that of what handlers keep, and vacuums the first. Works on the files of the data directory, without a
//! daemon.

mod report;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use cap_std::fs::Dir;
use capstan_engine::data::DataError;
use capstan_engine::job_store::{JobStoreError, Now};
use capstan_store::data;
use capstan_store::jobs::{self, MaintenanceError};
use capstan_store::{LockError, LockFile, check_data_dir, lock_data_dir};
use clap::{Args, Subcommand};

use super::environment::Environment;
use super::error::CliError;
use super::io_error::describe_store;
use super::{address, paths};

/// The command line of `capstan store`.
#[derive(Debug, Args)]
pub(super) struct Store {
    /// Data directory of the daemon
    ///
    /// [default for root: /var/lib/capstan; for others: capstan in XDG_STATE_HOME, else in ~/.local/state]. The configuration file of the
    /// daemon is not read.
    #[arg(long, value_name = "DIR", global = true)]
    data: Option<PathBuf>,
    /// Print JSON [default: text]
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Read the whole store and list what is damaged
    ///
    /// Changes nothing, and works while the daemon runs.
    Check,
    /// Copy the store to a directory, and check the copy
    ///
    /// Works while the daemon runs: the copy has everything that was committed at one moment after it began, and nothing later. A backup is complete once
    /// it has the file jobs.db. What handlers keep is in its file data.db, of a moment of its own. If the store is damaged, the rest of it is copied, and the damage is listed.
    Backup {
        /// Directory for the backup: an empty one, or one that does not exist
        #[arg(value_name = "DIR")]
        target: PathBuf,
    },
    /// Make the store from a backup
    ///
    /// Checks the backup first. The daemon must be stopped, and the data directory must have no store.
    Restore {
        /// Directory of the backup
        #[arg(value_name = "DIR")]
        backup: PathBuf,
        /// Restore a damaged backup too. What is damaged stays so [default: off]
        #[arg(long)]
        accept_damage: bool,
    },
    /// Give unused space back to the file system
    ///
    /// The daemon must be stopped. As when it starts, runs that had not ended are recorded as lost.
    Vacuum,
}

/// What the user named, opened.
struct Place {
    path: PathBuf,
    dir: Dir,
}

impl Store {
    /// Runs the subcommand. Blocks on the disk.
    ///
    /// # Errors
    /// [`CliError`]
    pub(super) async fn run(self, environment: &Environment) -> Result<ExitCode, CliError> {
        let default = || address::data_dirs(environment, rustix::process::geteuid().is_root()).data();
        let data = self.data.or_else(default).ok_or(CliError::NoDataDir)?;
        match self.command {
            Command::Check => {
                let data = Place::open(data)?;
                let (jobs, kept) = (jobs::check(&data.dir).map_err(data.error())?, data::check(&data.dir));
                report::print_check(&jobs, kept.map_err(data.data_error())?.as_ref(), self.json)
            }
            Command::Backup { target } => back_up(&Place::open(data)?, target, self.json),
            Command::Restore { backup, accept_damage } => {
                restore(&Place::open(backup)?, data, accept_damage, self.json)
            }
            Command::Vacuum => {
                let data = Place::open(data)?;
                let _lock = data.lock()?;
                report::print_vacuum(jobs::vacuum(&data.dir, Now::read()).await.map_err(data.error())?, self.json)
            }
        }
    }
}

fn back_up(data: &Place, target: PathBuf, json: bool) -> Result<ExitCode, CliError> {
    let is_new = paths::create_dir(&target)?;
    let target = Place::open(target)?;
    if target.dir.entries().map_err(paths::file_error(&target.path))?.next().is_some() {
        return Err(target.error()(MaintenanceError::NotEmpty));
    }
    // First: a backup is complete once it has the file of the jobs.
    let kept = data::backup(&data.dir, &target.dir).map_err(|error| {
        if is_new {
            paths::remove_empty_dir(&target.path);
        }
        data.data_error()(error)
    })?;
    let copied = jobs::backup(&data.dir, &target.dir).map_err(|error| {
        // A file that remains has no jobs.db beside it, so that nobody takes it for a backup.
        let _ = target.dir.remove_file(data::FILE);
        if is_new {
            paths::remove_empty_dir(&target.path);
        }
        match error {
            // Only the copy is written.
            MaintenanceError::Store(JobStoreError::Full) => {
                paths::file_error(&target.path)(std::io::ErrorKind::StorageFull.into())
            }
            error => data.error()(error),
        }
    })?;
    report::print_backup(&copied, kept.as_ref(), &target.path, json)
}

fn restore(backup: &Place, data: PathBuf, accept_damage: bool, json: bool) -> Result<ExitCode, CliError> {
    let data = Place { dir: paths::create_dir_all(&data)?, path: data };
    let _lock = data.lock()?;
    // The jobs last: without them the command can be repeated.
    let has_jobs = jobs::exists(&data.dir).map_err(data.error())?;
    let is_backup = jobs::is_backup(&backup.dir).map_err(backup.error())?;
    let kept = match !has_jobs && is_backup {
        true => data::restore(&backup.dir, &data.dir, accept_damage).map_err(data.data_error())?,
        false => None,
    };
    let restored = jobs::restore(&backup.dir, &data.dir, accept_damage).map_err(|error| {
        if kept.is_some() {
            // If this fails, the next attempt says what to move away.
            let _ = data.dir.remove_dir_all(data::DIR);
        }
        match error {
            MaintenanceError::StoreExists | MaintenanceError::Store(_) => data.error()(error),
            error => backup.error()(error),
        }
    })?;
    report::print_restore(&restored, kept.as_ref(), &data.path, json)
}

impl Place {
    fn open(path: PathBuf) -> Result<Self, CliError> {
        Ok(Self { dir: paths::open_dir(&path)?, path })
    }

    /// Makes sure that this user owns the data directory, and that no daemon starts in it until the lock is dropped.
    fn lock(&self) -> Result<LockFile, CliError> {
        check_data_dir(&self.dir).map_err(|error| data_dir_error(&self.path, describe_store(&error)))?;
        lock_data_dir(&self.dir).map_err(|error| {
            let reason = match error {
                LockError::Held(pid) => format!("a daemon (pid {pid}) uses it; stop that daemon first"),
                LockError::Io(_) => error.to_string(),
            };
            data_dir_error(&self.path, reason)
        })
    }

    fn data_error(&self) -> impl FnOnce(DataError) -> CliError {
        |source| CliError::DataStore { path: self.path.clone(), source }
    }

    fn error(&self) -> impl FnOnce(MaintenanceError) -> CliError {
        |source| CliError::JobStore { path: self.path.clone(), source }
    }
}

fn data_dir_error(path: &Path, reason: String) -> CliError {
    CliError::DataDir { path: path.to_owned(), reason }
}
