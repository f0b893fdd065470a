//! [`submit_follow_ups`]: submits the jobs that follow the ends of others.

use super::super::error::JobStoreError;
use super::super::limits::StoreLimits;
use super::super::tables::Tables;
use super::effects::Effects;
use super::submit;

/// What the daemon itself submits is not limited in size.
const UNLIMITED: StoreLimits = StoreLimits {
    stdin: u64::MAX,
    plan: u64::MAX,
    labels: u64::MAX,
    text: u64::MAX,
    dependencies: u64::MAX,
    job_output: u64::MAX,
    handler_output: u64::MAX,
    total_output: u64::MAX,
};

/// Submits the jobs that follow the ends in `effects`. A store calls this after each change, in the same transaction.
///
/// # Errors
/// [`JobStoreError`]
pub fn submit_follow_ups(tables: &mut impl Tables, effects: &mut Effects) -> Result<(), JobStoreError> {
    while let Some((at, job)) = effects.take_follow_up() {
        if let Err(error) = submit::submit_at(tables, effects, &UNLIMITED, at, &job)? {
            tracing::error!(job = %job.id, handler = %job.handler, "cannot submit the job that follows the end of another: {error}");
        }
    }
    Ok(())
}
