//! [`AttemptRecorder`]: records the run of a durable job.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use capstan_core::outcome::OutputStream;
use capstan_core::secret::Redaction;
use capstan_core::stream::Sink;
use jiff::Timestamp;

use super::id::JobId;
use super::state::JobEnd;

/// Records the run of a durable job. The queue implements it.
#[async_trait]
pub(crate) trait AttemptRecorder: fmt::Debug + Send + Sync {
    /// Returns a sink that records a stream of the run, without secrets.
    fn sink(&self, stream: OutputStream, redaction: &Redaction) -> Sink;

    /// Records the end of the run, before anybody can see it.
    async fn record_end(&self, end: &JobEnd);
}

/// The attempt of a durable job that an engine's job runs.
#[derive(Clone, Debug)]
pub(crate) struct Attempt {
    pub(crate) job: JobId,
    pub(crate) submitted: Timestamp,
    pub(crate) recorder: Arc<dyn AttemptRecorder>,
}
