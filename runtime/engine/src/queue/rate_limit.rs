//! [`RateLimits`]: token buckets, one for each handler with a rate.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use capstan_core::rate::Rate;

/// The buckets of all handlers. They are full when the daemon starts.
#[derive(Debug, Default)]
pub(super) struct RateLimits(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// When each bucket is full again, if nothing is taken.
    full_at: HashMap<String, Instant>,
    /// When the first bucket that was found empty has a token again.
    next: Option<Instant>,
}

impl RateLimits {
    /// Returns how many jobs of `handler` its `rate` allows at `now`. If there are none, remembers when there is one.
    pub(super) fn room(&self, handler: &str, rate: Rate, now: Instant) -> usize {
        let mut state = self.0.lock().expect("no panic while the lock is held");
        let missing = state.full_at.get(handler).map_or(Duration::ZERO, |full| full.saturating_duration_since(now));
        let free = rate.per.saturating_sub(missing);
        let room = free.as_nanos() / rate.interval().as_nanos().max(1);
        if room == 0 {
            let next = now + rate.interval().saturating_sub(free);
            state.next = Some(state.next.map_or(next, |other| other.min(next)));
        }
        usize::try_from(room).unwrap_or(usize::MAX)
    }

    /// Takes a token of `handler` for a job that starts at `now`.
    pub(super) fn take(&self, handler: &str, rate: Rate, now: Instant) {
        let mut state = self.0.lock().expect("no panic while the lock is held");
        let full_at = state.full_at.entry(handler.to_owned()).or_insert(now);
        *full_at = (*full_at).max(now) + rate.interval();
    }

    /// Returns when a bucket that was found empty has a token again, and forgets it.
    pub(super) fn take_next(&self) -> Option<Instant> {
        self.0.lock().expect("no panic while the lock is held").next.take()
    }

    /// Forgets buckets that are full.
    pub(super) fn forget_full(&self, now: Instant) {
        self.0.lock().expect("no panic while the lock is held").full_at.retain(|_, full_at| *full_at > now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bucket_allows_a_burst_and_then_the_rate() {
        let (limits, start) = (RateLimits::default(), Instant::now());
        let rate = Rate { count: 4, per: Duration::from_secs(2) };
        let after = |millis| start + Duration::from_millis(millis);
        assert_eq!(limits.room("a", rate, start), 4);
        for _ in 0..4 {
            limits.take("a", rate, start);
        }
        assert_eq!((limits.room("a", rate, start), limits.room("b", rate, start)), (0, 4));
        assert_eq!((limits.take_next(), limits.take_next()), (Some(after(500)), None));
        assert_eq!((limits.room("a", rate, after(499)), limits.room("a", rate, after(500))), (0, 1));
        limits.take("a", rate, after(500));
        assert_eq!((limits.room("a", rate, after(500)), limits.room("a", rate, after(10_000))), (0, 4));
        limits.forget_full(after(10_000));
        assert!(limits.0.lock().unwrap().full_at.is_empty());
    }
}
