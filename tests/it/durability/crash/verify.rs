//! [`verify`]: compares a daemon that was started again with what was acknowledged.

use std::collections::BTreeMap;

use capstan_tests::{Client, eventually};
use serde_json::{Value, json};

use super::acknowledged::{Shared, Submission};
use super::workload::{ARRAY, Kind, PUSHED, SCHEDULE};

type Jobs = BTreeMap<String, Value>;

/// Checks that the daemon has all that was acknowledged, runs what has not run, and checks how all jobs have ended.
pub(super) async fn verify(client: &Client, acknowledged: &Shared) -> Result<(), String> {
    verify_present(acknowledged, &list(client).await)?;
    verify_program(client, acknowledged).await?;
    submit_again(client, acknowledged).await?;
    run_all(client).await;
    let all = list(client).await;
    verify_ends_are_final(acknowledged, &all)?;
    verify_submissions(client, acknowledged, &all).await?;
    verify_firings(acknowledged, &all)?;
    let ended = all.into_iter().filter(|(_, job)| has_ended(job));
    let mut acknowledged = acknowledged.lock();
    acknowledged.ended.extend(ended);
    acknowledged.verified = acknowledged.sent.keys().cloned().collect();
    Ok(())
}

async fn list(client: &Client) -> Jobs {
    let mut all = Jobs::new();
    let mut cursor = String::new();
    loop {
        let page = client.get(&format!("/v1/jobs?limit=1000{cursor}")).send().await.json();
        for job in page["jobs"].as_array().expect("a page has jobs") {
            all.insert(job["id"].as_str().expect("a job has an id").to_owned(), job.clone());
        }
        match page["cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return all,
        }
    }
}

fn has_ended(job: &Value) -> bool {
    job["state"] == "done" || job["state"] == "dead"
}

/// Before anything is repaired or sent again: no acknowledged job is lost, and what had ended has.
fn verify_present(acknowledged: &Shared, all: &Jobs) -> Result<(), String> {
    let acknowledged = acknowledged.lock();
    for (id, key) in &acknowledged.jobs {
        let job = all.get(id).ok_or_else(|| format!("job {id} is lost"))?;
        if job["key"] != key.as_str() {
            return Err(format!("job {id} has another key than {key}: {job}"));
        }
    }
    for id in &acknowledged.cancelled {
        if all[id]["outcome"] != json!({"kind": "cancelled", "by": "client"}) {
            return Err(format!("job {id} was cancelled: {}", all[id]));
        }
    }
    for id in acknowledged.ended.keys() {
        let job = all.get(id).ok_or_else(|| format!("job {id} had ended and is lost"))?;
        if !has_ended(job) {
            return Err(format!("job {id} had ended, and has not: {job}"));
        }
    }
    Ok(())
}

/// The handler has the program that was acknowledged last, or one that was sent after it.
async fn verify_program(client: &Client, acknowledged: &Shared) -> Result<(), String> {
    let reply = client.get(&format!("/v1/handlers/{PUSHED}")).send().await;
    let (expected, sent) = {
        let mut acknowledged = acknowledged.lock();
        (acknowledged.program.clone(), std::mem::take(&mut acknowledged.programs_sent))
    };
    if reply.status == 404 && expected.is_none() {
        return Ok(());
    }
    let found = reply.json()["digest"].as_str().map(str::to_owned);
    if found == expected {
        return Ok(());
    }
    // A program has the same digest wherever it is pushed.
    for program in sent {
        client.push("probed", program).await;
        let digest = client.get("/v1/handlers/probed").send().await.json()["digest"].as_str().map(str::to_owned);
        if digest == found {
            acknowledged.lock().program = found;
            return Ok(());
        }
    }
    Err(format!("the program {expected:?} was acknowledged, and {found:?} is there"))
}

/// Sends everything of this cycle again, as a client does that does not know what was accepted.
async fn submit_again(client: &Client, acknowledged: &Shared) -> Result<(), String> {
    let known: BTreeMap<_, _> = acknowledged.lock().jobs.iter().map(|(id, key)| (key.clone(), id.clone())).collect();
    let (sent, verified) = {
        let acknowledged = acknowledged.lock();
        (acknowledged.sent.clone(), acknowledged.verified.clone())
    };
    for (key, submission) in sent.into_iter().filter(|(key, _)| !verified.contains(key)) {
        let reply = client.post("/v1/jobs").body(submission.body.to_string()).send().await;
        let id = reply.json()["id"].as_str().map(str::to_owned).ok_or_else(|| format!("key {key}: {reply:?}"))?;
        match known.get(&key) {
            Some(known) if (reply.status, known) != (200, &id) => {
                return Err(format!("key {key} of job {known} returns: {reply:?}"));
            }
            Some(_) => {}
            None => drop(acknowledged.lock().jobs.insert(id, key)),
        }
    }
    Ok(())
}

/// Waits until all jobs have ended. Those that wait for their time are cancelled.
async fn run_all(client: &Client) {
    // It may not be there yet.
    client.post(&format!("/v1/schedules/{SCHEDULE}/pause")).send().await;
    assert_eq!(client.post("/v1/jobs/cancel?state=scheduled").send().await.status, 202);
    eventually("all jobs to end", async || {
        let queues = client.get("/v1/queues").send().await.json();
        (queues == json!({"queues": []})).then_some(())
    })
    .await;
}

/// Nothing that was shown as ended changes.
fn verify_ends_are_final(acknowledged: &Shared, all: &Jobs) -> Result<(), String> {
    for (id, ended) in &acknowledged.lock().ended {
        if all.get(id) != Some(ended) {
            return Err(format!("job {id} was {ended} and is {:?}", all.get(id)));
        }
    }
    Ok(())
}

/// Each key has one job, or one array, that has ended as it must.
async fn verify_submissions(client: &Client, acknowledged: &Shared, all: &Jobs) -> Result<(), String> {
    let mut of_keys: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
    for job in all.values() {
        of_keys.entry(job["key"].as_str().unwrap_or_default()).or_default().push(job);
    }
    let (jobs, sent, verified) = {
        let acknowledged = acknowledged.lock();
        (acknowledged.jobs.clone(), acknowledged.sent.clone(), acknowledged.verified.clone())
    };
    for (id, key) in &jobs {
        if of_keys[key.as_str()].len() != 1 {
            return Err(format!("key {key} has more than one job: {:?}", of_keys[key.as_str()]));
        }
        let Submission { kind, .. } = &sent[key];
        if *kind == Kind::Array {
            verify_array(id, all)?;
        }
        // The output of earlier cycles was compared then, and its size is a part of the job.
        if !verified.contains(key) {
            verify_job(client, kind, &all[id]).await.map_err(|error| format!("{error}: {}", all[id]))?;
        }
    }
    Ok(())
}

fn verify_array(id: &str, all: &Jobs) -> Result<(), String> {
    let members = all.values().filter(|job| job["array"]["array"] == id || job["array"]["id"] == id);
    let mut indices: Vec<_> = members.map(|job| (job["array"]["index"].as_u64(), job["exit_code"].as_u64())).collect();
    indices.sort();
    let expected: Vec<_> = (0..ARRAY).map(|index| (Some(index), Some(0))).collect();
    if indices == expected { Ok(()) } else { Err(format!("the array {id} has the jobs {indices:?}")) }
}

/// A job has the attempts, the outcome and the output that its kind says.
async fn verify_job(client: &Client, kind: &Kind, job: &Value) -> Result<(), String> {
    let attempts = job["attempts"].as_array().ok_or("it has no attempts")?;
    let numbers: Vec<_> = attempts.iter().map(|attempt| attempt["number"].as_u64().unwrap_or(0)).collect();
    if numbers != (1..=attempts.len() as u64).collect::<Vec<_>>() {
        return Err(format!("it has the attempts {numbers:?}"));
    }
    let codes = attempts.iter().filter(|attempt| attempt["outcome"]["kind"] != "lost");
    let codes: Vec<_> = codes.map(|attempt| (attempt["number"].as_u64(), attempt["exit_code"].as_u64())).collect();
    let (code, runs, output) = match kind {
        Kind::Waits => return if job["outcome"]["kind"] == "cancelled" { Ok(()) } else { Err("it ran".into()) },
        Kind::Succeeds => (0, 1, "started\nended\n".to_owned()),
        Kind::FailsThreeTimes => (7, 3, "started\nended\n".to_owned()),
        Kind::Prints(text) => (0, 1, text.clone()),
        Kind::PrintsMebibyte => (0, 1, "x".repeat(1 << 20)),
        Kind::Array => (0, 1, String::new()),
    };
    if codes.len() != runs || codes.iter().any(|(_, found)| *found != Some(code)) {
        return Err(format!("it has not {runs} runs that exited with {code}"));
    }
    for (number, _) in codes.into_iter().filter(|_| *kind != Kind::Array) {
        let attempt = number.expect("it was compared");
        let id = job["id"].as_str().expect("a job has an id");
        let reply = client.get(&format!("/v1/jobs/{id}/logs?attempt={attempt}")).send().await;
        if reply.text() != output {
            let found = reply.text().len();
            return Err(format!("attempt {attempt} has {found} bytes of output that are not the {}", output.len()));
        }
    }
    Ok(())
}

/// Each time of the schedule has one job, and no job of it is lost.
fn verify_firings(acknowledged: &Shared, all: &Jobs) -> Result<(), String> {
    let mut found = BTreeMap::new();
    for (id, job) in all.iter().filter(|(_, job)| job["labels"]["capstan.schedule"] == SCHEDULE) {
        let at = job["labels"]["capstan.scheduled_at"].as_str().ok_or("a firing has no time")?.to_owned();
        if let Some(other) = found.insert(at.clone(), id.clone()) {
            return Err(format!("the schedule has fired for {at} with the jobs {other} and {id}"));
        }
    }
    let mut acknowledged = acknowledged.lock();
    if let Some(lost) = acknowledged.firings.iter().find(|(at, id)| found.get(*at) != Some(*id)) {
        return Err(format!("the job of the schedule {lost:?} is lost"));
    }
    acknowledged.firings = found;
    Ok(())
}
