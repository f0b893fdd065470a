//! [`Workload`]: clients that submit jobs of all kinds at the same time, wait for them, cancel them and push a program.

use capstan_tests::{Call, Client, Reply, guests};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::acknowledged::{Shared, Submission};

pub(super) const HANDLERS: &[(&str, &[u8])] = &[
    ("print", guests::run::PRINT_THEN_EXIT),
    ("cat", guests::run::CAT),
    ("mebibyte", guests::run::PRINT_ONE_MEBIBYTE),
    ("show", guests::run::ARGS_AND_ENV),
];

/// The handler whose program is pushed again and again.
pub(super) const PUSHED: &str = "pushed";
/// The schedule, which fires every second.
pub(super) const SCHEDULE: &str = "often";
/// Clients at the same time.
const CLIENTS: u64 = 4;
/// Requests of a client.
const ROUNDS: u64 = 12;
/// Lines of a batch.
const LINES: u64 = 10;
/// Jobs of an array.
pub(super) const ARRAY: u64 = 4;

/// What a job does, and so how it must have ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Prints two lines and succeeds.
    Succeeds,
    /// Fails three times.
    FailsThreeTimes,
    /// Prints this text, from its own stdin or from the output of another job.
    Prints(String),
    /// Prints 1 MiB.
    PrintsMebibyte,
    /// The first job of an array whose jobs print their variables.
    Array,
    /// Is not due before it is cancelled.
    Waits,
}

pub(super) struct Workload {
    client: Client,
    acknowledged: Shared,
    cycle: u64,
}

/// The daemon is gone.
struct Gone;

impl Workload {
    pub(super) fn new(client: Client, acknowledged: Shared, cycle: u64) -> Self {
        Self { client, acknowledged, cycle }
    }

    /// Runs all clients until they are done, or the daemon is gone. Returns whether it is.
    pub(super) async fn run(self) -> bool {
        let mut tasks = JoinSet::new();
        for number in 0..CLIENTS {
            let (client, acknowledged) = (self.client.clone(), self.acknowledged.clone());
            let random = StdRng::seed_from_u64(self.cycle * CLIENTS + number);
            let user = User { client, acknowledged, name: format!("{}-{number}", self.cycle), random };
            tasks.spawn(user.work(number));
        }
        let is_gone = tasks.join_all().await.into_iter().any(|result| result.is_err());
        self.acknowledged.finish();
        is_gone
    }
}

/// One client.
struct User {
    client: Client,
    acknowledged: Shared,
    name: String,
    random: StdRng,
}

/// Returns a request with a key. Attempts that are lost are repeated soon.
fn job(key: &str, fields: Value) -> Value {
    let mut job = json!({"key": key, "retry": {"lost": 20, "base": "1ms", "jitter": 0, "backoff": "constant"}});
    let Value::Object(fields) = fields else { panic!("fields are an object: {fields}") };
    for (name, value) in fields {
        match name.as_str() {
            "attempts" => job["retry"]["attempts"] = value,
            name => job[name] = value,
        }
    }
    job
}

impl User {
    async fn work(mut self, number: u64) -> Result<(), Gone> {
        if number == 0 {
            self.prepare().await?;
        }
        for round in 0..ROUNDS {
            self.round(&format!("{}-{round}", self.name)).await?;
        }
        Ok(())
    }

    /// Makes the schedule, and pushes a program that differs from the ones before.
    async fn prepare(&mut self) -> Result<(), Gone> {
        let definition = json!({"every": "1s", "job": {"handler": "cat", "stdin": "tick"}});
        let put = self.client.put(&format!("/v1/schedules/{SCHEDULE}"), definition.to_string());
        answer(put, &[200, 201]).await?;
        answer(self.client.post(&format!("/v1/schedules/{SCHEDULE}/resume")), &[200]).await?;
        self.acknowledged.note(|_| ());
        let mut program = guests::run::HELLO.to_vec();
        let name = self.name.as_bytes();
        // A custom section, which does nothing.
        program.extend([0, u8::try_from(name.len() + 1).unwrap(), u8::try_from(name.len()).unwrap()]);
        program.extend(name);
        self.acknowledged.lock().programs_sent.push(program.clone());
        let pushed = answer(self.client.put(&format!("/v1/handlers/{PUSHED}"), program), &[200, 201]).await?;
        let digest = pushed.json()["digest"].as_str().expect("a handler has a digest").to_owned();
        self.acknowledged.note(|acknowledged| {
            acknowledged.program = Some(digest);
            acknowledged.programs_sent.clear();
        });
        Ok(())
    }

    async fn round(&mut self, key: &str) -> Result<(), Gone> {
        match self.random.random_range(0..10) {
            0 => self
                .submit(key, Kind::FailsThreeTimes, json!({"handler": "print", "args": ["7"], "attempts": 3}))
                .await
                .map(drop),
            1 => self.submit(key, Kind::PrintsMebibyte, json!({"handler": "mebibyte"})).await.map(drop),
            2 => self.submit(key, Kind::Array, json!({"handler": "show", "count": ARRAY})).await.map(drop),
            3 => self.graph(key).await,
            4 => self.cancel(key).await,
            5 | 6 => self.batch(key).await,
            _ => {
                let id = self.submit(key, Kind::Succeeds, json!({"handler": "print", "args": ["0"]})).await?;
                self.wait(&id).await
            }
        }
    }

    async fn submit(&self, key: &str, kind: Kind, fields: Value) -> Result<String, Gone> {
        let body = job(key, fields);
        let submission = Submission { kind, body: body.clone() };
        self.acknowledged.lock().sent.insert(key.to_owned(), submission);
        let reply = answer(self.client.post("/v1/jobs").body(body.to_string()), &[202]).await?;
        let id = reply.json()["id"].as_str().expect("a job has an id").to_owned();
        self.acknowledged.note(|acknowledged| drop(acknowledged.jobs.insert(id.clone(), key.to_owned())));
        Ok(id)
    }

    /// Waits for the end of a job.
    async fn wait(&self, id: &str) -> Result<(), Gone> {
        let reply = answer(self.client.post(&format!("/v1/jobs/{id}/wait")), &[200]).await?;
        let job = reply.json();
        if job["state"] == "done" {
            self.acknowledged.note(|acknowledged| {
                acknowledged.ended.insert(id.to_owned(), job);
                acknowledged.acknowledged_ends += 1;
            });
        }
        Ok(())
    }

    /// Submits a job with much stdin, and one that gets its output.
    async fn graph(&mut self, key: &str) -> Result<(), Gone> {
        let text = format!("{key} ").repeat(self.random.random_range(1..8000));
        let first = format!("{key}-first");
        let first = self.submit(&first, Kind::Prints(text.clone()), json!({"handler": "cat", "stdin": text})).await?;
        self.submit(key, Kind::Prints(text), json!({"handler": "cat", "stdin_from": first})).await.map(drop)
    }

    async fn cancel(&self, key: &str) -> Result<(), Gone> {
        let id = self.submit(key, Kind::Waits, json!({"handler": "cat", "not_before": "10h"})).await?;
        answer(self.client.post(&format!("/v1/jobs/{id}/cancel")), &[202]).await?;
        self.acknowledged.note(|acknowledged| _ = acknowledged.cancelled.insert(id));
        Ok(())
    }

    /// Submits a batch. The lines that are answered are acknowledged, also if the daemon is killed amid it.
    async fn batch(&self, key: &str) -> Result<(), Gone> {
        let mut lines = String::new();
        let keys: Vec<_> = (0..LINES).map(|line| format!("{key}-{line}")).collect();
        for key in &keys {
            let body = job(key, json!({"handler": "print", "args": ["0"]}));
            lines += &format!("{body}\n");
            self.acknowledged.lock().sent.insert(key.clone(), Submission { kind: Kind::Succeeds, body });
        }
        let call = self.client.post("/v1/jobs/batch").body(lines);
        let reply = call.try_open().await.map_err(|_| Gone)?.finish().await;
        let answered = reply.text().split_inclusive('\n').filter(|line| line.ends_with('\n'));
        for line in answered {
            let line: Value = serde_json::from_str(line).expect("a whole line is JSON");
            let index = usize::try_from(line["line"].as_u64().expect("a line has a number")).unwrap() - 1;
            let id = line["id"].as_str().unwrap_or_else(|| panic!("{line}")).to_owned();
            self.acknowledged.note(|acknowledged| drop(acknowledged.jobs.insert(id, keys[index].clone())));
        }
        if reply.cut { Err(Gone) } else { Ok(()) }
    }
}

/// Sends a request. An answer is complete, and has one of these statuses.
async fn answer(call: Call, statuses: &[u16]) -> Result<Reply, Gone> {
    let reply = call.try_open().await.map_err(|_| Gone)?.finish().await;
    if reply.cut {
        return Err(Gone);
    }
    assert!(statuses.contains(&reply.status), "{reply:?}");
    Ok(reply)
}
