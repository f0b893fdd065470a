//! `JobSpec`: what a job gets, whether it runs in process or on a daemon.

use capstan_core::env::Env;
use capstan_core::policy::PolicyRequest;

/// The arguments, variables and requested policy of a job.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct JobSpec {
    /// The arguments of the guest, without `argv[0]`.
    pub(super) args: Vec<String>,
    pub(super) env: Env,
    pub(super) policy: PolicyRequest,
    /// Jobs of a handler with the same key run one after the other. Only a daemon uses it.
    pub(super) concurrency_key: Option<String>,
    /// The function to call in place of the entry point.
    pub(super) invoke: Option<String>,
}
