//! Catching up: which of the times that have passed a schedule fires for.

use capstan_core::schedule::CatchUp;
use jiff::{SignedDuration, Timestamp};

use super::times::Times;

/// A firing that is at most this late, 60 seconds, is on time. A restart of the daemon then loses no time.
pub const ON_TIME: SignedDuration = SignedDuration::from_secs(60);

/// The most times that [`CatchUp::All`] makes up for: the last 100.
pub const MAX_CAUGHT_UP: usize = 100;

/// Returns the times for which a schedule fires at `now`, the first one first. `due` is the first of those that have passed.
///
/// A schedule that fires more often than the daemon gets to it fires once for the last time, except with [`CatchUp::All`].
pub(super) fn due_times(times: &Times, catch_up: CatchUp, due: Timestamp, now: Timestamp) -> Vec<Timestamp> {
    // The rules of time zones may have changed since `due` was computed; then there may be no time left.
    let last = times.last_between(due, now).unwrap_or(due);
    match catch_up {
        CatchUp::Last => vec![last],
        CatchUp::None if now.duration_since(last) <= ON_TIME => vec![last],
        CatchUp::None => Vec::new(),
        CatchUp::All => {
            let before =
                |time: &Timestamp| times.last_between(due, time.checked_sub(SignedDuration::from_micros(1)).ok()?);
            let mut found: Vec<_> = std::iter::successors(Some(last), before).take(MAX_CAUGHT_UP).collect();
            found.reverse();
            found
        }
    }
}
