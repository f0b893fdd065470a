//! [`Overlap`]: what happens if the last job of a schedule has not ended when it fires again.

use serde::{Deserialize, Serialize};

/// What happens if jobs of the schedule have not ended when it fires.
///
/// The default is what Kubernetes, Nomad and Oban do unless they are told otherwise: each time makes a job, and no time is lost without
/// anybody having asked for it. What bounds the number of jobs is the queue limit of the handler.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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
