//! Random operations, compared with a model that is simple enough to be obviously right.

use std::collections::BTreeMap;

use capstan_core::outcome::{CancelledBy, Outcome};
use capstan_engine::job::JobId;
use capstan_engine::job_store::{AttemptError, ChangeError, Lease, State, Then};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::work::{LONG, Work};

const FAILED: Outcome = Outcome::Exited { code: 1 };

/// What the model knows of a job.
#[derive(Clone, Debug)]
struct Expected {
    state: State,
    attempt: u32,
    lost: u32,
    /// The second from which on a retry is due.
    due: u64,
    is_cancelled: bool,
    ends: Vec<Outcome>,
}

#[derive(Debug, Default)]
struct Model {
    jobs: BTreeMap<String, (JobId, Expected)>,
    leases: Vec<(Lease, u64)>,
    second: u64,
}

impl Model {
    fn get(&mut self, job: JobId) -> &mut Expected {
        &mut self.jobs.get_mut(&job.to_string()).expect("the model knows the job").1
    }

    /// Whether the attempt runs.
    fn runs(&mut self, lease: Lease) -> bool {
        let expected = self.get(lease.job);
        expected.state == State::Running && expected.attempt == lease.attempt
    }

    fn lose(&mut self, lease: Lease) {
        let second = self.second;
        let expected = self.get(lease.job);
        expected.lost += 1;
        match expected.is_cancelled {
            true => {
                expected.ends.push(Outcome::Cancelled { by: CancelledBy::Client });
                expected.state = State::Done;
            }
            false => {
                expected.ends.push(Outcome::Lost);
                let allowed = expected.lost <= 3;
                expected.state = if allowed { State::Retrying } else { State::Dead };
                expected.due = second + (1 << (expected.lost.min(4) - 1));
            }
        }
    }
}

pub(crate) async fn random_operations_agree_with_a_simple_model(work: &Work<'_>) {
    for seed in 0..3 {
        let mut random = StdRng::seed_from_u64(seed);
        let mut model = Model::default();
        for step in 0..300 {
            operate(work, &mut model, &mut random).await;
            if step % 20 == 0 {
                compare(work, &mut model).await;
            }
        }
        compare(work, &mut model).await;
        for (id, expected) in model.jobs.values() {
            if !expected.state.has_ended() && expected.state != State::Running {
                work.store.cancel(work.now(), *id, CancelledBy::Client).await.unwrap();
            }
        }
        for (lease, _) in std::mem::take(&mut model.leases) {
            let _ = work.store.finish(work.now(), work.finish(lease, Outcome::SUCCESS, Then::Done)).await;
        }
    }
}

async fn operate(work: &Work<'_>, model: &mut Model, random: &mut StdRng) {
    match random.random_range(0..10) {
        0..=2 => {
            let handler = ["a", "b", "c"][random.random_range(0..3)];
            let priority = random.random_range(-1..=1);
            let key = (random.random_range(0..2) == 0).then(|| format!("key{}", random.random_range(0..3)));
            let id = work
                .submit_with(handler, |job| {
                    job.priority = priority;
                    job.concurrency_key = key;
                })
                .await;
            let (ends, state) = (Vec::new(), State::Queued);
            let expected = Expected { state, attempt: 0, lost: 0, due: 0, is_cancelled: false, ends };
            model.jobs.insert(id.to_string(), (id, expected));
        }
        3..=4 => {
            let limit = random.random_range(1..4);
            let second = model.second;
            for (_, expected) in model.jobs.values_mut() {
                if expected.state == State::Retrying && expected.due <= second {
                    expected.state = State::Queued;
                }
            }
            let queued = model.jobs.values().filter(|(_, expected)| expected.state == State::Queued).count();
            let claimed = work.claim(limit).await;
            assert_eq!(claimed.len(), limit.min(queued));
            for claimed in claimed {
                let expected = model.get(claimed.lease.job);
                assert_eq!(expected.state, State::Queued);
                expected.state = State::Running;
                expected.attempt += 1;
                assert_eq!(claimed.lease.attempt, expected.attempt);
                model.leases.push((claimed.lease, second + LONG.as_secs()));
            }
        }
        5..=6 if !model.leases.is_empty() => {
            let (lease, _) = model.leases[random.random_range(0..model.leases.len())];
            let runs = model.runs(lease);
            let then = [Then::Done, Then::Dead, Then::Retry(work.now().wall)][random.random_range(0..3)];
            let result = work.store.finish(work.now(), work.finish(lease, FAILED, then)).await;
            if !runs {
                assert_eq!(result, Err(AttemptError::Stale { job: lease.job, attempt: lease.attempt }));
                return;
            }
            let second = model.second;
            let expected = model.get(lease.job);
            expected.ends.push(FAILED);
            expected.due = second;
            expected.state = match then {
                Then::Done => State::Done,
                Then::Dead => State::Dead,
                Then::Retry(_) if expected.is_cancelled => State::Done,
                Then::Retry(_) => State::Retrying,
            };
            assert_eq!(result, Ok(expected.state));
        }
        7 => {
            let jump = if random.random_range(0..4) == 0 { LONG.as_secs() } else { random.random_range(1..10) };
            work.pass(jump);
            model.second += jump;
            let lost = work.store.expire(work.now()).await.unwrap();
            let second = model.second;
            let expected: Vec<_> = model.leases.clone().into_iter().filter(|(_, until)| *until <= second).collect();
            let expected: Vec<_> = expected.into_iter().filter(|(lease, _)| model.runs(*lease)).collect();
            assert_eq!(lost.len(), expected.len());
            for (lease, _) in expected {
                assert!(lost.contains(&lease));
                model.lose(lease);
            }
        }
        8 if !model.jobs.is_empty() => {
            let ids: Vec<_> = model.jobs.values().map(|(id, _)| *id).collect();
            let id = ids[random.random_range(0..ids.len())];
            let result = work.store.cancel(work.now(), id, CancelledBy::Client).await;
            let expected = model.get(id);
            match expected.state {
                State::Done | State::Dead => assert_eq!(result, Err(ChangeError::Ended(id))),
                State::Running => expected.is_cancelled = true,
                _ => expected.state = State::Done,
            }
        }
        9 if !model.jobs.is_empty() => {
            let ids: Vec<_> = model.jobs.values().map(|(id, _)| *id).collect();
            let id = ids[random.random_range(0..ids.len())];
            let result = work.store.requeue(work.now(), id, None).await;
            let expected = model.get(id);
            assert_eq!(result.is_ok(), expected.state.has_ended());
            if result.is_ok() {
                (expected.state, expected.lost, expected.is_cancelled) = (State::Queued, 0, false);
            }
        }
        _ => {}
    }
}

async fn compare(work: &Work<'_>, model: &mut Model) {
    for (id, expected) in model.jobs.values() {
        let details = work.store.job(*id).await.unwrap().expect("a job of the model exists");
        assert_eq!((details.job.state, details.job.attempt), (expected.state, expected.attempt), "{expected:?}");
        let ends: Vec<_> = details.attempts.iter().filter_map(|attempt| attempt.end.clone()).collect();
        let outcomes: Vec<_> = ends.into_iter().map(|end| end.outcome).collect();
        assert_eq!(outcomes, expected.ends);
    }
}
