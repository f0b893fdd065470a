//! [`MemoryTables`]: the tables of the store in memory.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;

use bytes::Bytes;
use capstan_core::outcome::Outcome;
use capstan_core::usage::UsageReport;
use jiff::Timestamp;

use super::super::claim::Lease;
use super::super::error::JobStoreError;
use super::super::query::{JobDetails, JobFilter, JobPage, QueueStatus};
use super::super::record::{AttemptRecord, End, JobRecord, Plan, State, SubmitKey};
use super::super::schedule::ScheduleRecord;
use super::super::tables::Tables;
use super::attempt_output::AttemptOutput;
use crate::handler::HandlerName;
use crate::job::JobId;

type Result<T> = std::result::Result<T, JobStoreError>;

/// The place of a queued job: its handler, the negated priority, its concurrency key, and its number.
type Place = (String, i64, String, u64);

/// The tables of a store in memory. Their operations do not fail.
#[derive(Debug, Default)]
pub(super) struct MemoryTables {
    pub(super) jobs: BTreeMap<JobId, Entry>,
    pub(super) schedules: BTreeMap<String, ScheduleRecord>,
    queued: BTreeMap<Place, JobId>,
    due: BTreeSet<(Timestamp, JobId)>,
    keys: HashMap<String, (JobId, SubmitKey)>,
    dependants: HashMap<JobId, Vec<JobId>>,
    paused: BTreeSet<String>,
    number: u64,
}

/// A job with what belongs to it.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) job: JobRecord,
    pub(super) attempts: Vec<AttemptRecord>,
    pub(super) output: Vec<AttemptOutput>,
    stdin: Bytes,
    number: u64,
    met: Vec<Option<bool>>,
}

impl MemoryTables {
    pub(super) fn details(&self, id: JobId) -> Option<JobDetails> {
        let entry = self.jobs.get(&id)?;
        Some(JobDetails { job: entry.job.clone(), attempts: entry.attempts.clone() })
    }

    pub(super) fn find_by_prefix(&self, prefix: &str) -> Vec<JobId> {
        let ids = self.jobs.values().map(|entry| entry.job.id);
        ids.filter(|id| id.to_hex().starts_with(prefix.as_bytes())).take(2).collect()
    }

    pub(super) fn query(&self, filter: &JobFilter, before: Option<JobId>, limit: usize) -> JobPage {
        let upper = before.map_or(Bound::Unbounded, Bound::Excluded);
        let entries = self.jobs.range((Bound::Unbounded, upper)).rev();
        let mut matching = entries.map(|(id, entry)| (*id, &entry.job)).filter(|(_, job)| filter.matches(job));
        let ids: Vec<_> = matching.by_ref().take(limit).map(|(id, _)| id).collect();
        let next = matching.next().and(ids.last().copied());
        JobPage { jobs: ids.into_iter().filter_map(|id| self.details(id)).collect(), next }
    }

    pub(super) fn set_paused(&mut self, handler: &str, is_paused: bool) {
        if is_paused {
            self.paused.insert(handler.to_owned());
        } else {
            self.paused.remove(handler);
        }
    }

    pub(super) fn queues(&self) -> Vec<QueueStatus> {
        let mut queues = BTreeMap::new();
        for name in &self.paused {
            let Ok(handler) = HandlerName::new(name) else { continue };
            queues.insert(name.clone(), QueueStatus::empty(handler, true));
        }
        for job in self.jobs.values().map(|entry| &entry.job).filter(|job| !job.state.has_ended()) {
            let status = queues
                .entry(job.handler.as_str().to_owned())
                .or_insert_with(|| QueueStatus::empty(job.handler.clone(), false));
            status.count(job.state, 1);
            if job.state == State::Queued {
                status.oldest = Some(status.oldest.map_or(job.submitted, |oldest| oldest.min(job.submitted)));
            }
        }
        queues.into_values().collect()
    }

    pub(super) fn next_due(&self) -> Option<Timestamp> {
        let deadlines = self.jobs.values().filter(|entry| entry.job.waits_for_first_run());
        let deadline = deadlines.filter_map(|entry| entry.job.start_deadline).min();
        self.due.first().map(|(time, _)| *time).into_iter().chain(deadline).min()
    }

    fn index(&mut self, job: &JobRecord, number: u64) {
        match (job.state, job.due) {
            (State::Queued, _) => {
                let place = (job.handler.as_str().to_owned(), -i64::from(job.priority), job.lane().to_owned(), number);
                self.queued.insert(place, job.id);
            }
            (State::Scheduled | State::Retrying, Some(due)) => {
                self.due.insert((due, job.id));
            }
            _ => {}
        }
    }

    fn remove_from_index(&mut self, id: JobId) {
        let Some(Entry { job, number, .. }) = self.jobs.get(&id) else { return };
        let place = (job.handler.as_str().to_owned(), -i64::from(job.priority), job.lane().to_owned(), *number);
        self.queued.remove(&place);
        if let Some(due) = job.due {
            self.due.remove(&(due, id));
        }
    }

    fn ended_of(&self, handler: &str) -> impl Iterator<Item = (JobId, Timestamp)> {
        let jobs = self.jobs.values().map(|entry| &entry.job).filter(move |job| job.handler.as_str() == handler);
        jobs.filter_map(|job| job.end.as_ref().map(|end| (job.id, end.at)))
    }
}

impl Tables for MemoryTables {
    fn job(&mut self, id: JobId) -> Result<Option<JobRecord>> {
        Ok(self.jobs.get(&id).map(|entry| entry.job.clone()))
    }

    fn insert_job(&mut self, job: &JobRecord, stdin: &Bytes, key: Option<&SubmitKey>) -> Result<()> {
        self.number += 1;
        let (number, stdin) = (self.number, stdin.clone());
        self.index(job, number);
        let (attempts, output, met) = (Vec::new(), Vec::new(), Vec::new());
        self.jobs.insert(job.id, Entry { job: job.clone(), attempts, output, stdin, number, met });
        if let Some(key) = key {
            self.keys.insert(key.text.clone(), (job.id, key.clone()));
        }
        Ok(())
    }

    fn update_job(&mut self, job: &JobRecord, _: State) -> Result<()> {
        self.remove_from_index(job.id);
        let Some(entry) = self.jobs.get_mut(&job.id) else { return Ok(()) };
        let plan = std::mem::take(&mut entry.job.plan);
        entry.job = JobRecord { plan, ..job.clone() };
        let number = entry.number;
        self.index(job, number);
        Ok(())
    }

    fn quarantine(&mut self, _: JobId, _: &End) -> Result<()> {
        Ok(())
    }

    fn update_plan(&mut self, id: JobId, plan: &Plan) -> Result<()> {
        if let Some(entry) = self.jobs.get_mut(&id) {
            entry.job.plan = plan.clone();
        }
        Ok(())
    }

    fn remove_job(&mut self, job: &JobRecord) -> Result<()> {
        self.remove_from_index(job.id);
        self.jobs.remove(&job.id);
        self.dependants.remove(&job.id);
        Ok(())
    }

    fn stdin(&mut self, id: JobId) -> Result<Bytes> {
        Ok(self.jobs.get(&id).map(|entry| entry.stdin.clone()).unwrap_or_default())
    }

    fn next_handler(&mut self, after: Option<&str>) -> Result<Option<String>> {
        // The lowest place of a later handler: no handler name is followed by NUL.
        let lower =
            after.map_or(Bound::Unbounded, |after| Bound::Excluded((format!("{after}\0"), 0, String::new(), 0)));
        Ok(self.queued.range((lower, Bound::Unbounded)).next().map(|((handler, ..), _)| handler.clone()))
    }

    fn next_priority(&mut self, handler: &str, below: Option<i32>) -> Result<Option<i32>> {
        let rank = below.map_or(i64::MIN, |below| 1 - i64::from(below));
        let lower = Bound::Included((handler.to_owned(), rank, String::new(), 0));
        let first = self.queued.range((lower, Bound::Unbounded)).next();
        let found = first.filter(|((name, ..), _)| name == handler).map(|((_, rank, ..), _)| -rank);
        Ok(found.map(|priority| i32::try_from(priority).expect("it was an i32 before it was negated")))
    }

    fn next_lane(&mut self, handler: &str, priority: i32, after: Option<&str>) -> Result<Option<(String, JobId)>> {
        let rank = -i64::from(priority);
        let place = |key: &str, number| (handler.to_owned(), rank, key.to_owned(), number);
        let lower = after.map_or(Bound::Included(place("", 0)), |after| Bound::Excluded(place(after, u64::MAX)));
        let first = self.queued.range((lower, Bound::Unbounded)).next();
        let found = first.filter(|((name, of, ..), _)| name == handler && *of == rank);
        Ok(found.map(|((_, _, key, _), id)| (key.clone(), *id)))
    }

    fn due(&mut self, now: Timestamp, limit: usize) -> Result<Vec<JobId>> {
        let due = self.due.iter().take_while(|(time, _)| *time <= now).take(limit);
        Ok(due.map(|(_, id)| *id).collect())
    }

    fn overdue(&mut self, now: Timestamp, limit: usize) -> Result<Vec<JobId>> {
        let jobs = self.jobs.values().map(|entry| &entry.job);
        Ok(jobs.filter(|job| job.missed_start_deadline(now)).map(|job| job.id).take(limit).collect())
    }

    fn running(&mut self, limit: usize) -> Result<Vec<JobId>> {
        let jobs = self.jobs.values().map(|entry| &entry.job);
        Ok(jobs.filter(|job| job.state == State::Running).map(|job| job.id).take(limit).collect())
    }

    fn depth(&mut self, handler: &str) -> Result<u64> {
        let jobs = self.jobs.values().map(|entry| &entry.job);
        Ok(jobs.filter(|job| job.handler.as_str() == handler && !job.state.has_ended()).count() as u64)
    }

    fn is_paused(&mut self, handler: &str) -> Result<bool> {
        Ok(self.paused.contains(handler))
    }

    fn insert_attempt(&mut self, job: JobId, attempt: &AttemptRecord) -> Result<()> {
        if let Some(entry) = self.jobs.get_mut(&job) {
            entry.attempts.push(attempt.clone());
            entry.output.push(AttemptOutput::default());
        }
        Ok(())
    }

    fn finish_attempt(&mut self, lease: Lease, end: &End, usage: &UsageReport) -> Result<()> {
        let entry = self.jobs.get_mut(&lease.job);
        let attempt = entry.and_then(|entry| entry.attempts.iter_mut().find(|attempt| attempt.number == lease.attempt));
        if let Some(attempt) = attempt {
            attempt.end = Some(end.clone());
            attempt.usage = usage.clone();
        }
        Ok(())
    }

    fn key(&mut self, text: &str) -> Result<Option<(JobId, SubmitKey)>> {
        Ok(self.keys.get(text).cloned())
    }

    fn remove_expired_keys(&mut self, now: Timestamp, _: usize) -> Result<()> {
        self.keys.retain(|_, (_, key)| key.expires > now);
        Ok(())
    }

    fn insert_edges(&mut self, dependant: &JobRecord, met: &[Option<bool>]) -> Result<()> {
        for dependency in &dependant.after.jobs {
            self.dependants.entry(dependency.job).or_default().push(dependant.id);
        }
        if let Some(entry) = self.jobs.get_mut(&dependant.id) {
            entry.met = met.to_vec();
        }
        Ok(())
    }

    fn resolve_edges(&mut self, dependency: JobId, outcome: &Outcome) -> Result<Vec<JobId>> {
        let mut dependants = self.dependants.remove(&dependency).unwrap_or_default();
        // A job may name another one twice.
        dependants.dedup();
        for id in &dependants {
            let Some(entry) = self.jobs.get_mut(id) else { continue };
            for (edge, met) in entry.job.after.jobs.iter().zip(&mut entry.met) {
                if edge.job == dependency {
                    *met = Some(edge.on.is_met_by(outcome));
                }
            }
        }
        Ok(dependants)
    }

    fn edges(&mut self, dependant: JobId) -> Result<Vec<Option<bool>>> {
        Ok(self.jobs.get(&dependant).map(|entry| entry.met.clone()).unwrap_or_default())
    }

    fn schedule(&mut self, name: &str) -> Result<Option<ScheduleRecord>> {
        Ok(self.schedules.get(name).cloned())
    }

    fn put_schedule(&mut self, schedule: &ScheduleRecord) -> Result<()> {
        self.schedules.insert(schedule.name.clone(), schedule.clone());
        Ok(())
    }

    fn ended_handlers(&mut self) -> Result<Vec<String>> {
        let ended = self.jobs.values().map(|entry| &entry.job).filter(|job| job.state.has_ended());
        Ok(ended.map(|job| job.handler.as_str().to_owned()).collect::<BTreeSet<_>>().into_iter().collect())
    }

    fn first_ended(&mut self, handler: &str, limit: usize) -> Result<Vec<(JobId, Timestamp)>> {
        let mut ended: Vec<_> = self.ended_of(handler).collect();
        ended.sort_by_key(|(_, at)| *at);
        ended.truncate(limit);
        Ok(ended)
    }

    fn count_ended(&mut self, handler: &str) -> Result<u64> {
        Ok(self.ended_of(handler).count() as u64)
    }

    fn output_bytes(&mut self, handler: &str) -> Result<u64> {
        Ok(self.bytes_of(|job| job.handler.as_str() == handler))
    }
}
