//! [`Instance`]: a component that answers one request after the other, and what it keeps between them.

use std::sync::Arc;

use capstan_core::determinism::Random;
use capstan_core::env::Env;
use capstan_core::http::Exchange;
use capstan_core::limits::Limits;
use capstan_core::policy::Reach;
use capstan_core::secret::Secret;
use capstan_core::stream::{Sink, Source};
use capstan_core::usage::Usage;
use capstan_engine::handler::Call;
use wasmtime::Store;
use wasmtime_wasi_http::p2::bindings::{Proxy, ProxyPre};

use super::state::HttpState;
use crate::host::Host;
use crate::stdio::{Stdin, Stdout};

/// An instance of a component that answers HTTP requests.
pub(crate) struct Instance {
    pub(super) proxy: Proxy,
    /// How many requests it has answered to their end.
    pub(super) answered: u32,
}

/// What was granted to an instance. It may answer a request only if that is granted the same.
#[derive(PartialEq)]
pub(super) struct Grants {
    name: String,
    args: Vec<String>,
    limits: Limits,
    env: Env,
    secrets: Vec<(String, Secret)>,
    network: Option<Box<Reach>>,
}

impl Instance {
    pub(super) async fn new(pre: &ProxyPre<Host>, store: &mut Store<Host>) -> wasmtime::Result<Self> {
        Ok(Self { proxy: pre.instantiate_async(store).await?, answered: 0 })
    }
}

impl Grants {
    pub(super) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Returns what `call` grants, or `None` if its instance must be dropped after it: it answers no request, has files of its own, or has to
    /// be the same each time.
    pub(super) fn of(call: &Call) -> Option<Self> {
        let limits = call.limits;
        let is_repeatable = limits.is_repeatable() || limits.random != Random::Real;
        let has_files = !call.mounts.is_empty() || call.scratch.is_some();
        if call.http.is_none() || is_repeatable || has_files {
            return None;
        }
        let Call { name, args, env, secrets, network, .. } = call;
        Some(Self {
            name: name.clone(),
            args: args.clone(),
            limits,
            env: env.clone(),
            secrets: secrets.clone(),
            network: network.clone(),
        })
    }
}

/// The host of an instance between two requests. Everything that belongs to one request is exchanged.
impl Host {
    /// Gives the host the streams, the counters and the request of the next run.
    pub(crate) fn start_request(&mut self, call: Call) {
        self.exchange_request(call.stdin, call.stdout, call.stderr, call.usage, call.http);
    }

    /// Closes the streams of the run, and counts for it no longer.
    pub(crate) fn end_request(&mut self) {
        self.exchange_request(Source::empty(), Sink::discard(), Sink::discard(), Arc::default(), None);
    }

    fn exchange_request(
        &mut self,
        stdin: Source,
        stdout: Sink,
        stderr: Sink,
        usage: Arc<Usage>,
        exchange: Option<Box<Exchange>>,
    ) {
        let has_fixed_chunks = false;
        self.stdin = Stdin::new(stdin, has_fixed_chunks, usage.clone());
        self.stdout = Stdout::like(&self.stdout, stdout, usage.clone());
        // The guest may have kept a handle to this one. It writes to the stderr of the request that it answers.
        self.stderr.restart(stderr, usage.clone());
        self.limiter_mut().start_run(usage);
        self.http = HttpState::new(exchange);
    }
}
