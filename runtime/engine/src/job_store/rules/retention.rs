//! [`remove_expired`]: removes ended jobs that nobody wants to keep.

use jiff::Timestamp;

use super::super::claim::Now;
use super::super::error::JobStoreError;
use super::super::limits::{Retention, RetentionRule};
use super::super::tables::Tables;
use super::super::watch::Change;
use super::effects::Effects;

/// The jobs that are removed at a time. The output that they leave is counted after each step.
const STEP: usize = 100;
/// The keys that one call forgets.
const MAX_KEYS: usize = 10_000;

/// Removes ended jobs; see [`JobStore::remove_expired`](super::super::JobStore::remove_expired).
///
/// # Errors
/// [`JobStoreError`]
pub fn remove_expired(
    tables: &mut impl Tables,
    effects: &mut Effects,
    now: Now,
    retention: &Retention,
) -> Result<u64, JobStoreError> {
    tables.remove_expired_keys(now.wall, MAX_KEYS)?;
    let batch = if retention.batch == 0 { usize::MAX } else { retention.batch };
    let mut removed = 0;
    for handler in tables.ended_handlers()? {
        let rule = retention.handlers.get(&handler).unwrap_or(&retention.default);
        removed += remove_of_handler(tables, effects, now.wall, (&handler, rule), batch - removed)?;
        if removed >= batch {
            break;
        }
    }
    Ok(removed as u64)
}

fn remove_of_handler(
    tables: &mut impl Tables,
    effects: &mut Effects,
    now: Timestamp,
    (handler, rule): (&str, &RetentionRule),
    limit: usize,
) -> Result<usize, JobStoreError> {
    let oldest_end = rule.age.and_then(|age| now.checked_sub(age).ok());
    let mut count = if rule.count.is_some() { tables.count_ended(handler)? } else { 0 };
    let mut removed = 0;
    while removed < limit {
        let first = tables.first_ended(handler, STEP.min(limit - removed))?;
        if first.is_empty() {
            break;
        }
        for (id, ended) in first {
            let is_old = oldest_end.is_some_and(|oldest| ended < oldest);
            let is_surplus = rule.count.is_some_and(|most| count > most);
            let is_large = match rule.bytes {
                Some(most) => tables.output_bytes(handler)? > most,
                None => false,
            };
            if !(is_old || is_surplus || is_large) {
                return Ok(removed);
            }
            if let Some(job) = tables.job(id)? {
                tables.remove_job(&job)?;
                effects.changes.push(Change::without_state(id));
            }
            count = count.saturating_sub(1);
            removed += 1;
        }
    }
    Ok(removed)
}
