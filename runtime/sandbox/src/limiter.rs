//! The summing limiter: all memories and tables of a run together.
//!
//! The library's own limits count each memory by itself, so that a program with 64 of them gets 64 times what was allowed. What was
//! granted stays counted even where the host then fails to deliver it: the library also reports failures that were never granted,
//! and giving those back would let a guest talk its count down.

use std::sync::Arc;

use capstan_core::usage::Usage;
use wasmtime::{ResourceLimiter, Result};

use super::profile::MEMORIES_A_RUN;

/// Host bytes behind one table element.
const TABLE_ELEMENT: usize = size_of::<usize>();
/// Bytes of all tables of a run together, a part of its memory: a million elements, thirty times those of a Python component. Growing and
/// filling a table is one stroke that nothing interrupts, and of more than this it would outlast a deadline by more than 10 ms.
pub(super) const TABLES_A_RUN: usize = 8 << 20;

#[derive(Debug)]
pub(super) struct Limiter {
    limit: u64,
    held: u64,
    held_by_tables: usize,
    /// The limit that the guest was denied memory by, at any time.
    denied: Option<u64>,
    usage: Arc<Usage>,
}

impl Limiter {
    pub(super) fn new(limit: u64, usage: Arc<Usage>) -> Self {
        Self { limit, held: 0, held_by_tables: 0, denied: None, usage }
    }

    /// The most bytes that the guest could have had of what it was denied, if it was denied any at any time.
    pub(super) fn denied(&self) -> Option<u64> {
        self.denied
    }

    fn grow(&mut self, by: usize) -> bool {
        let by = u64::try_from(by).unwrap_or(u64::MAX);
        let held = self.held.saturating_add(by);
        if held > self.limit {
            self.denied = Some(self.limit);
            return false;
        }
        self.held = held;
        self.usage.memory_peak.raise_to(held);
        true
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> Result<bool> {
        // A module's own maximum is the guest's affair: running into it is no denial of ours.
        Ok(maximum.is_none_or(|maximum| desired <= maximum) && self.grow(desired.saturating_sub(current)))
    }

    fn memories(&self) -> usize {
        MEMORIES_A_RUN
    }

    fn table_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> Result<bool> {
        let by = desired.saturating_sub(current).saturating_mul(TABLE_ELEMENT);
        let held = self.held_by_tables.saturating_add(by);
        // Asked first, since a slot of a pool has a maximum too, and that is no affair of the guest's.
        if held > TABLES_A_RUN {
            self.denied = Some(self.limit.min(TABLES_A_RUN as u64));
            return Ok(false);
        }
        let is_granted = maximum.is_none_or(|maximum| desired <= maximum) && self.grow(by);
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
    fn memories_and_tables_are_summed() {
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
    fn running_into_the_modules_own_maximum_is_no_denial() {
        let mut limiter = Limiter::new(1000, Arc::default());
        assert!(!limiter.memory_growing(0, 200, Some(100)).unwrap());
        assert!(!limiter.table_growing(0, 200, Some(100)).unwrap());
        assert_eq!(limiter.denied(), None);
    }

    #[test]
    fn tables_together_have_a_limit_of_their_own() {
        let mut limiter = Limiter::new(u64::MAX, Arc::default());
        let most = TABLES_A_RUN / TABLE_ELEMENT;
        assert!(limiter.table_growing(0, most - 1, None).unwrap());
        assert!(!limiter.table_growing(0, 2, None).unwrap());
        assert!(limiter.table_growing(0, 1, None).unwrap());
        assert!(!limiter.table_growing(1, 2, None).unwrap());
        assert_eq!(limiter.denied(), Some(TABLES_A_RUN as u64));
        assert!(limiter.memory_growing(0, 1 << 30, None).unwrap());
    }

    #[test]
    fn the_engine_gives_a_run_as_many_memories_as_its_profile_says() {
        let engine = wasmtime::Engine::default();
        let mut store = wasmtime::Store::new(&engine, Limiter::new(u64::MAX, Arc::default()));
        store.limiter(|limiter| limiter);
        let module = wasmtime::Module::new(&engine, wat::parse_str("(module (memory 0))").unwrap()).unwrap();
        for _ in 0..MEMORIES_A_RUN {
            wasmtime::Instance::new(&mut store, &module, &[]).unwrap();
        }
        wasmtime::Instance::new(&mut store, &module, &[]).unwrap_err();
    }
}
