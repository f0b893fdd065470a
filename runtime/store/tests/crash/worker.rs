//! The work of the process: several tasks that submit, claim, print, finish and fire, and say what is done.

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cap_std::fs::Dir;
use capstan_core::outcome::{Outcome, OutputStream};
use capstan_core::usage::UsageReport;
use capstan_engine::handler::HandlerName;
use capstan_engine::job_store::{
    AttemptError, ClaimRequest, End, Finish, Firing, JobIds, JobStore, JobStoreError, Lease, NewJob, Now, OutputChunk,
    ScheduleRecord, SubmitKey, Then,
};
use capstan_store::jobs::{SqliteJobStore, SqliteOptions, Synchronous};
use jiff::Timestamp;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::output_pattern;

/// Tasks at the same time.
const TASKS: u64 = 4;
/// Rounds of a task.
const ROUNDS: u64 = 25;

struct Worker {
    store: SqliteJobStore,
    ids: JobIds,
    cycle: String,
}

/// Uses the store below `directory` until the work is done or the disk fails.
pub(crate) fn run(directory: &str) {
    let synchronous = match std::env::var("CRASH_SYNC").as_deref() {
        Ok("off") => Synchronous::Off,
        _ => Synchronous::Full,
    };
    let data = Dir::open_ambient_dir(Path::new(directory), cap_std::ambient_authority()).unwrap();
    let options = SqliteOptions { synchronous, ..SqliteOptions::default() };
    let Ok((store, _)) = SqliteJobStore::open(&data, options, Now::read()) else {
        return say("refused to open");
    };
    let cycle = std::env::var("CRASH_CYCLE").unwrap();
    let worker = Arc::new(Worker { store, ids: JobIds::default(), cycle });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut tasks = tokio::task::JoinSet::new();
        for task in 0..TASKS {
            tasks.spawn(worker.clone().work(task));
        }
        tasks.join_all().await;
    });
}

/// Says that something is done. A line is written at once and as a whole.
fn say(line: &str) {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{line}").and_then(|()| stdout.flush()).unwrap();
}

impl Worker {
    async fn work(self: Arc<Self>, task: u64) {
        let mut random = StdRng::seed_from_u64(self.cycle.parse::<u64>().unwrap() * TASKS + task);
        for round in 0..ROUNDS {
            match self.round(task, round, &mut random).await {
                Ok(()) => {}
                // There is space again later.
                Err(JobStoreError::Full) => say("refused full"),
                Err(error) => return say(&format!("refused {error}")),
            }
        }
    }

    async fn round(&self, task: u64, round: u64, random: &mut StdRng) -> Result<(), JobStoreError> {
        let key = format!("{}-{task}-{round}", self.cycle);
        self.submit(&key, random).await?;
        if task == 0 {
            self.fire(&key).await?;
        }
        let request = ClaimRequest::new(key, 2, Duration::from_secs(3600));
        for claimed in self.store.claim(Now::read(), request).await? {
            say(&format!("claimed {} {}", claimed.lease.job, claimed.lease.attempt));
            self.run(claimed.lease, random).await?;
        }
        Ok(())
    }

    async fn submit(&self, key: &str, random: &mut StdRng) -> Result<(), JobStoreError> {
        let now = Now::read();
        let expires = now.after(Duration::from_secs(24 * 3600)).wall;
        let jobs = (0..random.random_range(1..4)).map(|index| {
            let handler = HandlerName::new(["a", "b"][random.random_range(0..2)]).unwrap();
            let text = format!("{key}-{index}");
            let stdin = Bytes::from(vec![b'x'; random.random_range(0..5000)]);
            let key = Some(SubmitKey { text, digest: [7; 32], expires });
            NewJob { stdin, key, ..NewJob::new(self.ids.create(now.wall), handler) }
        });
        let jobs: Vec<_> = jobs.collect();
        let keys: Vec<_> = jobs.iter().map(|job| job.key.as_ref().unwrap().text.clone()).collect();
        for (submitted, key) in self.store.submit(now, jobs).await?.into_iter().zip(keys) {
            say(&format!("submitted {} {key}", submitted.unwrap().job));
        }
        Ok(())
    }

    /// Fires the schedule for its next time, twice.
    async fn fire(&self, key: &str) -> Result<(), JobStoreError> {
        let now = Now::read();
        let Some(schedule) = self.store.schedules().await?.pop() else {
            let (name, definition, next) = ("often".to_owned(), serde_json::Value::Null, Some(Timestamp::UNIX_EPOCH));
            let schedule = ScheduleRecord { name, definition, is_paused: false, next, last: None, owner: None };
            return self.store.put_schedule(schedule).await;
        };
        let due = schedule.next.unwrap();
        let next = due.checked_add(Duration::from_secs(60)).ok();
        for attempt in 0..2 {
            let handler = HandlerName::new("scheduled").unwrap();
            let text = format!("{key}-fired-{attempt}");
            let expires = now.after(Duration::from_secs(24 * 3600)).wall;
            let key = Some(SubmitKey { text: text.clone(), digest: [7; 32], expires });
            let job = NewJob { key, ..NewJob::new(self.ids.create(now.wall), handler) };
            if let Firing::Fired(jobs) = self.store.fire(now, "often", due, next, vec![job]).await? {
                say(&format!("submitted {} {text}", jobs[0]));
                say(&format!("fired {due} {}", jobs[0]));
            }
        }
        Ok(())
    }

    async fn run(&self, lease: Lease, random: &mut StdRng) -> Result<(), JobStoreError> {
        let mut position = 0;
        for _ in 0..random.random_range(0..3) {
            let length = if random.random_range(0..4) == 0 { 40_000 } else { random.random_range(1..2000) };
            let bytes = Bytes::from(output_pattern::bytes(lease, position, length));
            let chunk = OutputChunk { stream: OutputStream::Stdout, at: Now::read().wall, bytes };
            match self.store.append_output(lease, vec![chunk]).await {
                Ok(end) => position = end,
                Err(error) => return Err(store_error(error)),
            }
            say(&format!("printed {} {} {position}", lease.job, lease.attempt));
        }
        let now = Now::read();
        let code = random.random_range(0..3);
        let then = match code {
            0 => Then::Done,
            1 => Then::Dead,
            _ => Then::Retry(now.wall),
        };
        let end = End { outcome: Outcome::Exited { code }, error: None, at: now.wall };
        match self.store.finish(now, Finish { lease, end, usage: UsageReport::default(), then }).await {
            Ok(state) => say(&format!("finished {} {} {code} {}", lease.job, lease.attempt, state.token())),
            Err(error) => return Err(store_error(error)),
        }
        Ok(())
    }
}

/// Nobody else ends the attempts of this process, so they are never stale.
fn store_error(error: AttemptError) -> JobStoreError {
    match error {
        AttemptError::Store(error) => error,
        AttemptError::Stale { .. } => panic!("{error}"),
    }
}
