//! [`Throughput`]: how many jobs of each handler have ended within the last minute.

use std::collections::{HashMap, VecDeque};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// The time that counts.
const WINDOW: Duration = Duration::from_secs(60);
/// Ends within this time are counted together.
const STEP: Duration = Duration::from_secs(1);

/// Counts the ends of jobs, by handler.
#[derive(Debug, Default)]
pub(super) struct Throughput(Mutex<HashMap<String, VecDeque<(Instant, u64)>>>);

impl Throughput {
    /// Counts the end of a job of `handler` at `now`.
    pub(super) fn count(&self, handler: &str, now: Instant) {
        let mut counts = self.0.lock().expect("no panic while the lock is held");
        if !counts.contains_key(handler) {
            counts.insert(handler.to_owned(), VecDeque::new());
        }
        let steps = counts.get_mut(handler).expect("it was inserted");
        remove_old(steps, now);
        match steps.back_mut() {
            Some((start, count)) if now.saturating_duration_since(*start) < STEP => *count += 1,
            _ => steps.push_back((now, 1)),
        }
    }

    /// Returns how many jobs of `handler` have ended within the last minute.
    pub(super) fn of(&self, handler: &str, now: Instant) -> u64 {
        let mut counts = self.0.lock().expect("no panic while the lock is held");
        let Some(steps) = counts.get_mut(handler) else { return 0 };
        remove_old(steps, now);
        steps.iter().map(|(_, count)| count).sum()
    }

    /// Forgets handlers of which no job has ended lately.
    pub(super) fn forget_idle(&self, now: Instant) {
        let mut counts = self.0.lock().expect("no panic while the lock is held");
        counts.retain(|_, steps| {
            remove_old(steps, now);
            !steps.is_empty()
        });
    }
}

fn remove_old(steps: &mut VecDeque<(Instant, u64)>, now: Instant) {
    while steps.front().is_some_and(|(start, _)| now.saturating_duration_since(*start) >= WINDOW) {
        steps.pop_front();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_count_for_one_minute() {
        let (throughput, start) = (Throughput::default(), Instant::now());
        let after = |seconds| start + Duration::from_secs(seconds);
        for second in 0..100 {
            throughput.count("a", after(second));
            throughput.count("a", after(second) + STEP / 2);
        }
        assert_eq!((throughput.of("a", after(99)), throughput.of("b", after(99))), (120, 0));
        assert_eq!(throughput.of("a", after(129)), 60);
        throughput.forget_idle(after(200));
        assert!(throughput.0.lock().unwrap().is_empty());
    }
}
