//! Opens the store of durable jobs, and makes the queue.

use std::path::Path;
use std::sync::Arc;

use cap_std::fs::Dir;
use capstan_engine::engine::Engine;
use capstan_engine::job_store::{JobStore, JobStoreError, Now};
use capstan_engine::queue::Queue;
use capstan_store::Suitability;
use capstan_store::data::SqliteDataStore;
use capstan_store::jobs::{OpenReport, SqliteJobStore, SqliteOptions};

use super::BootError;
use crate::daemon::settings::Settings;
use crate::webhooks::Webhooks;

/// Opens the store below `data`, and repairs what a crash has left. Blocks on the disk.
///
/// # Errors
/// [`BootError`]
pub(super) fn open_queue(
    data: &Dir,
    settings: &Settings,
    engine: Engine,
    webhooks: Arc<Webhooks>,
) -> Result<Queue, BootError> {
    let path = &settings.data;
    let options =
        SqliteOptions { limits: settings.job_limits.clone(), follow_ups: Some(webhooks), ..SqliteOptions::default() };
    let opened = check_file_system(data, path).and_then(|()| SqliteJobStore::open(data, options, Now::read()));
    let (store, report) = opened.map_err(|source| BootError::Jobs { path: path.clone(), source })?;
    log_report(&report, path);
    let store: Arc<dyn JobStore> = Arc::new(store);
    Ok(Queue::new(engine, store, settings.jobs.clone()))
}

/// Opens the store of what handlers keep, and gives it to `engine`. Blocks on the disk.
///
/// # Errors
/// [`BootError`]
pub(super) fn open_data_store(data: &Dir, settings: &Settings, engine: &Engine) -> Result<(), BootError> {
    let path = &settings.data;
    let store = SqliteDataStore::open(data).map_err(|source| BootError::DataStore { path: path.clone(), source })?;
    engine.set_data_store(Arc::new(store));
    Ok(())
}

/// Refuses file systems on which acknowledged jobs could be lost.
fn check_file_system(data: &Dir, path: &Path) -> Result<(), JobStoreError> {
    let found = capstan_store::suitability(data);
    match found.map_err(|error| JobStoreError::io("look at the file system of the data directory", error))? {
        Suitability::Suitable => {}
        Suitability::Uncertain(name) => tracing::warn!(
            data = %path.display(),
            "the data directory is on {name}; jobs survive a crash only if it keeps synced files, locks and shared memory"
        ),
        Suitability::Network(name) => {
            let reason = "locks, shared memory and synced files of a network file system are not reliable enough for \
                          durable jobs; use a directory on a local disk";
            return Err(JobStoreError::io(format!("use {name}"), reason));
        }
    }
    Ok(())
}

fn log_report(report: &OpenReport, path: &Path) {
    let OpenReport { lost_attempts, copy_before_migration, short_segments, ignored_log_frames } = report;
    tracing::info!(data = %path.display(), lost_attempts, "opened the job store");
    if *lost_attempts > 0 {
        tracing::warn!(lost_attempts, "attempts ran when the daemon ended last, and are recorded as lost");
    }
    if let Some(copy) = copy_before_migration {
        tracing::info!(copy, "the job store has a new schema; this is a copy of the old one");
    }
    for segment in short_segments {
        tracing::error!(?segment, "a segment of the job store is damaged; output of jobs is missing");
    }
    if *ignored_log_frames > 0 {
        tracing::warn!(
            ignored_log_frames,
            "the log of the job store ends with frames that were never committed, or that are damaged"
        );
    }
}
