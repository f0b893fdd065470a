//! Measures the store of durable jobs: how many submits it acknowledges per second, what a claim costs in a long queue, and how fast it opens.
//!
//! All figures of one run are from the same directory, so their ratios say something on a busy machine too. `smoke` runs a little of all.

#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "a benchmark makes folders and tasks of its own")]

use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cap_std::fs::Dir;
use capstan_core::env::Env;
use capstan_engine::handler::HandlerName;
use capstan_engine::job_store::{ClaimRequest, JobIds, JobStore as _, NewJob, Now};
use capstan_store::jobs::{SqliteJobStore, SqliteOptions, Synchronous};
use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};

const CLIENTS: usize = 64;

/// How much is measured.
struct Size {
    /// Submits of all clients together.
    submits: usize,
    short_queue: usize,
    long_queue: usize,
    rounds: usize,
}

fn main() {
    let is_smoke = std::env::args().any(|arg| arg == "smoke");
    let size = match is_smoke {
        true => Size { submits: 640, short_queue: 100, long_queue: 2000, rounds: 1 },
        false => Size { submits: 32_000, short_queue: 1000, long_queue: 1_000_000, rounds: 5 },
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    // With syncs, other users of the disk decide more than the programs do. Without, the programs themselves are compared.
    for synchronous in [Synchronous::Full, Synchronous::Off] {
        println!("submits of {CLIENTS} clients, synchronous = {synchronous:?}");
        let mut ratios: Vec<f64> =
            (0..size.rounds).map(|_| runtime.block_on(measure_submits(&size, synchronous))).collect();
        ratios.sort_by(f64::total_cmp);
        println!("  median ratio: {:.2}", ratios[ratios.len() / 2]);
    }
    println!("queue");
    runtime.block_on(measure_queue(&size));
}

fn temporary_dir() -> (tempfile::TempDir, Dir) {
    // Not in memory, as the usual place may be.
    let temp = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let dir = Dir::open_ambient_dir(temp.path(), cap_std::ambient_authority()).unwrap();
    (temp, dir)
}

fn open(dir: &Dir, synchronous: Synchronous) -> SqliteJobStore {
    SqliteJobStore::open(dir, SqliteOptions { synchronous, ..SqliteOptions::default() }, Now::read()).unwrap().0
}

fn syncs_per_second() -> f64 {
    let (temp, _) = temporary_dir();
    let file = std::fs::File::create(temp.path().join("file")).unwrap();
    let (begin, mut count) = (Instant::now(), 0_u32);
    while begin.elapsed() < Duration::from_secs(1) {
        file.write_all_at(&[7; 4096], u64::from(count) * 4096).unwrap();
        file.sync_data().unwrap();
        count += 1;
    }
    f64::from(count) / begin.elapsed().as_secs_f64()
}

fn new_job(ids: &JobIds) -> NewJob {
    let mut job = NewJob::new(ids.create(Now::read().wall), HandlerName::new("resize").unwrap());
    job.plan.args = vec!["--width".into(), "640".into(), "picture.png".into()];
    let mut env = Env::new();
    env.set("LANG", "C.UTF-8").unwrap();
    job.plan.env = env;
    job
}

/// Returns the rate of the store ÷ the rate of a bare program.
async fn measure_submits(size: &Size, synchronous: Synchronous) -> f64 {
    let syncs = syncs_per_second();
    let (temp, dir) = temporary_dir();
    let store = Arc::new(open(&dir, synchronous));
    let ids = Arc::new(JobIds::default());
    let (begin, cpu) = (Instant::now(), cpu_microseconds());
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..CLIENTS {
        let (store, ids, submits) = (store.clone(), ids.clone(), size.submits / CLIENTS);
        clients.spawn(async move {
            for _ in 0..submits {
                store.submit(Now::read(), vec![new_job(&ids)]).await.unwrap().remove(0).unwrap();
            }
        });
    }
    clients.join_all().await;
    let rate = per_second(size.submits, begin);
    let cpu = (cpu_microseconds() - cpu) / size.submits as u64;
    let group = size.submits.div_ceil(usize::try_from(store.commits()).unwrap());
    drop(store);
    let (bare, bare_cpu) = bare_inserts(temp.path(), size.submits, group, synchronous);
    let ratio = rate / bare;
    println!("  {syncs:.0} syncs of 4 KiB per second; {group} submits in a commit");
    println!("    store: {rate:.0} submits per second, {cpu} µs of CPU each, its clients included");
    println!("    bare program: {bare:.0} per second, {bare_cpu} µs of CPU each; ratio of the rates {ratio:.2}");
    ratio
}

/// Inserts the rows of the store again, into an empty table of a new database with the same schema.
fn bare_inserts(data: &Path, count: usize, group: usize, synchronous: Synchronous) -> (f64, u64) {
    let mut rows: Vec<Vec<Value>> = Vec::new();
    let source = Connection::open(data.join("jobs/jobs.db")).unwrap();
    let mut statement = source.prepare("SELECT * FROM jobs").unwrap();
    let columns = statement.column_count();
    let mut read = statement.query([]).unwrap();
    while let Some(row) = read.next().unwrap() {
        rows.push((0..columns).map(|column| row.get(column).unwrap()).collect());
    }
    assert_eq!(rows.len(), count);
    let (temp, dir) = temporary_dir();
    drop(open(&dir, Synchronous::Full));
    let db = Connection::open(temp.path().join("jobs/jobs.db")).unwrap();
    db.pragma_update(None, "synchronous", if synchronous == Synchronous::Full { "FULL" } else { "OFF" }).unwrap();
    db.pragma_update(None, "wal_autocheckpoint", 4096).unwrap();
    db.pragma_update(None, "cache_size", -32 << 10).unwrap();
    let sql = format!("INSERT INTO jobs VALUES ({})", vec!["?"; columns].join(", "));
    let (begin, cpu) = (Instant::now(), cpu_microseconds());
    for group in rows.chunks(group) {
        db.execute_batch("BEGIN IMMEDIATE").unwrap();
        for row in group {
            db.prepare_cached(&sql).unwrap().execute(params_from_iter(row)).unwrap();
        }
        db.execute_batch("COMMIT").unwrap();
    }
    (per_second(count, begin), (cpu_microseconds() - cpu) / count as u64)
}

/// Returns the CPU time of this process.
fn cpu_microseconds() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    // Ticks of 10 ms in user and in kernel mode.
    (fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()) * 10_000
}

fn per_second(count: usize, begin: Instant) -> f64 {
    f64::from(u32::try_from(count).unwrap()) / begin.elapsed().as_secs_f64()
}

/// Measures claims in a short and in a long queue, and the opening of the long one. Without syncs, so that the disk does not hide the cost.
async fn measure_queue(size: &Size) {
    let (temp, dir) = temporary_dir();
    let mut store = open(&dir, Synchronous::Off);
    let ids = JobIds::default();
    let mut costs = Vec::new();
    let mut queued = 0;
    for length in [size.short_queue, size.long_queue] {
        while queued < length {
            let count = (length - queued).min(1000);
            let jobs = (0..count).map(|_| new_job(&ids)).collect();
            assert!(store.submit(Now::read(), jobs).await.unwrap().iter().all(Result::is_ok));
            queued += count;
        }
        let (cost, claimed) = claim_cost(&store, size.short_queue / 2).await;
        println!("  a claim of one job, {length} queued: {:.1} µs", cost.as_secs_f64() * 1e6);
        queued -= claimed;
        costs.push(cost.as_secs_f64());
        drop(store);
        let begin = Instant::now();
        store = open(&dir, Synchronous::Off);
        println!("  opening a store with {queued} queued: {:.2} s", begin.elapsed().as_secs_f64());
        // What ran is lost by this and queued again later.
    }
    println!("  cost of a claim in the long queue ÷ in the short one: {:.2}", costs[1] / costs[0]);
    println!("  resident memory: {} MiB, database: {} MiB", resident_mebibytes(), mebibytes(temp.path()));
}

/// Returns the median time of a claim, and how many jobs were claimed.
async fn claim_cost(store: &SqliteJobStore, count: usize) -> (Duration, usize) {
    let mut times = Vec::new();
    for _ in 0..count {
        let request = ClaimRequest::new("bench", 1, Duration::from_secs(3600));
        let begin = Instant::now();
        assert_eq!(store.claim(Now::read(), request).await.unwrap().len(), 1);
        times.push(begin.elapsed());
    }
    times.sort();
    (times[times.len() / 2], count)
}

fn resident_mebibytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() >> 10
}

fn mebibytes(data: &Path) -> u64 {
    std::fs::metadata(data.join("jobs/jobs.db")).unwrap().len() >> 20
}
