//! [`Call`]: what a handler gets for one run.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use capstan_core::env::Env;
use capstan_core::http::Exchange;
use capstan_core::limits::Limits;
use capstan_core::mount::{Mount, ScratchGrant};
use capstan_core::outcome::Outcome;
use capstan_core::policy::{HttpReach, Reach};
use capstan_core::secret::Secret;
use capstan_core::stream::{Sink, Source};
use capstan_core::usage::Usage;
use tokio::io::AsyncWriteExt as _;

use super::terminals::Terminals;
use crate::data::HandlerData;
use crate::job::{JobId, Parent, Stop};

/// What a handler gets for one run: the job's data, its streams, and the means to watch and stop it.
///
/// Dropping the streams closes them.
#[derive(Debug)]
pub struct Call {
    pub job: JobId,
    /// The job as the parent of others, for [`JobBuilder::child_of`](crate::engine::JobBuilder::child_of).
    pub as_parent: Parent,
    /// What the guest finds before its arguments: the name of the handler, unless its manifest gives another.
    pub name: String,
    /// The arguments, without the name.
    pub args: Vec<String>,
    /// The function to call in place of the entry point, as `f(1, "a")`, or its name if the arguments are those of the call.
    pub invoke: Option<String>,
    /// The request to answer. Its body is then stdin, and that of the response is stdout.
    pub http: Option<Box<Exchange>>,
    pub env: Env,
    pub stdin: Source,
    pub stdout: Sink,
    pub stderr: Sink,
    pub terminals: Terminals,
    pub limits: Limits,
    pub mounts: Vec<Mount>,
    /// Variables that only the guest sees. They come before those of the same name in `env`.
    pub secrets: Vec<(String, Secret)>,
    pub scratch: Option<ScratchGrant>,
    /// The parts of the network that the run may reach, or `None` if it may reach nothing.
    pub network: Option<Box<Reach>>,
    /// The HTTP requests that the run may send, or `None` if it may send none.
    pub outbound: Option<Box<HttpReach>>,
    /// The buckets and containers of the handler. `None` where nothing keeps any.
    pub data: Option<HandlerData>,
    /// What the manifest configures for the guest.
    pub config: Arc<BTreeMap<String, String>>,
    pub stop: Stop,
    pub usage: Arc<Usage>,
}

impl Call {
    /// Writes `reason` to stderr as a line of its own and returns the outcome `exited` with `code`.
    pub async fn fail(&mut self, code: u8, reason: impl fmt::Display) -> Outcome {
        // If nobody reads stderr, the code alone reports the failure.
        let _ = self.stderr.write_all(format!("{reason}\n").as_bytes()).await;
        Outcome::Exited { code }
    }

    /// Returns a call without arguments, streams and grants, which belongs to no job.
    pub fn empty() -> Self {
        Self {
            job: JobId::NONE,
            as_parent: Parent::none(),
            name: String::new(),
            args: Vec::new(),
            invoke: None,
            http: None,
            env: Env::new(),
            stdin: Source::empty(),
            stdout: Sink::discard(),
            stderr: Sink::discard(),
            terminals: Terminals::default(),
            limits: Limits::default(),
            mounts: Vec::new(),
            secrets: Vec::new(),
            scratch: None,
            network: None,
            outbound: None,
            data: None,
            config: Arc::default(),
            stop: Stop::default(),
            usage: Arc::default(),
        }
    }
}
