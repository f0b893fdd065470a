//! Backups, restoring them, and vacuuming.

use std::fs;

use cap_std::fs::Dir;
use capstan_engine::job_store::{JobFilter, JobStore as _, Now};
use capstan_store::jobs::{MaintenanceError, ProblemKind, backup, check, restore, vacuum};

use crate::filled::{Filled, claim, print, read, sizes};

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
    restore(&backup, &data, false).unwrap();
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
    let (files, target) = temporary_dir();
    fs::write(files.path().join("note"), "mine").unwrap();
    assert_eq!(store.backup(&target), Err(MaintenanceError::NotEmpty));
    assert_eq!(fs::read_to_string(files.path().join("note")).unwrap(), "mine");
    fs::remove_file(files.path().join("note")).unwrap();
    store.backup(&target).unwrap();
    assert_eq!(store.backup(&target), Err(MaintenanceError::NotEmpty));
    drop(store);
    assert_eq!(restore(&target, &filled.data, true), Err(MaintenanceError::StoreExists));
    // Output may still be of use without its database.
    fs::remove_file(filled.path("jobs.db")).unwrap();
    assert_eq!(restore(&target, &filled.data, true), Err(MaintenanceError::StoreExists));
}

#[tokio::test]
async fn damaged_backup_is_refused_unless_its_damage_is_accepted() {
    let filled = Filled::new();
    let store = filled.open();
    let ids = filled.fill(&store, 6, 30_000).await;
    let (files, backup) = temporary_dir();
    store.backup(&backup).unwrap();
    let segment = files.path().join("output/00000001.segment");
    let mut bytes = fs::read(&segment).unwrap();
    bytes[500] ^= 1;
    fs::write(&segment, bytes).unwrap();
    let (target_files, target) = temporary_dir();
    let error = restore(&backup, &target, false).unwrap_err().to_string();
    assert!(error.contains("output/00000001.segment"), "{error}");
    assert_eq!(fs::read_dir(target_files.path()).unwrap().count(), 0);

    let report = restore(&backup, &target, true).unwrap();
    assert_eq!((report.check.jobs, report.check.problems.len()), (6, 1));
    let restored = Filled { temp: target_files, data: target, ids: Default::default() };
    let restored = restored.open();
    assert_eq!(sizes(&read(&restored, ids[0]).await.unwrap().unwrap().1), (0, 30_000));
    assert_eq!(sizes(&read(&restored, ids[2]).await.unwrap().unwrap().1), (30_000, 0));
}

#[tokio::test]
async fn backup_without_a_database_is_incomplete() {
    let filled = Filled::new();
    filled.fill(&filled.open(), 2, 30_000).await;
    let (files, target) = temporary_dir();
    backup(&filled.data, &target).unwrap();
    // As a process that is killed leaves it.
    fs::rename(files.path().join("jobs.db"), files.path().join("jobs.db.unfinished")).unwrap();
    let (data_files, data) = temporary_dir();
    assert_eq!(restore(&target, &data, true), Err(MaintenanceError::NoBackup));
    assert_eq!(fs::read_dir(data_files.path()).unwrap().count(), 0);
    assert_eq!(backup(&filled.data, &target), Err(MaintenanceError::NotEmpty));
}

#[tokio::test]
async fn backup_that_fails_leaves_nothing() {
    let filled = Filled::new();
    filled.fill(&filled.open(), 40, 500).await;
    let path = filled.path("jobs.db");
    let mut bytes = fs::read(&path).unwrap();
    // All but the first page, which has the schema.
    bytes[4096..].fill(0xa5);
    fs::write(&path, bytes).unwrap();
    let (files, target) = temporary_dir();
    backup(&filled.data, &target).unwrap_err();
    assert_eq!(fs::read_dir(files.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn backup_of_a_damaged_store_has_the_rest_and_reports_the_damage() {
    let filled = Filled::new();
    filled.fill(&filled.open(), 6, 30_000).await;
    fs::remove_file(filled.path("output/00000001.segment")).unwrap();
    let (_files, target) = temporary_dir();
    let report = backup(&filled.data, &target).unwrap().check;
    assert_eq!(report.jobs, 6);
    assert!(report.problems.iter().all(|problem| problem.kind == ProblemKind::Output), "{report:?}");
    assert_eq!(report.problems.len(), 4, "three chunks and the segment: {report:?}");
    let (_data_files, data) = temporary_dir();
    restore(&target, &data, true).unwrap();
    assert_eq!(check(&data).unwrap(), report);
}

#[tokio::test]
async fn store_that_is_missing_or_has_another_schema_is_refused() {
    let filled = Filled::new();
    let (_files, target) = temporary_dir();
    let refused = async |expected: MaintenanceError| {
        assert_eq!(check(&filled.data).unwrap_err(), expected);
        assert_eq!(backup(&filled.data, &target).unwrap_err(), expected);
        assert_eq!(vacuum(&filled.data, Now::read()).await.unwrap_err(), expected);
        assert_eq!(target.entries().unwrap().count(), 0);
    };
    refused(MaintenanceError::NoStore).await;
    assert_eq!(filled.data.entries().unwrap().count(), 0, "nothing was created");
    fs::create_dir(filled.path("")).unwrap();
    refused(MaintenanceError::NoStore).await;
    filled.fill(&filled.open(), 2, 10).await;
    let set_version = |version: i64| {
        let db = rusqlite::Connection::open(filled.path("jobs.db")).unwrap();
        db.pragma_update(None, "user_version", version).unwrap();
    };
    set_version(99);
    refused(MaintenanceError::NewerSchema { found: 99, known: 2 }).await;
    set_version(0);
    refused(MaintenanceError::OlderSchema { found: 0, known: 2 }).await;
    set_version(2);
    assert_eq!(check(&filled.data).unwrap().jobs, 2);
}

/// Locks the segments of a store as the process that copies them does.
fn lock_segments(filled: &Filled) -> fs::File {
    let dir = fs::File::open(filled.path("output")).unwrap();
    rustix::fs::flock(&dir, rustix::fs::FlockOperation::LockShared).unwrap();
    dir
}

#[tokio::test]
async fn segment_that_is_being_copied_stays_and_its_number_is_not_used_again() {
    let filled = Filled::new();
    let store = filled.open();
    let ids = filled.fill(&store, 1, 30_000).await;
    let segment = filled.path("output/00000001.segment");
    let content = fs::read(&segment).unwrap();
    let lock = lock_segments(&filled);
    store.remove(ids[0]).await.unwrap();
    store.vacuum().await.unwrap();
    assert_eq!(fs::read(&segment).unwrap(), content);
    // New output does not touch it, and neither does a daemon that starts.
    let second = filled.fill(&store, 1, 30_000).await;
    assert_eq!(fs::read(&segment).unwrap(), content);
    drop(store);
    let store = filled.open();
    assert_eq!(fs::read(&segment).unwrap(), content);
    drop(lock);
    let third = filled.fill(&store, 1, 30_000).await;
    assert!(!segment.exists());
    for id in [second[0], third[0]] {
        assert_eq!(sizes(&read(&store, id).await.unwrap().unwrap().1), (30_000, 0));
    }
}

#[tokio::test]
async fn vacuum_removes_a_segment_that_was_emptied_while_it_was_full() {
    let filled = Filled::new();
    let store = filled.open();
    let ids = filled.fill(&store, 1, 10).await;
    store.requeue(Now::read(), ids[0], None).await.unwrap();
    let lease = claim(&store).await.unwrap().lease;
    for _ in 0..16 {
        print(&store, lease, 1 << 20).await;
    }
    crate::filled::finish(&store, lease, capstan_engine::job_store::Then::Done).await;
    assert!(filled.path("output/00000001.segment").metadata().unwrap().len() >= 16 << 20);
    store.remove(ids[0]).await.unwrap();
    filled.fill(&store, 1, 30_000).await;
    store.vacuum().await.unwrap();
    assert_eq!(fs::read_dir(filled.path("output")).unwrap().count(), 1);
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
