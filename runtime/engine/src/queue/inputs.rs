//! What a job gets of the output of other jobs.

use bytes::{Bytes, BytesMut};
use capstan_core::env::Env;
use capstan_core::outcome::OutputStream;

use super::Queue;
use crate::job::JobId;
use crate::job_store::{JobStoreError, Lease, OutputPiece, Plan};

/// Bytes of output that become stdin.
const MAX_STDIN: usize = 64 << 20;
/// Bytes of output that become a variable. The kernel allows a variable of this size to a process.
const MAX_VARIABLE: usize = 128 << 10;
/// Bytes that are read at once.
const PAGE: u64 = 256 << 10;

/// Why the output of another job cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum InputError {
    #[error("job {0}, whose output it gets, does not exist any more")]
    Unknown(JobId),
    #[error("job {job}, whose output it gets, has printed more than the limit of {limit} bytes")]
    TooLarge { job: JobId, limit: usize },
    #[error("a part of the output of job {0}, which it gets, is not stored any more")]
    Incomplete(JobId),
    #[error("the output of job {job} cannot be the variable {name}: {reason}")]
    Variable { job: JobId, name: String, reason: String },
    #[error(transparent)]
    Store(#[from] JobStoreError),
}

impl Queue {
    /// Returns stdin and variables of a run as `plan` says. `stdin` is what was submitted.
    pub(super) async fn inputs(&self, plan: &Plan, stdin: Bytes) -> Result<(Bytes, Env), InputError> {
        let mut env = plan.env.clone();
        for (name, job) in &plan.env_from {
            let output = self.stdout_of(*job, MAX_VARIABLE).await?;
            let error = |reason: String| InputError::Variable { job: *job, name: name.clone(), reason };
            let text = std::str::from_utf8(&output).map_err(|reason| error(reason.to_string()))?;
            env.set(name, text.strip_suffix('\n').unwrap_or(text)).map_err(|reason| error(reason.to_string()))?;
        }
        let Some(job) = plan.stdin_from else { return Ok((stdin, env)) };
        let output = self.stdout_of(job, MAX_STDIN).await?;
        Ok((if stdin.is_empty() { output } else { [stdin, output].concat().into() }, env))
    }

    /// Returns what the last attempt of `job` has printed to stdout.
    async fn stdout_of(&self, job: JobId, limit: usize) -> Result<Bytes, InputError> {
        let store = &self.0.store;
        let details = store.job(job).await?.ok_or(InputError::Unknown(job))?;
        let lease = Lease { job, attempt: details.job.attempt };
        let (mut output, mut position) = (BytesMut::new(), 0);
        while let Some(page) = store.read_output(lease, position, PAGE).await? {
            for piece in page.pieces {
                match piece {
                    OutputPiece::Chunk(chunk) if chunk.stream == OutputStream::Stdout => {
                        output.extend_from_slice(&chunk.bytes);
                    }
                    OutputPiece::Chunk(_) => {}
                    OutputPiece::Gap(_) => return Err(InputError::Incomplete(job)),
                }
            }
            if output.len() > limit {
                return Err(InputError::TooLarge { job, limit });
            }
            position = page.next;
            if page.is_end {
                break;
            }
        }
        Ok(output.freeze())
    }
}
