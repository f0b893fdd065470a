//! `JobsTable`: the section `[jobs]` of the configuration file.

use std::collections::BTreeMap;
use std::time::Duration;

use capstan_core::units;
use capstan_engine::job_store::{Retention, RetentionRule, StoreLimits};
use capstan_engine::queue::QueueConfig;
use serde::Deserialize;

use super::error::{SettingsError, check_range};

/// The limit on `jobs.queue`. A job takes about 400 bytes of the disk besides its arguments and stdin.
const MAX_QUEUE: u64 = 100_000_000;

/// The section `[jobs]`: durable jobs.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct JobsTable {
    /// Jobs of a handler that may wait or run.
    queue: Option<u64>,
    /// How long an idempotency key is remembered.
    #[serde(deserialize_with = "units::deserialize_duration")]
    key_lifetime: Option<Duration>,
    /// Bytes of stdin of a job.
    #[serde(deserialize_with = "units::deserialize_size")]
    stdin: Option<u64>,
    /// Bytes of output that are kept of a job.
    #[serde(deserialize_with = "units::deserialize_size")]
    output: Option<u64>,
    /// Bytes of output that are kept of all jobs of a handler.
    #[serde(deserialize_with = "units::deserialize_size")]
    handler_output: Option<u64>,
    /// Bytes of output that are kept in all.
    #[serde(deserialize_with = "units::deserialize_size")]
    total_output: Option<u64>,
    keep: KeepTable,
    handlers: BTreeMap<String, HandlerTable>,
}

/// What is set for one handler.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct HandlerTable {
    keep: KeepTable,
}

/// Which ended jobs are kept.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct KeepTable {
    /// How long after its end.
    #[serde(deserialize_with = "units::deserialize_duration")]
    age: Option<Duration>,
    /// How many of a handler.
    count: Option<u64>,
    /// Bytes of output of a handler.
    #[serde(deserialize_with = "units::deserialize_size")]
    bytes: Option<u64>,
}

impl JobsTable {
    /// Returns the configuration of the queue.
    ///
    /// # Errors
    /// [`SettingsError::OutOfRange`]
    pub(super) fn queue(&self) -> Result<QueueConfig, SettingsError> {
        let default = QueueConfig::default();
        let rule = |keep: &KeepTable, over: RetentionRule| RetentionRule {
            age: keep.age.or(over.age),
            count: keep.count.or(over.count),
            bytes: keep.bytes.or(over.bytes),
        };
        let common = rule(&self.keep, default.retention.default);
        let of_handler = |(name, table): (&String, &HandlerTable)| (name.clone(), rule(&table.keep, common));
        let handlers = self.handlers.iter().map(of_handler).collect();
        Ok(QueueConfig {
            length: check_range("jobs.queue", self.queue.unwrap_or(default.length), &(1..=MAX_QUEUE))?,
            key_lifetime: self.key_lifetime.unwrap_or(default.key_lifetime),
            retention: Retention { default: common, handlers, ..default.retention },
        })
    }

    /// Returns how much the store takes.
    pub(super) fn limits(&self) -> StoreLimits {
        let default = StoreLimits::default();
        StoreLimits {
            stdin: self.stdin.unwrap_or(default.stdin),
            job_output: self.output.unwrap_or(default.job_output),
            handler_output: self.handler_output.unwrap_or(default.handler_output),
            total_output: self.total_output.unwrap_or(default.total_output),
            ..default
        }
    }
}
