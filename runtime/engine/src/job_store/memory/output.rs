//! The output of attempts in memory.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::super::claim::Lease;
use super::super::error::AttemptError;
use super::super::limits::StoreLimits;
use super::super::output::{OutputChunk, OutputPage};
use super::super::record::JobRecord;
use super::attempt_output::AttemptOutput;
use super::tables::{Entry, MemoryTables};
use crate::handler::HandlerName;

impl MemoryTables {
    /// Appends to the output of a running attempt, and drops what exceeds `limits`.
    pub(super) fn append_output(
        &mut self,
        limits: &StoreLimits,
        lease: Lease,
        chunks: Vec<OutputChunk>,
    ) -> Result<u64, AttemptError> {
        let stale = AttemptError::Stale { job: lease.job, attempt: lease.attempt };
        let entry = self.jobs.get_mut(&lease.job).filter(|entry| entry.job.runs_attempt(lease.attempt)).ok_or(stale)?;
        let (Some(output), Some(attempt)) = (entry.output.last_mut(), entry.attempts.last_mut()) else { return Ok(0) };
        chunks.into_iter().filter(|chunk| !chunk.bytes.is_empty()).for_each(|chunk| output.append(chunk));
        attempt.output = output.end;
        let end = output.end;
        entry.drop_oldest(entry.bytes().saturating_sub(limits.job_output));
        let handler = entry.job.handler.clone();
        self.shrink(limits.handler_output, &handler);
        self.shrink_total(limits.total_output);
        Ok(end)
    }

    /// Drops the oldest output of the handler that has most until there are at most `limit` bytes.
    fn shrink_total(&mut self, limit: u64) {
        let excess = self.bytes_of(|_| true).saturating_sub(limit);
        if excess == 0 {
            return;
        }
        let handlers: BTreeSet<_> = self.jobs.values().map(|entry| entry.job.handler.clone()).collect();
        let bytes = |handler: &HandlerName| self.bytes_of(|job| job.handler == *handler);
        if let Some((bytes, handler)) = handlers.into_iter().map(|handler| (bytes(&handler), handler)).max() {
            self.shrink(bytes.saturating_sub(excess), &handler);
        }
    }

    /// Drops the oldest output of `handler`, that of ended jobs first, until its jobs have at most `limit` bytes.
    fn shrink(&mut self, limit: u64, handler: &HandlerName) {
        let mut excess = self.bytes_of(|job| job.handler == *handler).saturating_sub(limit);
        if excess == 0 {
            return;
        }
        let mut jobs: Vec<_> = self.jobs.values_mut().filter(|entry| entry.job.handler == *handler).collect();
        jobs.sort_by_key(|entry| !entry.job.state.has_ended());
        for entry in jobs {
            excess = entry.drop_oldest(excess);
        }
    }

    pub(super) fn bytes_of(&self, matches: impl Fn(&JobRecord) -> bool) -> u64 {
        self.jobs.values().filter(|entry| matches(&entry.job)).map(Entry::bytes).sum()
    }

    pub(super) fn read_output(&self, lease: Lease, position: u64, limit: u64) -> Option<OutputPage> {
        Some(self.output(lease)?.read(position, limit))
    }

    pub(super) fn output_position(&self, lease: Lease, since: Timestamp) -> Option<u64> {
        let output = self.output(lease)?;
        Some(output.chunks.iter().find(|(_, chunk)| chunk.at >= since).map_or(output.end, |(position, _)| *position))
    }

    fn output(&self, lease: Lease) -> Option<&AttemptOutput> {
        let index = usize::try_from(lease.attempt).ok()?.checked_sub(1)?;
        self.jobs.get(&lease.job)?.output.get(index)
    }
}

impl Entry {
    fn bytes(&self) -> u64 {
        self.output.iter().map(|output| output.bytes).sum()
    }

    /// Drops at least `excess` bytes of the oldest output of the job, if it has so many. Returns by how much it has fewer.
    fn drop_oldest(&mut self, mut excess: u64) -> u64 {
        for output in &mut self.output {
            while excess > 0
                && let Some(length) = output.drop_first()
            {
                excess = excess.saturating_sub(length);
            }
        }
        excess
    }
}
