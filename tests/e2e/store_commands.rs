//! `capstan store`: check, backup, restore and vacuum of stores that this process has made, and partly keeps open.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use cap_std::fs::Dir;
use capstan_core::outcome::{Outcome, OutputStream};
use capstan_core::usage::UsageReport;
use capstan_engine::handler::HandlerName;
use capstan_engine::job::JobId;
use capstan_engine::job_store::{
    ClaimRequest, End, Finish, JobFilter, JobIds, JobStore as _, Lease, NewJob, Now, OutputChunk, OutputPiece, Then,
};
use capstan_store::jobs::{SqliteJobStore, SqliteOptions};
use capstan_tests::{Daemon, Finished, eventually};

use crate::{CAPSTAN, command};

/// Output that is stored in the database.
const SMALL: usize = 100;
/// Output that is stored in a segment, in one chunk.
const LARGE: usize = 50_000;

/// A data directory, and the directories beside it.
struct Site {
    folder: tempfile::TempDir,
    ids: JobIds,
}

impl Site {
    fn new() -> Self {
        let site = Self { folder: tempfile::tempdir().unwrap(), ids: JobIds::default() };
        fs::DirBuilder::new().create(site.path("data")).unwrap();
        fs::set_permissions(site.path("data"), fs::Permissions::from_mode(0o700)).unwrap();
        site
    }

    /// Returns a site whose store has four jobs, and is closed.
    async fn filled() -> Self {
        let site = Self::new();
        let store = site.open();
        for size in [SMALL, LARGE, SMALL, LARGE] {
            site.run_job(&store, size).await;
        }
        site
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn open(&self) -> SqliteJobStore {
        self.open_at("data")
    }

    fn open_at(&self, name: &str) -> SqliteJobStore {
        let data = Dir::open_ambient_dir(self.path(name), cap_std::ambient_authority()).unwrap();
        SqliteJobStore::open(&data, SqliteOptions::default(), Now::read()).unwrap().0
    }

    /// Submits a job, which runs and prints `size` bytes.
    async fn run_job(&self, store: &SqliteJobStore, size: usize) -> JobId {
        let job = NewJob::new(self.ids.create(Now::read().wall), HandlerName::new("a").unwrap());
        let id = job.id;
        store.submit(Now::read(), vec![job]).await.unwrap().remove(0).unwrap();
        let request = ClaimRequest::new("test", 1, Duration::from_secs(3600));
        let lease = store.claim(Now::read(), request).await.unwrap().remove(0).lease;
        assert_eq!(lease.job, id);
        let chunk = OutputChunk { stream: OutputStream::Stdout, at: Now::read().wall, bytes: vec![b'o'; size].into() };
        store.append_output(lease, vec![chunk]).await.unwrap();
        let end = End { outcome: Outcome::SUCCESS, error: None, at: Now::read().wall };
        let finish = Finish { lease, end, usage: UsageReport::default(), then: Then::Done };
        store.finish(Now::read(), finish).await.unwrap();
        id
    }

    /// Runs `capstan store ARGS` on the data directory, in the folder of this site.
    async fn store(&self, args: &[&str]) -> Finished {
        self.store_at("data", args).await
    }

    async fn store_at(&self, data: &str, args: &[&str]) -> Finished {
        let is_path = |arg: &&str| arg.starts_with("copy");
        let args = args.iter().map(|arg| if is_path(arg) { self.path(arg) } else { PathBuf::from(arg) });
        command().args(["store"]).args(args).args(["--data".into(), self.path(data)]).run().await
    }
}

/// Returns the bytes of output that a store has of a job.
async fn output_of(store: &SqliteJobStore, job: JobId) -> Bytes {
    let page = store.read_output(Lease { job, attempt: 1 }, 0, u64::MAX).await.unwrap().unwrap();
    let mut bytes = Vec::new();
    for piece in &page.pieces {
        match piece {
            OutputPiece::Chunk(chunk) => bytes.extend_from_slice(&chunk.bytes),
            OutputPiece::Gap(missing) => panic!("{missing} bytes of the output of {job} are missing"),
        }
    }
    bytes.into()
}

fn flip_bit(path: &Path, at: u64) {
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 1], at).unwrap();
}

#[tokio::test]
async fn check_reports_what_an_intact_store_has() {
    let site = Site::filled().await;
    let text = site.store(&["check"]).await.assert_exit_code(0);
    assert_eq!(text.text(), "schema version 2, 4 jobs, 4 attempts, 4 chunks of output\nnothing is damaged\n");
    let store = site.open();
    let json = site.store(&["check", "--json"]).await.assert_exit_code(0).json();
    let expected = serde_json::json!({
        "version": 2, "jobs": 4, "attempts": 4, "chunks": 4, "problems": [], "more_problems": 0,
    });
    assert_eq!(json, expected, "a store in use is checked too");
    site.run_job(&store, SMALL).await;
}

#[tokio::test]
async fn check_lists_each_problem_with_what_to_do() {
    let site = Site::filled().await;
    flip_bit(&site.path("data/jobs/output/00000001.segment"), 500);
    let text = site.store(&["check"]).await.assert_exit_code(1);
    let lines: Vec<_> = text.text().lines().collect();
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert!(
        lines[1].starts_with("output/00000001.segment at byte 0: its checksum is wrong; nothing needs"),
        "{lines:?}"
    );
    assert_eq!(lines[2], "1 problem");

    let segment = OpenOptions::new().write(true).open(site.path("data/jobs/output/00000001.segment")).unwrap();
    segment.set_len(75_000).unwrap();
    let json = site.store(&["check", "--json"]).await.assert_exit_code(1).json();
    let problems = json["problems"].as_array().unwrap();
    assert!(problems.iter().all(|problem| problem["kind"] == "output"), "{json:#}");
    assert!(problems[2]["reason"].as_str().unwrap().starts_with("it has 75000 bytes instead of "), "{json:#}");
}

/// The kind of some pages of the database. Pages that are not in use have none.
#[tokio::test]
async fn check_of_a_damaged_database_exits_with_1() {
    let site = Site::filled().await;
    let path = site.path("data/jobs/jobs.db");
    let original = fs::read(&path).unwrap();
    let mut found = 0;
    for page in (1..original.len() as u64 / 4096).step_by(3) {
        flip_bit(&path, page * 4096);
        let checked = site.store(&["check"]).await;
        match checked.code {
            Some(1) => {
                assert!(checked.text().contains("; restore a backup\n"), "{checked:?}");
                found += 1;
            }
            code => assert_eq!(code, Some(0), "{checked:?}"),
        }
        fs::write(&path, &original).unwrap();
    }
    assert!(found > 3, "{found}");
    fs::write(&path, "no database".repeat(1000)).unwrap();
    let checked = site.store(&["check"]).await.assert_exit_code(1);
    assert!(checked.text().contains("jobs.db: file is not a database; restore a backup\n1 problem\n"), "{checked:?}");
}

#[tokio::test]
async fn backup_is_restored_with_all_jobs_and_output() {
    let site = Site::filled().await;
    let backed_up = site.store(&["backup", "copy"]).await.assert_exit_code(0);
    assert!(backed_up.text().starts_with("backed up 4 jobs, "), "{}", backed_up.text());
    assert!(backed_up.text().ends_with("nothing is damaged\n"), "{}", backed_up.text());
    for (name, mode) in [("copy", 0o700), ("copy/jobs.db", 0o600), ("copy/output/00000001.segment", 0o600)] {
        assert_eq!(fs::metadata(site.path(name)).unwrap().permissions().mode() & 0o777, mode, "{name}");
    }
    let restored = site.store_at("new/data", &["restore", "copy", "--json"]).await.assert_exit_code(0).json();
    assert_eq!((&restored["segments"], &restored["check"]["jobs"]), (&1.into(), &4.into()));

    let restored = site.open_at("new/data");
    let jobs = restored.query(JobFilter::default(), None, 100).await.unwrap().jobs;
    let mut sizes = Vec::new();
    for job in &jobs {
        sizes.push(output_of(&restored, job.job.id).await.len());
    }
    assert_eq!(sizes, [LARGE, SMALL, LARGE, SMALL], "the newest first");
}

#[tokio::test]
async fn backup_into_a_directory_that_is_not_empty_changes_nothing() {
    let site = Site::filled().await;
    site.store(&["backup", "copy"]).await.assert_exit_code(0);
    let database = fs::read(site.path("copy/jobs.db")).unwrap();
    let refused = site.store(&["backup", "copy"]).await.assert_exit_code(125);
    assert!(refused.stderr.contains("copy: the directory is not empty"), "{}", refused.stderr);
    assert_eq!(fs::read(site.path("copy/jobs.db")).unwrap(), database);
    fs::create_dir(site.path("copy-empty")).unwrap();
    site.store(&["backup", "copy-empty"]).await.assert_exit_code(0);
    fs::write(site.path("copy-file"), "x").unwrap();
    site.store(&["backup", "copy-file"]).await.assert_exit_code(125);
}

#[tokio::test]
async fn backup_that_fails_leaves_no_directory() {
    let site = Site::filled().await;
    let path = site.path("data/jobs/jobs.db");
    let mut database = fs::read(&path).unwrap();
    database[4096..].fill(0xa5);
    fs::write(&path, database).unwrap();
    let failed = site.store(&["backup", "copy"]).await.assert_exit_code(125);
    assert!(failed.stderr.contains("jobs.db in the job store is damaged"), "{}", failed.stderr);
    assert!(!site.path("copy").exists());
}

#[tokio::test]
async fn backup_of_a_damaged_store_is_restored_only_if_the_damage_is_accepted() {
    let site = Site::filled().await;
    flip_bit(&site.path("data/jobs/output/00000001.segment"), 500);
    let backed_up = site.store(&["backup", "copy"]).await.assert_exit_code(1);
    assert!(backed_up.text().contains("at byte 0: its checksum is wrong"), "{}", backed_up.text());
    let refused = site.store_at("new", &["restore", "copy"]).await.assert_exit_code(125);
    assert!(refused.stderr.contains("--accept-damage"), "{}", refused.stderr);
    assert!(!site.path("new/jobs").exists());
    let restored = site.store_at("new", &["restore", "copy", "--accept-damage"]).await.assert_exit_code(1);
    assert!(restored.text().starts_with("restored 4 jobs, "), "{}", restored.text());
    site.store_at("new", &["check"]).await.assert_exit_code(1);
}

#[tokio::test]
async fn restore_replaces_no_store_and_disturbs_no_daemon() {
    let site = Site::filled().await;
    site.store(&["backup", "copy"]).await.assert_exit_code(0);
    let refused = site.store(&["restore", "copy"]).await.assert_exit_code(125);
    assert!(refused.stderr.contains("move its directory `jobs` away first"), "{}", refused.stderr);

    let daemon = Daemon::start(CAPSTAN);
    let data = daemon.setup().folder().join("data");
    for args in [&["restore", "copy"][..], &["vacuum"]] {
        let refused = site.store_at(data.to_str().unwrap(), args).await.assert_exit_code(125);
        assert!(
            refused.stderr.contains("a daemon (pid ") && refused.stderr.contains("stop that daemon"),
            "{refused:?}"
        );
    }
    // A backup that a process did not finish.
    fs::remove_file(site.path("copy/jobs.db")).unwrap();
    let refused = site.store_at("new", &["restore", "copy"]).await.assert_exit_code(125);
    assert!(refused.stderr.contains("copy: there is no complete backup"), "{}", refused.stderr);
}

#[tokio::test]
async fn vacuum_gives_space_back_once_the_store_is_closed() {
    let site = Site::filled().await;
    let store = site.open();
    let refused = site.store(&["vacuum"]).await.assert_exit_code(125);
    assert!(refused.stderr.contains("another process has it open; stop that daemon"), "{}", refused.stderr);
    let mut jobs = Vec::new();
    for _ in 0..10 {
        jobs.push(site.run_job(&store, LARGE).await);
    }
    for job in &jobs[1..] {
        store.remove(*job).await.unwrap();
    }
    drop(store);
    let vacuumed = site.store(&["vacuum", "--json"]).await.assert_exit_code(0).json();
    let [before, after] = ["before", "after"].map(|name| vacuumed[name].as_u64().unwrap());
    assert!(before > after + 8 * LARGE as u64, "{vacuumed:#}");
    let again = site.store(&["vacuum"]).await.assert_exit_code(0);
    assert!(again.text().lines().all(|line| line.ends_with(&format!("({after} bytes)"))), "{}", again.text());
    site.store(&["check"]).await.assert_exit_code(0);
    assert_eq!(output_of(&site.open(), jobs[0]).await.len(), LARGE);
}

#[tokio::test]
async fn store_that_is_missing_or_has_another_schema_is_named() {
    let site = Site::new();
    let all = async |data: &str, message: &str| {
        for args in [&["check"][..], &["backup", "copy"], &["vacuum"]] {
            let refused = site.store_at(data, args).await.assert_exit_code(125);
            assert!(refused.stderr.contains(message), "{args:?}: {}", refused.stderr);
            assert_eq!(refused.stdout, b"");
        }
        assert!(!site.path("copy").exists());
    };
    all("nowhere", "nowhere: no such file or directory").await;
    all("data", "data: there is no job store: jobs/jobs.db does not exist").await;
    site.run_job(&site.open(), SMALL).await;
    // `user_version` in the header of the database.
    let database = OpenOptions::new().write(true).open(site.path("data/jobs/jobs.db")).unwrap();
    for (version, message) in
        [(99_u32, "has version 99, and this capstan knows versions up to 2"), (0, "is older than")]
    {
        database.write_all_at(&version.to_be_bytes(), 60).unwrap();
        all("data", message).await;
    }
    command().args(["store"]).run().await.assert_exit_code(125);
    command().args(["store", "check", "--nonsense"]).run().await.assert_exit_code(125);
}

/// The default data directory is that of the daemon.
#[tokio::test]
async fn data_directory_is_by_default_that_of_the_daemon() {
    let site = Site::filled().await;
    let state = site.path("state");
    fs::create_dir(&state).unwrap();
    fs::rename(site.path("data"), state.join("capstan")).unwrap();
    let checked = command().args(["store", "check"]).env("XDG_STATE_HOME", state.to_str().unwrap()).run().await;
    // Root has another one, whatever the environment says.
    if rustix::process::geteuid().is_root() {
        assert!(
            checked.text().starts_with("schema version") || checked.stderr.contains("/var/lib/capstan"),
            "{checked:?}"
        );
    } else {
        assert!(checked.assert_exit_code(0).text().starts_with("schema version 2, 4 jobs"));
    }
}

/// Segments are removed under a lock. A backup takes it before it looks at the database.
#[tokio::test]
async fn backup_waits_while_segments_are_removed() {
    let site = Site::filled().await;
    let segments = fs::File::open(site.path("data/jobs/output")).unwrap();
    rustix::fs::flock(&segments, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let inode = format!(":{} ", segments.metadata().unwrap().ino());
    let backup = async { site.store(&["backup", "copy"]).await.assert_exit_code(0) };
    let release = async {
        eventually("the backup to wait for the lock", async || {
            let locks = fs::read_to_string("/proc/locks").unwrap();
            locks.lines().any(|line| line.contains("-> FLOCK") && line.contains(&inode)).then_some(())
        })
        .await;
        assert_eq!(fs::read_dir(site.path("copy")).unwrap().count(), 0);
        drop(segments);
    };
    tokio::join!(backup, release);
}

/// A backup is taken while jobs are submitted, run and removed, and segments are emptied and removed. It has all jobs up to some moment
/// after its begin and none that came later, except for those that were removed in order.
#[tokio::test(flavor = "multi_thread")]
async fn backup_of_a_store_that_changes_is_of_one_moment() {
    let site = Site::new();
    let store = site.open();
    let mut jobs = Vec::new();
    for _ in 0..20 {
        jobs.push(site.run_job(&store, LARGE).await);
    }
    let mut removed = 0;
    for round in 0..3 {
        let copy = format!("copy-{round}");
        let (removed_before, jobs_before) = (removed, jobs.len());
        let args = ["backup", &copy];
        let mut backup = std::pin::pin!(site.store(&args));
        let mut changes = 0_u32;
        let backed_up = loop {
            // One change at a time, and between them a look at whether the backup is done.
            let change = async {
                jobs.push(site.run_job(&store, if changes.is_multiple_of(2) { LARGE } else { SMALL }).await);
                store.remove(jobs[removed]).await.unwrap();
                removed += 1;
                store.vacuum().await.unwrap();
                changes += 1;
            };
            let (backed_up, ()) = tokio::join!(poll_once(&mut backup), change);
            if let Some(backed_up) = backed_up {
                break backed_up;
            }
        };
        backed_up.assert_exit_code(0);

        let data = format!("restored-{round}");
        site.store_at(&data, &["restore", &copy]).await.assert_exit_code(0);
        let restored = site.open_at(&data);
        let page = restored.query(JobFilter::default(), None, 10_000).await.unwrap();
        let mut found: Vec<_> = page.jobs.iter().map(|job| job.job.id).collect();
        found.reverse();
        let first = jobs.iter().position(|job| *job == found[0]).unwrap();
        assert!((removed_before..=removed).contains(&first), "{removed_before} {first} {removed}");
        let last = first + found.len();
        assert_eq!(found, jobs[first..last]);
        assert!((jobs_before..=jobs.len()).contains(&last), "{jobs_before} {last} {}", jobs.len());
        // A job is submitted before the next one is removed, so that the ends belong together.
        let submitted = last - 20;
        assert!(submitted == first || submitted == first + 1, "{submitted} were submitted, and {first} removed");
        for job in &found[..found.len() - 1] {
            let size = output_of(&restored, *job).await.len();
            assert!(size == LARGE || size == SMALL, "{size}");
        }
    }
}

/// Returns the result of `future` if it is ready.
async fn poll_once<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    futures_util::FutureExt::now_or_never(future)
}
