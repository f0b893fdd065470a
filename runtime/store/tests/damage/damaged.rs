//! Files that were truncated, or in which bits have changed.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use capstan_engine::job_store::{JobFilter, JobStore as _, JobStoreError, Then};
use capstan_store::jobs::{ProblemKind, check};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::filled::{Filled, claim, finish, print, read, sizes};

fn flip_bit(path: &Path, byte: u64, bit: u8) {
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte_there = [0];
    file.read_exact_at(&mut byte_there, byte).unwrap();
    file.write_all_at(&[byte_there[0] ^ (1 << bit)], byte).unwrap();
}

/// Whatever bit of the database changes: each job is read unchanged, or is an error that says what is damaged. Nothing panics, and what
/// opens can still be used.
#[tokio::test]
async fn flipped_bit_of_the_database_changes_no_job_unnoticed() {
    let original = Filled::new();
    let store = original.open();
    let ids = original.fill(&store, 40, 500).await;
    let mut expected = Vec::new();
    for id in &ids {
        expected.push(store.job(*id).await.unwrap().unwrap().job);
    }
    drop(store);
    let size = fs::metadata(original.path("jobs.db")).unwrap().len();
    let mut random = StdRng::seed_from_u64(1);
    let (mut refused, mut damaged, mut found) = (0, 0, 0);
    for _ in 0..60 {
        let copy = original.copy();
        flip_bit(&copy.path("jobs.db"), random.random_range(0..size), random.random_range(0..8));
        let has_problems = match check(&copy.data) {
            Ok(report) => !report.problems.is_empty(),
            Err(error) => !error.to_string().is_empty(),
        };
        found += u32::from(has_problems);
        let store = match copy.try_open() {
            Ok((store, _)) => store,
            Err(error) => {
                assert!(error.to_string().contains("jobs.db") || error.to_string().contains("job "), "{error}");
                refused += 1;
                continue;
            }
        };
        for (id, expected) in ids.iter().zip(&expected) {
            match store.job(*id).await {
                Ok(Some(details)) => assert_eq!(details.job, *expected),
                // An index that names another job, or none.
                Ok(None) => assert!(has_problems, "a job is missing, and the check does not say so"),
                Err(JobStoreError::Damaged { what, .. }) => {
                    assert!(what.contains("job"), "{what}");
                    damaged += 1;
                }
                Err(error) => panic!("{error}"),
            }
        }
    }
    println!("60 bits: {refused} stores refused, {damaged} jobs damaged, {found} found by the check");
    assert!(found > 0 && damaged + refused > 0);
}

#[tokio::test]
async fn truncated_database_is_refused_or_found_by_the_check() {
    let original = Filled::new();
    let store = original.open();
    original.fill(&store, 40, 500).await;
    drop(store);
    let size = fs::metadata(original.path("jobs.db")).unwrap().len();
    for part in 1..8 {
        let copy = original.copy();
        let file = OpenOptions::new().write(true).open(copy.path("jobs.db")).unwrap();
        file.set_len(size * part / 8).unwrap();
        match check(&copy.data) {
            Ok(report) => assert!(!report.problems.is_empty(), "{part}/8 of the database has no problem"),
            Err(error) => assert!(error.to_string().contains("jobs.db"), "{error}"),
        }
    }
}

#[tokio::test]
async fn file_that_is_no_database_is_refused_with_what_to_do() {
    let filled = Filled::new();
    fs::create_dir(filled.path("")).unwrap();
    fs::write(filled.path("jobs.db"), "this is not a database, but a text of some length".repeat(100)).unwrap();
    let error = filled.try_open().unwrap_err().to_string();
    assert!(error.contains("jobs.db") && error.contains("restore a backup"), "{error}");
    assert!(fs::read_to_string(filled.path("jobs.db")).unwrap().starts_with("this is not"), "the file is untouched");
}

#[tokio::test]
async fn damaged_log_is_reported_and_what_precedes_it_is_kept() {
    let original = Filled::new();
    let store = original.open();
    let ids = original.fill(&store, 20, 100).await;
    let crashed = original.copy();
    let log = crashed.path("jobs.db-wal");
    let size = fs::metadata(&log).unwrap().len();
    assert!(size > 100_000);
    // Undamaged, the log is complete.
    let undamaged = crashed.copy();
    let (whole, report) = undamaged.try_open().unwrap();
    assert_eq!(report.ignored_log_frames, 0);
    assert!(whole.job(ids[19]).await.unwrap().is_some());
    // A bit in the middle of it.
    flip_bit(&log, size / 2, 3);
    let damaged = fs::read(&log).unwrap();
    for _ in 0..2 {
        let report = check(&crashed.data).unwrap();
        assert_eq!(report.problems.iter().map(|problem| problem.kind).collect::<Vec<_>>(), [ProblemKind::Log]);
        assert!(fs::read(&log).unwrap() == damaged, "the check changes nothing");
    }
    let (store, report) = crashed.try_open().unwrap();
    assert!(report.ignored_log_frames > 0);
    assert!(store.job(ids[0]).await.unwrap().is_some());
    assert!(store.job(ids[19]).await.unwrap().is_none());
    drop(store);
    assert_eq!(check(&crashed.data).unwrap().problems, []);
}

#[tokio::test]
async fn damaged_segment_loses_only_its_record() {
    let filled = Filled::new();
    let store = filled.open();
    filled.fill(&store, 3, 40_000).await;
    let ids = store.query(JobFilter::default(), None, 10).await.unwrap().jobs;
    drop(store);
    let segment = filled.path("output/00000001.segment");
    flip_bit(&segment, 1000, 0);
    let report = check(&filled.data).unwrap();
    assert_eq!(report.problems.len(), 1, "{report:?}");
    assert!(report.problems[0].what.contains("output/00000001.segment at byte 0"), "{report:?}");
    let store = filled.open();
    let pages =
        [read(&store, ids[2].job.id).await, read(&store, ids[0].job.id).await].map(|read| read.unwrap().unwrap().1);
    assert_eq!(pages.map(|page| sizes(&page)), [(0, 40_000), (40_000, 0)]);
}

#[tokio::test]
async fn short_or_missing_segment_is_named_and_the_store_goes_on() {
    let filled = Filled::new();
    let store = filled.open();
    let ids = filled.fill(&store, 3, 40_000).await;
    drop(store);
    let segment = filled.path("output/00000001.segment");
    OpenOptions::new().write(true).open(&segment).unwrap().set_len(50_000).unwrap();
    let (store, report) = filled.try_open().unwrap();
    assert_eq!(report.short_segments[0].file, "00000001.segment");
    assert_eq!(report.short_segments[0].found, Some(50_000));
    assert_eq!(sizes(&read(&store, ids[0]).await.unwrap().unwrap().1), (40_000, 0));
    assert_eq!(sizes(&read(&store, ids[2]).await.unwrap().unwrap().1), (0, 40_000));
    // New output goes elsewhere.
    let more = filled.fill(&store, 1, 40_000).await;
    assert_eq!(sizes(&read(&store, more[0]).await.unwrap().unwrap().1), (40_000, 0));
    drop(store);
    fs::remove_file(&segment).unwrap();
    let (store, report) = filled.try_open().unwrap();
    assert_eq!(report.short_segments[0].found, None);
    assert_eq!(sizes(&read(&store, ids[0]).await.unwrap().unwrap().1), (0, 40_000));
    assert_eq!(sizes(&read(&store, more[0]).await.unwrap().unwrap().1), (40_000, 0));
}

#[tokio::test]
async fn torn_tail_of_a_segment_is_cut_off() {
    let filled = Filled::new();
    let store = filled.open();
    let ids = filled.fill(&store, 1, 40_000).await;
    drop(store);
    let segment = filled.path("output/00000001.segment");
    let size = fs::metadata(&segment).unwrap().len();
    fs::write(filled.path("output/00000007.segment"), "never committed").unwrap();
    let file = OpenOptions::new().append(true).open(&segment).unwrap();
    std::io::Write::write_all(&mut &file, &[7; 1000]).unwrap();
    let (store, report) = filled.try_open().unwrap();
    assert_eq!(report.short_segments, []);
    assert_eq!(fs::metadata(&segment).unwrap().len(), size);
    assert!(!filled.path("output/00000007.segment").exists());
    assert_eq!(sizes(&read(&store, ids[0]).await.unwrap().unwrap().1), (40_000, 0));
}

/// A damaged job at the head of the queue ends, and the jobs behind it run.
#[tokio::test]
async fn damaged_job_does_not_hold_up_the_queue() {
    let filled = Filled::new();
    let store = filled.open();
    let mut ids = Vec::new();
    for _ in 0..2 {
        let name = capstan_engine::handler::HandlerName::new("a").unwrap();
        let now = capstan_engine::job_store::Now::read();
        let job = capstan_engine::job_store::NewJob::new(filled.ids.create(now.wall), name);
        ids.push(store.submit(now, vec![job]).await.unwrap().remove(0).unwrap().job);
    }
    drop(store);
    let db = rusqlite::Connection::open(filled.path("jobs.db")).unwrap();
    db.execute("UPDATE jobs SET plan = zeroblob(20) WHERE number = 1", []).unwrap();
    drop(db);
    assert_eq!(check(&filled.data).unwrap().problems.len(), 1);
    let store = filled.open();
    let claimed = claim(&store).await.unwrap();
    assert_eq!(claimed.lease.job, ids[1]);
    print(&store, claimed.lease, 10).await;
    finish(&store, claimed.lease, Then::Done).await;
    assert!(claim(&store).await.is_none());
    let error = store.job(ids[0]).await.unwrap_err().to_string();
    assert!(error.contains(&ids[0].to_string()) && error.contains("capstan store check"), "{error}");
    let page = store.query(JobFilter::default(), None, 10).await.unwrap();
    assert_eq!(page.jobs.len(), 1, "the rest is listed");
}
