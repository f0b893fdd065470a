//! [`Overlap`] and [`CatchUp`]: what a schedule does in two special cases.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What happens if jobs of the schedule have not ended when it fires.
///
/// The default is what Kubernetes, Nomad and Oban do unless they are told otherwise: each time makes a job, and no time is lost without
/// anybody having asked for it. What bounds the number of jobs is the queue limit of the handler.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Overlap {
    /// The new job does not wait for the others.
    #[default]
    Allow,
    /// No job is submitted for this time.
    Skip,
    /// The new job runs once the others have ended.
    Queue,
    /// The others are cancelled, and the new job runs once they have ended.
    Replace,
}

/// What happens to times that passed while the daemon was not running.
///
/// The default is what Kubernetes and Nomad do: after a downtime the job runs once, however many times were missed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CatchUp {
    /// They are missed. A time that is at most 60 seconds ago still counts.
    None,
    /// The schedule fires for the last of them.
    #[default]
    Last,
    /// The schedule fires for each of them, at most for the last 100. The overlap policy applies to each.
    All,
}
