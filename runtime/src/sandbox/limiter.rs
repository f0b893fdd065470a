//! The summing limiter: all memories and tables of a run together.
//!
//! The library's own limits count each memory by itself, so that a program with 64 of them gets 64 times what was allowed. What was
//! granted stays counted even where the host then fails to deliver it: the library also reports failures that were never granted,
//! and giving those back would let a guest talk its count down.

use std::sync::Arc;

use wasmtime::{ResourceLimiter, Result};

use super::profile::MEMORIES_A_RUN;
use crate::usage::Usage;

/// Host bytes behind one table element.
const TABLE_ELEMENT: usize = size_of::<usize>();

#[derive(Debug)]
pub(super) struct Limiter {
    limit: u64,
    held: u64,
    denied: bool,
    usage: Arc<Usage>,
}

impl Limiter {
    pub(super) fn new(limit: u64, usage: Arc<Usage>) -> Self {
        Self { limit, held: 0, denied: false, usage }
    }

    /// The most bytes the run may hold.
    pub(super) fn limit(&self) -> u64 {
        self.limit
    }

    /// Whether the guest was denied memory at any time.
    pub(super) fn denied(&self) -> bool {
        self.denied
    }

    fn grow(&mut self, by: usize) -> bool {
        let by = u64::try_from(by).unwrap_or(u64::MAX);
        let held = self.held.saturating_add(by);
        if held > self.limit {
            self.denied = true;
            return false;
        }
        self.held = held;
        self.usage.memory_peak.raise(held);
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
        Ok(maximum.is_none_or(|maximum| desired <= maximum) && self.grow(by))
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
        assert!(!limiter.denied());
        assert!(!limiter.memory_growing(400, 401, None).unwrap());
        assert!(limiter.denied());
        assert_eq!(usage.memory_peak.get(), 1000);
    }

    #[test]
    fn running_into_the_modules_own_maximum_is_no_denial() {
        let mut limiter = Limiter::new(1000, Arc::default());
        assert!(!limiter.memory_growing(0, 200, Some(100)).unwrap());
        assert!(!limiter.denied());
    }
}
