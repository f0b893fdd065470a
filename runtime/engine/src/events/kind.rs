//! [`Event`] and [`EventKind`]: what happened, as JSON shows it.

use std::borrow::Cow;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize, Serializer};

use crate::job::JobId;

/// Something that happened in the engine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// The number of the event: higher than that of any earlier one.
    pub seq: u64,
    /// When it happened. Always written with nine digits of the second, so that text sorts by time.
    #[serde(serialize_with = "serialize_time")]
    pub at: Timestamp,
    #[serde(flatten)]
    pub kind: EventKind,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event")]
pub enum EventKind {
    #[serde(rename = "handler.put")]
    HandlerPut {
        #[serde(with = "shared_text")]
        handler: Arc<str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        digest: Option<String>,
        replaced: bool,
    },
    #[serde(rename = "handler.remove")]
    HandlerRemove {
        #[serde(with = "shared_text")]
        handler: Arc<str>,
    },
    /// The job waits for a slot.
    #[serde(rename = "job.queue")]
    JobQueue {
        job: JobId,
        #[serde(with = "shared_text")]
        handler: Arc<str>,
    },
    #[serde(rename = "job.start")]
    JobStart {
        job: JobId,
        #[serde(with = "shared_text")]
        handler: Arc<str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        parent: Option<JobId>,
    },
    /// A run of a durable job has failed, and the job will run again.
    #[serde(rename = "job.retry")]
    JobRetry {
        job: JobId,
        #[serde(with = "shared_text")]
        handler: Arc<str>,
        /// The attempt that has failed, counted from 1.
        attempt: u32,
    },
    #[serde(rename = "job.end")]
    JobEnd {
        job: JobId,
        #[serde(with = "shared_text")]
        handler: Arc<str>,
        outcome: Cow<'static, str>,
        exit_code: u8,
    },
    /// The daemon has reloaded its configuration, or has failed to.
    #[serde(rename = "daemon.reload")]
    DaemonReload {
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<String>,
    },
    /// The daemon stops. It accepts no new jobs, and publishes the events of the jobs it has until they have ended.
    #[serde(rename = "daemon.stop")]
    DaemonStop,
}

impl EventKind {
    /// The tokens of all kinds, as in JSON.
    pub const TOKENS: [&str; 8] = [
        "handler.put",
        "handler.remove",
        "job.queue",
        "job.start",
        "job.retry",
        "job.end",
        "daemon.reload",
        "daemon.stop",
    ];

    /// Returns the stable token of the kind, as in JSON.
    pub fn token(&self) -> &'static str {
        match self {
            Self::HandlerPut { .. } => "handler.put",
            Self::HandlerRemove { .. } => "handler.remove",
            Self::JobQueue { .. } => "job.queue",
            Self::JobStart { .. } => "job.start",
            Self::JobRetry { .. } => "job.retry",
            Self::JobEnd { .. } => "job.end",
            Self::DaemonReload { .. } => "daemon.reload",
            Self::DaemonStop => "daemon.stop",
        }
    }

    /// Returns the name of the handler that the event is about.
    pub fn handler(&self) -> Option<&str> {
        match self {
            Self::HandlerPut { handler, .. }
            | Self::HandlerRemove { handler }
            | Self::JobQueue { handler, .. }
            | Self::JobStart { handler, .. }
            | Self::JobRetry { handler, .. }
            | Self::JobEnd { handler, .. } => Some(handler),
            Self::DaemonReload { .. } | Self::DaemonStop => None,
        }
    }

    /// Returns the job that the event is about.
    pub fn job(&self) -> Option<JobId> {
        match self {
            Self::JobQueue { job, .. }
            | Self::JobStart { job, .. }
            | Self::JobRetry { job, .. }
            | Self::JobEnd { job, .. } => Some(*job),
            Self::HandlerPut { .. } | Self::HandlerRemove { .. } | Self::DaemonReload { .. } | Self::DaemonStop => None,
        }
    }

    /// Returns the kind of the outcome that the event reports.
    pub fn outcome(&self) -> Option<&str> {
        match self {
            Self::JobEnd { outcome, .. } => Some(outcome),
            _ => None,
        }
    }
}

fn serialize_time<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    format!("{time:.9}").serialize(serializer)
}

/// (De)serializes a shared text as a plain one.
mod shared_text {
    use std::sync::Arc;

    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(text: &Arc<str>, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(text)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<str>, D::Error> {
        String::deserialize(deserializer).map(Into::into)
    }
}
