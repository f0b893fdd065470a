//! Ids of durable jobs: UUIDs of version 7, which sort by the time of their creation.

use std::sync::Mutex;

use jiff::Timestamp;
use uuid::{ContextV7, Uuid};

use crate::job::JobId;

/// Creates ids. Each id sorts after those that were created before, also within a millisecond.
///
/// 32 or more of their bits come from the kernel's random source, so that nobody can guess the id of another job.
#[derive(Debug, Default)]
pub struct JobIds(Mutex<Context>);

#[derive(Debug)]
struct Context(ContextV7);

impl Default for Context {
    fn default() -> Self {
        Self(ContextV7::new())
    }
}

impl JobIds {
    /// Returns a new id for a job that is created at `now`. A time before 1970 counts as 1970.
    pub fn create(&self, now: Timestamp) -> JobId {
        let context = self.0.lock().expect("no panic while the lock is held");
        let seconds = u64::try_from(now.as_second()).unwrap_or(0);
        let nanoseconds = u32::try_from(now.subsec_nanosecond()).unwrap_or(0);
        JobId::from_bytes(*Uuid::new_v7(uuid::Timestamp::from_unix(&context.0, seconds, nanoseconds)).as_bytes())
    }
}

/// Returns the lowest id that a job created at `time` can have.
pub fn lowest_at(time: Timestamp) -> JobId {
    let millisecond = u128::try_from(time.as_millisecond()).unwrap_or(0) & 0xffff_ffff_ffff;
    JobId::from_bytes((millisecond << 80).to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_sort_in_the_order_of_their_creation() {
        let ids = JobIds::default();
        let now = Timestamp::now();
        let created: Vec<_> = (0..10_000).map(|_| ids.create(now)).collect();
        assert!(created.is_sorted_by(|a, b| a < b));
        assert!(created[0] > lowest_at(now));
        assert!(created[9_999] < lowest_at(now + jiff::Span::new().seconds(1)));
        assert_eq!(created[0].to_bytes()[6] >> 4, 7, "the version of the UUID");
    }

    #[test]
    fn id_is_the_same_after_a_round_trip() {
        let id = JobIds::default().create(Timestamp::now());
        assert_eq!(JobId::from_bytes(id.to_bytes()), id);
        assert_eq!(lowest_at(Timestamp::from_second(-5).unwrap()), lowest_at(Timestamp::UNIX_EPOCH));
    }
}
