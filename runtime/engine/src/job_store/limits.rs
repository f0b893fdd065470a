//! [`StoreLimits`] and [`Retention`]: how much a store keeps.

use std::collections::BTreeMap;
use std::time::Duration;

use super::error::SubmitError;
use super::record::NewJob;

/// What a store takes at most.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreLimits {
    /// Bytes of stdin of a job; 64 MiB by default.
    pub stdin: u64,
    /// Bytes of arguments, variables, labels and policy of a job; 1 MiB by default.
    pub plan: u64,
    /// Labels of a job; 64 by default.
    pub labels: u64,
    /// Bytes of an idempotency key, a concurrency key, and the name and value of a label; 1 KiB by default.
    pub text: u64,
    /// Jobs that a job waits for; 1,000 by default.
    pub dependencies: u64,
    /// Bytes of output of a job; 16 MiB by default. The oldest output is dropped.
    pub job_output: u64,
    /// Bytes of output of all jobs of a handler; 1 GiB by default. The oldest output of ended jobs is dropped.
    pub handler_output: u64,
    /// Bytes of output of all jobs; 4 GiB by default. The handler that has most loses its oldest output.
    pub total_output: u64,
}

/// Which ended jobs are removed. Jobs that have not ended never are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    pub default: RetentionRule,
    /// Rules of single handlers, which replace the default.
    pub handlers: BTreeMap<String, RetentionRule>,
    /// The most jobs that one call removes; others follow at the next call. 0 is no limit.
    pub batch: usize,
}

/// How long the ended jobs of a handler are kept. `None` is without limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RetentionRule {
    /// Since the end of the job.
    pub age: Option<Duration>,
    /// Ended jobs of the handler.
    pub count: Option<u64>,
    /// Bytes of output of the handler's jobs.
    pub bytes: Option<u64>,
}

impl Default for StoreLimits {
    fn default() -> Self {
        Self {
            stdin: 64 << 20,
            plan: 1 << 20,
            labels: 64,
            text: 1 << 10,
            dependencies: 1000,
            job_output: 16 << 20,
            handler_output: 1 << 30,
            total_output: 4 << 30,
        }
    }
}

impl StoreLimits {
    /// Checks the sizes of `job`.
    ///
    /// # Errors
    /// [`SubmitError::TooLarge`]
    pub fn check(&self, job: &NewJob) -> Result<(), SubmitError> {
        let check = |what, size: usize, limit| match size as u64 {
            size if size > limit => Err(SubmitError::TooLarge { what, size, limit }),
            _ => Ok(()),
        };
        let texts = |texts: &[String]| texts.iter().map(String::len).sum::<usize>();
        let env = job.plan.env.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>();
        check("stdin", job.stdin.len(), self.stdin)?;
        check("the list of arguments and variables", texts(&job.plan.args) + env, self.plan)?;
        check("the set of labels", job.labels.len(), self.labels)?;
        check("the list of dependencies", job.after.jobs.len(), self.dependencies)?;
        check("the idempotency key", job.key.as_ref().map_or(0, |key| key.text.len()), self.text)?;
        check("the concurrency key", job.concurrency_key.as_ref().map_or(0, String::len), self.text)?;
        for (name, value) in &job.labels {
            check("a label", name.len().max(value.len()), self.text)?;
        }
        Ok(())
    }
}
