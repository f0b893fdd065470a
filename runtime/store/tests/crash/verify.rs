//! [`verify`]: compares a store with what was acknowledged.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use cap_std::fs::Dir;
use capstan_core::outcome::Outcome;
use capstan_engine::handler::HandlerName;
use capstan_engine::job_store::{
    JobDetails, JobFilter, JobIds, JobStore, Lease, NewJob, Now, OutputPiece, State, SubmitKey,
};
use capstan_store::jobs::{SqliteJobStore, SqliteOptions, check};

use crate::acknowledged::Acknowledged;
use crate::output_pattern;

/// Opens the store below `data` as the next process would, and checks that it has all that was acknowledged.
pub(crate) fn verify(data: &Path, acknowledged: &mut Acknowledged) -> Result<(), String> {
    let data = Dir::open_ambient_dir(data, cap_std::ambient_authority()).unwrap();
    let opened = SqliteJobStore::open(&data, SqliteOptions::default(), Now::read());
    let (store, report) = opened.map_err(|error| format!("the store does not open: {error}"))?;
    if !report.short_segments.is_empty() {
        return Err(format!("segments are too short: {:?}", report.short_segments));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let result = runtime.block_on(verify_store(&store, acknowledged));
    drop(store);
    result?;
    let problems = check(&data).map_err(|error| format!("the check fails: {error}"))?.problems;
    if problems.is_empty() { Ok(()) } else { Err(format!("{problems:?}")) }
}

async fn verify_store(store: &dyn JobStore, acknowledged: &mut Acknowledged) -> Result<(), String> {
    let mut all = BTreeMap::new();
    let mut cursor = None;
    loop {
        let page = store.query(JobFilter::default(), cursor, 500).await.map_err(|error| error.to_string())?;
        all.extend(page.jobs.into_iter().map(|details| (details.job.id.to_string(), details)));
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    verify_jobs(store, acknowledged, &all).await?;
    verify_attempts(store, acknowledged, &all).await?;
    verify_outcomes_are_final(acknowledged, &all)?;
    verify_firings(acknowledged, &all)
}

/// Every acknowledged job is there, and its key returns it.
async fn verify_jobs(
    store: &dyn JobStore,
    acknowledged: &Acknowledged,
    all: &BTreeMap<String, JobDetails>,
) -> Result<(), String> {
    let now = Now::read();
    for (id, key) in &acknowledged.keys {
        let details = all.get(id).ok_or_else(|| format!("job {id} is lost"))?;
        if details.job.key.as_ref() != Some(key) {
            return Err(format!("job {id} has the key {:?} instead of {key}", details.job.key));
        }
        let expires = now.after(Duration::from_secs(60)).wall;
        let submit_key = Some(SubmitKey { text: key.clone(), digest: [7; 32], expires });
        let again = NewJob {
            key: submit_key,
            ..NewJob::new(JobIds::default().create(now.wall), HandlerName::new("a").unwrap())
        };
        let submitted = store.submit(now, vec![again]).await.unwrap().remove(0).unwrap();
        if submitted.job.to_string() != *id {
            return Err(format!("the key {key} of job {id} returns job {}", submitted.job));
        }
    }
    Ok(())
}

/// Every acknowledged attempt is there with its output and its outcome.
async fn verify_attempts(
    store: &dyn JobStore,
    acknowledged: &Acknowledged,
    all: &BTreeMap<String, JobDetails>,
) -> Result<(), String> {
    for ((id, number), expected) in &acknowledged.attempts {
        let details = all.get(id).ok_or_else(|| format!("job {id} is lost"))?;
        let attempt = details.attempts.iter().find(|attempt| attempt.number == *number);
        let attempt = attempt.ok_or_else(|| format!("attempt {number} of job {id} is lost"))?;
        let end = attempt.end.as_ref().ok_or_else(|| format!("attempt {number} of job {id} still runs"))?;
        if let Some((code, _)) = &expected.end
            && end.outcome != (Outcome::Exited { code: *code })
        {
            return Err(format!("attempt {number} of job {id} has the outcome {} instead of {code}", end.outcome));
        }
        if attempt.output < expected.output || (expected.end.is_some() && attempt.output != expected.output) {
            let found = attempt.output;
            return Err(format!("attempt {number} of job {id} has {found} bytes of output, not {}", expected.output));
        }
        let lease = Lease { job: details.job.id, attempt: *number };
        verify_output(store, lease, attempt.output).await?;
    }
    Ok(())
}

async fn verify_output(store: &dyn JobStore, lease: Lease, length: u64) -> Result<(), String> {
    let page = store.read_output(lease, 0, u64::MAX).await.map_err(|error| error.to_string())?.unwrap();
    let mut position = 0;
    for piece in page.pieces {
        let OutputPiece::Chunk(chunk) = piece else {
            return Err(format!("output of {lease:?} is missing at byte {position}: {piece:?}"));
        };
        if chunk.bytes != output_pattern::bytes(lease, position, chunk.bytes.len()) {
            return Err(format!("output of {lease:?} is wrong after byte {position}"));
        }
        position += chunk.bytes.len() as u64;
    }
    if position == length { Ok(()) } else { Err(format!("output of {lease:?} ends at byte {position}, not {length}")) }
}

/// A job that was acknowledged as ended stays so, and no recorded outcome ever changes.
fn verify_outcomes_are_final(
    acknowledged: &mut Acknowledged,
    all: &BTreeMap<String, JobDetails>,
) -> Result<(), String> {
    for ((id, number), attempt) in &acknowledged.attempts {
        let Some((_, state)) = attempt.end.as_ref().filter(|(_, state)| state != State::Retrying.token()) else {
            continue;
        };
        let job = &all[id].job;
        if job.state.token() != state || job.attempt != *number {
            return Err(format!("job {id} ended as {state} and is {:?} now", job.state));
        }
    }
    for (id, details) in all {
        for attempt in &details.attempts {
            let Some(end) = &attempt.end else { continue };
            let recorded = format!("{end:?}");
            let known = acknowledged.recorded.insert((id.clone(), attempt.number), recorded.clone());
            if let Some(known) = known.filter(|known| *known != recorded) {
                return Err(format!("attempt {} of job {id} was {known} and is {recorded}", attempt.number));
            }
        }
    }
    Ok(())
}

/// Every firing has its job, and each time has one: firings that were not acknowledged may be there too.
fn verify_firings(acknowledged: &Acknowledged, all: &BTreeMap<String, JobDetails>) -> Result<(), String> {
    let lost = acknowledged.firings.values().find(|job| !all.contains_key(*job));
    lost.map_or(Ok(()), |job| Err(format!("job {job} of the schedule is lost")))
}
