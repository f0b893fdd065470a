//! `HandshakeLimit`: the limit on concurrent handshakes.
//!
//! A new handshake that exceeds the limit ends the oldest one, so that clients that stall cannot lock out others.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use tokio_util::sync::CancellationToken;

/// A limit on concurrent handshakes.
#[derive(Debug)]
pub(super) struct HandshakeLimit {
    max: usize,
    slots: Mutex<Slots>,
}

#[derive(Debug, Default)]
struct Slots {
    next_number: u64,
    /// The slots in use, oldest first. Each has its number and the token that evicts it.
    used: VecDeque<(u64, CancellationToken)>,
}

/// A slot for one handshake. Dropping it frees the slot.
#[derive(Debug)]
pub(super) struct HandshakeSlot<'a> {
    limit: &'a HandshakeLimit,
    number: u64,
    evicted: CancellationToken,
}

impl HandshakeLimit {
    /// Creates a limit of `max` handshakes.
    pub(super) fn new(max: usize) -> Self {
        Self { max, slots: Mutex::default() }
    }

    /// Takes a slot without waiting. Evicts the oldest one if all are in use.
    pub(super) fn acquire(&self) -> HandshakeSlot<'_> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if slots.used.len() >= self.max
            && let Some((_, oldest)) = slots.used.pop_front()
        {
            oldest.cancel();
        }
        let (number, evicted) = (slots.next_number, CancellationToken::new());
        slots.next_number += 1;
        slots.used.push_back((number, evicted.clone()));
        HandshakeSlot { limit: self, number, evicted }
    }
}

impl HandshakeSlot<'_> {
    /// Waits until a newer handshake takes this slot. Cancel-safe.
    pub(super) async fn evicted(&self) {
        self.evicted.cancelled().await;
    }
}

impl Drop for HandshakeSlot<'_> {
    fn drop(&mut self) {
        let mut slots = self.limit.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if let Ok(position) = slots.used.binary_search_by_key(&self.number, |(number, _)| *number) {
            slots.used.remove(position);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acquire_at_the_limit_evicts_the_oldest_slot() {
        let limit = HandshakeLimit::new(2);
        let (first, second) = (limit.acquire(), limit.acquire());
        let third = limit.acquire();
        assert!(first.evicted.is_cancelled() && !second.evicted.is_cancelled());
        drop(third);
        let fourth = limit.acquire();
        assert!(!second.evicted.is_cancelled(), "a slot was free");
        let fifth = limit.acquire();
        assert!(second.evicted.is_cancelled() && !fourth.evicted.is_cancelled());
        drop((first, second, fourth, fifth));
        assert!(limit.slots.lock().unwrap().used.is_empty());
    }
}
