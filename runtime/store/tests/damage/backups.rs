//! Backups, restoring them, and vacuuming.

use std::fs;

use cap_std::fs::Dir;
use capstan_engine::job_store::{JobFilter, JobStore as _};
use capstan_store::jobs::{check, restore};

use crate::filled::{Filled, read};

fn temporary_dir() -> (tempfile::TempDir, Dir) {
    let temp = tempfile::tempdir().unwrap();
    let dir = Dir::open_ambient_dir(temp.path(), cap_std::ambient_authority()).unwrap();
    (temp, dir)
}

#[tokio::test(flavor = "multi_thread")]
async fn backup_of_a_store_in_use_is_restored_whole() {
    let filled = Filled::new();
    let store = std::sync::Arc::new(filled.open());
    let ids = filled.fill(&store, 10, 30_000).await;
    let mut expected = Vec::new();
    for id in &ids {
        expected.push(read(&store, *id).await.unwrap());
    }
    let (_backup_files, backup) = temporary_dir();
    let (copying, target) = (store.clone(), backup.try_clone().unwrap());
    let copied = tokio::task::spawn_blocking(move || copying.backup(&target));
    // Jobs are submitted, run and removed meanwhile.
    filled.fill(&store, 20, 30_000).await;
    let report = copied.await.unwrap().unwrap();
    assert!(report.bytes > 150_000 && report.segments > 0, "{report:?}");

    let (_data_files, data) = temporary_dir();
    restore(&backup, &data).unwrap();
    assert_eq!(check(&data).unwrap().problems, []);
    let restored = Filled { temp: tempfile::tempdir().unwrap(), data, ids: Default::default() };
    let restored = restored.open();
    for (id, expected) in ids.iter().zip(&expected) {
        assert_eq!(read(&restored, *id).await.unwrap(), *expected);
    }
}

#[tokio::test]
async fn backup_and_restore_overwrite_nothing() {
    let filled = Filled::new();
    let store = filled.open();
    filled.fill(&store, 2, 10).await;
    let (_files, backup) = temporary_dir();
    store.backup(&backup).unwrap();
    let error = store.backup(&backup).unwrap_err().to_string();
    assert!(error.contains("use an empty directory"), "{error}");
    drop(store);
    let error = restore(&backup, &filled.data).unwrap_err().to_string();
    assert!(error.contains("move the directory jobs away first"), "{error}");
}

#[tokio::test]
async fn damaged_backup_is_refused_and_nothing_changes() {
    let filled = Filled::new();
    let store = filled.open();
    filled.fill(&store, 6, 30_000).await;
    let (files, backup) = temporary_dir();
    store.backup(&backup).unwrap();
    let segment = files.path().join("output/00000001.segment");
    let mut bytes = fs::read(&segment).unwrap();
    bytes[500] ^= 1;
    fs::write(&segment, bytes).unwrap();
    let (target_files, target) = temporary_dir();
    let error = restore(&backup, &target).unwrap_err().to_string();
    assert!(error.contains("output/00000001.segment"), "{error}");
    assert_eq!(fs::read_dir(target_files.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn vacuum_gives_space_back_and_keeps_output() {
    let filled = Filled::new();
    let store = filled.open();
    let ids = filled.fill(&store, 40, 100_000).await;
    let (kept, removed): (Vec<_>, Vec<_>) = ids.iter().enumerate().partition(|(index, _)| index % 10 == 0);
    let mut expected = Vec::new();
    for (_, id) in &kept {
        expected.push(read(&store, **id).await.unwrap());
    }
    for (index, id) in removed {
        if index % 2 == 0 {
            store.remove(*id).await.unwrap();
        }
    }
    let report = store.vacuum().await.unwrap();
    assert!(report.after < report.before / 2 && report.moved > 0 && report.damaged == 0, "{report:?}");
    assert!(!filled.path("output/00000001.segment").exists());
    for ((_, id), expected) in kept.iter().zip(&expected) {
        assert_eq!(read(&store, **id).await.unwrap(), *expected);
    }
    // A second one has nothing to do.
    let again = store.vacuum().await.unwrap();
    assert_eq!((again.moved, again.after), (0, report.after));
    drop(store);
    assert_eq!(check(&filled.data).unwrap().problems, []);
    assert_eq!(filled.open().query(JobFilter::default(), None, 100).await.unwrap().jobs.len(), 24);
}
