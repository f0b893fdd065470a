//! [`ScheduledJob`]: what a schedule submits.

use std::collections::BTreeMap;

use bytes::Bytes;
use capstan_core::env::Env;
use capstan_core::policy::PolicyRequest;
use capstan_core::retry::RetryPolicy;
use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::error::ScheduleError;
use crate::handler::HandlerName;
use crate::job::{JobId, stdin_from_base64};
use crate::job_store::{NewJob, Plan};

/// The start of the labels that only Capstan sets.
pub const RESERVED_LABELS: &str = "capstan.";

/// The label that names the schedule of a job.
pub const SCHEDULE_LABEL: &str = "capstan.schedule";

/// The label with the time of the schedule for which a job was submitted, in RFC 3339. It is earlier than the submission if the job makes up
/// for a missed time.
pub const SCHEDULED_AT_LABEL: &str = "capstan.scheduled_at";

/// What a schedule submits. The fields are those of a submitted job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScheduledJob {
    #[serde(serialize_with = "serialize_name", deserialize_with = "deserialize_name")]
    pub handler: HandlerName,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    #[serde(default, skip_serializing_if = "Env::is_empty")]
    pub env: Env,
    /// Stdin as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stdin: Option<String>,
    /// Stdin as base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stdin_base64: Option<String>,
    #[serde(default)]
    pub policy: PolicyRequest,
    /// Which runs are repeated; what the manifest of the handler says by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<RetryPolicy>,
    /// Jobs of a handler with a higher priority run first; 0 by default.
    #[serde(default)]
    pub priority: i32,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Jobs of a handler with the same key share a concurrency limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency_key: Option<String>,
}

impl ScheduledJob {
    /// Returns a job of `handler` without arguments and input.
    pub fn new(handler: HandlerName) -> Self {
        Self {
            handler,
            args: Vec::new(),
            env: Env::new(),
            stdin: None,
            stdin_base64: None,
            policy: PolicyRequest::default(),
            retry: None,
            priority: 0,
            labels: BTreeMap::new(),
            concurrency_key: None,
        }
    }

    /// Checks what the types alone do not exclude. Returns stdin.
    pub(super) fn check(&self) -> Result<Bytes, ScheduleError> {
        self.retry.as_ref().map_or(Ok(()), RetryPolicy::check)?;
        if let Some(name) = self.labels.keys().find(|name| name.starts_with(RESERVED_LABELS)) {
            return Err(ScheduleError::ReservedLabel(name.clone()));
        }
        if let Some(name) = self.labels.keys().find(|name| !is_label_name(name)) {
            return Err(ScheduleError::Label(name.chars().take(80).collect()));
        }
        if let Some(index) = self.args.iter().position(|arg| arg.contains('\0')) {
            return Err(ScheduleError::ArgContainsNul(index));
        }
        let is_printable = |byte: u8| byte.is_ascii_graphic() || byte == b' ';
        let is_key = |key: &String| (1..=255).contains(&key.len()) && key.bytes().all(is_printable);
        if !self.concurrency_key.as_ref().is_none_or(is_key) {
            return Err(ScheduleError::ConcurrencyKey);
        }
        match (&self.stdin, &self.stdin_base64) {
            (None, None) => Ok(Bytes::new()),
            (Some(text), None) => Ok(text.clone().into()),
            (None, Some(encoded)) => {
                stdin_from_base64(encoded).map_err(|error| ScheduleError::Base64(error.to_string()))
            }
            (Some(_), Some(_)) => Err(ScheduleError::SeveralStdins),
        }
    }

    /// Returns the job with `id` that the schedule `name` submits for the time `at`. Its plan lacks what depends on the handler.
    pub(super) fn to_new_job(&self, id: JobId, name: &str, at: Timestamp, stdin: Bytes) -> NewJob {
        let plan = Plan {
            args: self.args.clone(),
            env: self.env.clone(),
            policy: self.policy.clone(),
            retry: self.retry.clone().unwrap_or_default(),
            ..Plan::default()
        };
        let mut labels = self.labels.clone();
        labels.insert(SCHEDULE_LABEL.to_owned(), name.to_owned());
        labels.insert(SCHEDULED_AT_LABEL.to_owned(), at.to_string());
        NewJob {
            plan,
            stdin,
            labels,
            concurrency_key: self.concurrency_key.clone(),
            priority: self.priority,
            ..NewJob::new(id, self.handler.clone())
        }
    }
}

/// Returns whether a label may have this name: 1 to 63 letters, digits and `. _ - /`.
pub fn is_label_name(name: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'/');
    (1..=63).contains(&name.len()) && name.bytes().all(is_allowed)
}

fn serialize_name<S: Serializer>(name: &HandlerName, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(name.as_str())
}

fn deserialize_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<HandlerName, D::Error> {
    let text = String::deserialize(deserializer)?;
    HandlerName::new(&text).map_err(serde::de::Error::custom)
}
