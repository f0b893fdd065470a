//! [`Limiter`]: limits the memories and tables of a run by their sum.
//!
//! wasmtime's own limits apply to each memory separately, so that a program with 64 memories gets 64 times its limit. What was granted
//! stays counted even if the host then fails to provide it: wasmtime also reports failures of requests that were never granted, and a
//! guest could lower its count with those.

use std::sync::Arc;

use capstan_core::usage::Usage;
use wasmtime::{ResourceLimiter, Result};

/// Memories of one run, as many as the pools of the default profile give a component.
pub(super) const MAX_MEMORIES_PER_RUN: usize = 20;
/// Bytes of all tables of a run together, which are part of its memory. This is a million elements, thirty times those of a Python
/// component. Growing or filling a table is one instruction that nothing interrupts: with larger tables, it would outlast a deadline by
/// more than 10 ms.
pub(super) const MAX_TABLE_BYTES_PER_RUN: usize = 8 << 20;
/// Bytes of host memory for one table element.
const TABLE_ELEMENT_SIZE: usize = size_of::<usize>();

/// Counts what a run holds and denies what exceeds its memory limit.
#[derive(Debug)]
pub(super) struct Limiter {
    /// Bytes of all memories and tables together.
    limit: u64,
    held: u64,
    held_by_tables: usize,
    /// The limit that the last denied request exceeded.
    denied: Option<u64>,
    usage: Arc<Usage>,
}

impl Limiter {
    /// Creates a limiter for at most `limit` bytes. It raises the memory peak in `usage`.
    pub(super) fn new(limit: u64, usage: Arc<Usage>) -> Self {
        Self { limit, held: 0, held_by_tables: 0, denied: None, usage }
    }

    /// Counts for another run from now on, which holds all that the instance holds already.
    pub(super) fn start_run(&mut self, usage: Arc<Usage>) {
        self.denied = None;
        usage.memory_peak.raise_to(self.held);
        self.usage = usage;
    }

    /// Returns the limit in bytes that a denied request exceeded, or `None` if no request was denied so far.
    pub(super) fn denied(&self) -> Option<u64> {
        self.denied
    }

    /// Returns whether the guest may hold `additional` more bytes. If not, records that they were denied.
    pub(super) fn has_room_for(&mut self, additional: u64) -> bool {
        let has_room = self.held.saturating_add(additional) <= self.limit;
        if !has_room {
            self.denied = Some(self.limit);
        }
        has_room
    }

    /// Counts `additional` bytes and returns `true`, or returns `false` if they exceed the limit.
    fn try_grow(&mut self, additional: usize) -> bool {
        let additional = u64::try_from(additional).unwrap_or(u64::MAX);
        let has_room = self.has_room_for(additional);
        if has_room {
            self.held += additional;
            self.usage.memory_peak.raise_to(self.held);
        }
        has_room
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> Result<bool> {
        // A request beyond the module's own maximum fails by the module's choice, so it does not count as denied.
        Ok(maximum.is_none_or(|maximum| desired <= maximum) && self.try_grow(desired.saturating_sub(current)))
    }

    fn memories(&self) -> usize {
        MAX_MEMORIES_PER_RUN
    }

    fn table_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> Result<bool> {
        let additional = desired.saturating_sub(current).saturating_mul(TABLE_ELEMENT_SIZE);
        let held = self.held_by_tables.saturating_add(additional);
        // Checked before `maximum`, which may be that of a slot in the pool and not the module's own.
        if held > MAX_TABLE_BYTES_PER_RUN {
            self.denied = Some(self.limit.min(MAX_TABLE_BYTES_PER_RUN as u64));
            return Ok(false);
        }
        let is_granted = maximum.is_none_or(|maximum| desired <= maximum) && self.try_grow(additional);
        if is_granted {
            self.held_by_tables = held;
        }
        Ok(is_granted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limiter_counts_memories_and_tables_together() {
        let usage = Arc::new(Usage::default());
        let mut limiter = Limiter::new(1000, usage.clone());
        assert!(limiter.memory_growing(0, 400, None).unwrap());
        assert!(limiter.memory_growing(0, 400, None).unwrap());
        assert!(limiter.table_growing(0, 25, None).unwrap());
        assert_eq!(limiter.denied(), None);
        assert!(!limiter.memory_growing(400, 401, None).unwrap());
        assert_eq!(limiter.denied(), Some(1000));
        assert_eq!(usage.memory_peak.get(), 1000);
    }

    #[test]
    fn growth_beyond_maximum_of_module_is_not_recorded_as_denied() {
        let mut limiter = Limiter::new(1000, Arc::default());
        assert!(!limiter.memory_growing(0, 200, Some(100)).unwrap());
        assert!(!limiter.table_growing(0, 200, Some(100)).unwrap());
        assert_eq!(limiter.denied(), None);
    }

    #[test]
    fn tables_together_are_limited_separately() {
        let mut limiter = Limiter::new(u64::MAX, Arc::default());
        let max_elements = MAX_TABLE_BYTES_PER_RUN / TABLE_ELEMENT_SIZE;
        assert!(limiter.table_growing(0, max_elements - 1, None).unwrap());
        assert!(!limiter.table_growing(0, 2, None).unwrap());
        assert!(limiter.table_growing(0, 1, None).unwrap());
        assert!(!limiter.table_growing(1, 2, None).unwrap());
        assert_eq!(limiter.denied(), Some(MAX_TABLE_BYTES_PER_RUN as u64));
        assert!(limiter.memory_growing(0, 1 << 30, None).unwrap());
    }

    #[test]
    fn store_allows_at_most_max_memories_per_run() {
        let engine = wasmtime::Engine::default();
        let mut store = wasmtime::Store::new(&engine, Limiter::new(u64::MAX, Arc::default()));
        store.limiter(|limiter| limiter);
        let module = wasmtime::Module::new(&engine, wat::parse_str("(module (memory 0))").unwrap()).unwrap();
        for _ in 0..MAX_MEMORIES_PER_RUN {
            wasmtime::Instance::new(&mut store, &module, &[]).unwrap();
        }
        wasmtime::Instance::new(&mut store, &module, &[]).unwrap_err();
    }
}
