//! [`RunInputs`]: what a job holds for its run until the run starts.

use capstan_core::env::Env;
use capstan_core::http::Exchange;
use capstan_core::mount::{Mount, ScratchGrant};
use capstan_core::outcome::OutputStream;
use capstan_core::policy::{HttpReach, Reach};
use capstan_core::secret::Secret;
use capstan_core::stream::{FanOut, OutputTarget, Source};

use crate::data::HandlerData;

/// What a job holds for its run until the run starts.
pub(crate) struct RunInputs {
    pub(crate) invoke: Option<String>,
    pub(crate) http: Option<Box<Exchange>>,
    pub(crate) env: Env,
    pub(crate) mounts: Vec<Mount>,
    pub(crate) secrets: Vec<(String, Secret)>,
    pub(crate) scratch: Option<ScratchGrant>,
    pub(crate) network: Option<Box<Reach>>,
    pub(crate) outbound: Option<Box<HttpReach>>,
    pub(crate) data: Option<HandlerData>,
    pub(crate) streams: JobStreams,
}

/// The streams of a job.
#[derive(Debug)]
pub(crate) struct JobStreams {
    pub(crate) stdin: Source,
    pub(crate) stdout: OutputTarget,
    pub(crate) stderr: OutputTarget,
}

impl JobStreams {
    /// Returns an empty stdin, and a stdout and stderr that go nowhere.
    pub(crate) fn none() -> Self {
        Self { stdin: Source::empty(), stdout: OutputTarget::Discard, stderr: OutputTarget::Discard }
    }

    /// Returns the streams that go to several sinks.
    pub(crate) fn fan_outs(&self) -> Vec<(OutputStream, FanOut)> {
        let fan_out = |stream, outlet: &OutputTarget| outlet.fan_out().map(|fan_out| (stream, fan_out));
        let both = [fan_out(OutputStream::Stdout, &self.stdout), fan_out(OutputStream::Stderr, &self.stderr)];
        both.into_iter().flatten().collect()
    }
}
