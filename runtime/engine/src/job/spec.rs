//! Plain descriptions of a job: [`JobSpec`] for those who read it, [`JobOptions`] for those who make it.

use std::sync::Arc;

use capstan_core::caller::Caller;
use capstan_core::mount::Mount;
use capstan_core::policy::{Policy, PolicyRequest};
use jiff::Timestamp;

use super::id::JobId;
use super::idempotency_key::IdempotencyKey;
use crate::handler::{HandlerInfo, HandlerName, Terminals};

/// The description that a job was made from. It does not change, and history keeps it longer than the job itself.
#[derive(Debug)]
pub struct JobSpec {
    pub id: JobId,
    pub handler: HandlerName,
    /// What the handler was when the job was bound to it.
    pub handler_info: Arc<HandlerInfo>,
    pub args: Vec<String>,
    /// What the job may use and touch.
    pub policy: Arc<Policy>,
    /// The job that started this one.
    pub parent: Option<JobId>,
    /// Who requested the job. A child has the caller of its parent. `None` if the daemon started the job itself.
    pub caller: Option<Caller>,
    /// The key by which its caller makes sure that the job is made once.
    pub key: Option<IdempotencyKey>,
    /// Jobs of a handler with the same key share a concurrency limit.
    pub concurrency_key: Option<String>,
    pub terminals: Terminals,
    pub created: Timestamp,
}

/// Options of a job that its guest does not see.
///
/// They are apart from the [`Env`](capstan_core::env::Env), so that no variable that a caller sets can change them.
#[derive(Debug, Default)]
pub struct JobOptions {
    /// What the caller requests within the handler's manifest and the operator's ceiling.
    pub policy: PolicyRequest,
    /// Directories granted to this job, besides those of its policy.
    pub mounts: Vec<Mount>,
    /// Who requests the job.
    pub caller: Option<Caller>,
    /// The key by which the caller makes sure that the job is made once.
    pub key: Option<IdempotencyKey>,
    /// Jobs of a handler with the same key share a concurrency limit.
    pub concurrency_key: Option<String>,
    /// The function to call in place of the entry point, as `f(1, "a")`, or its name if the arguments are those of the job.
    pub invoke: Option<String>,
    /// Which of the job's streams end at a terminal.
    pub terminals: Terminals,
}
