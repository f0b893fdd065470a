//! Jobs of the daemon: listing them, reading their records, and finding them by id.

use capstan_core::outcome::Outcome;
use capstan_core::usage::UsageReport;
use capstan_engine::job::JobId;
use hyper::Method;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::client::{Client, ClientError, with_query};
use super::error::CliError;
use super::format;
use super::job_id::{self, JobIdError};

/// The maximum number of jobs per request.
const PAGE_SIZE: usize = 500;
/// The states of jobs that have not ended.
pub(super) const UNFINISHED: &str = "scheduled,waiting,queued,running,retrying";

/// The fields of a job that tables show.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct JobRecord {
    pub(super) id: JobId,
    pub(super) handler: String,
    state: String,
    created: String,
    outcome: Option<Outcome>,
    exit_code: Option<u8>,
    /// Why the job failed, in one line. `None` if it has not failed.
    #[serde(default)]
    pub(super) error: Option<String>,
    #[serde(default)]
    pub(super) usage: UsageReport,
}

#[derive(Debug, Deserialize)]
struct Page {
    jobs: Vec<Value>,
    cursor: Option<String>,
}

impl JobRecord {
    /// Reads a job from the JSON of the daemon.
    ///
    /// # Errors
    /// [`ClientError::UnexpectedResponse`]
    pub(super) fn from_json(client: &Client, job: &Value) -> Result<Self, ClientError> {
        Self::deserialize(job).map_err(|error| client.unexpected_response(&error))
    }

    /// Returns the exit code of a job that has ended, `None` before.
    pub(super) fn exit_code(&self) -> Option<u8> {
        self.exit_code.filter(|_| has_ended(&self.state))
    }

    /// Returns the state of the job, or its outcome once it has ended.
    pub(super) fn status(&self) -> String {
        match &self.outcome {
            Some(outcome) if self.state == "dead" => format!("dead, {}", format::outcome(outcome)),
            Some(outcome) if has_ended(&self.state) => format::outcome(outcome),
            _ => self.state.clone(),
        }
    }

    /// Returns how long before `now` the job was created: `5 minutes ago`.
    pub(super) fn age(&self, now: Timestamp) -> String {
        format::age(&self.created, now)
    }
}

/// Returns whether a job in `state` has ended.
pub(super) fn has_ended(state: &str) -> bool {
    matches!(state, "done" | "dead")
}

/// Returns the jobs that match `filter`, newest first, at most `limit` of them.
///
/// # Errors
/// [`ClientError`]
pub(super) async fn list(
    client: &Client,
    filter: &[(&str, String)],
    limit: Option<usize>,
) -> Result<Vec<Value>, ClientError> {
    list_at(client, "/jobs", filter, limit).await
}

/// Does the same for a list at another path.
///
/// # Errors
/// [`ClientError`]
pub(super) async fn list_at(
    client: &Client,
    path: &str,
    filter: &[(&str, String)],
    limit: Option<usize>,
) -> Result<Vec<Value>, ClientError> {
    let (mut jobs, mut cursor) = (Vec::new(), None);
    loop {
        let page_size = limit.map_or(PAGE_SIZE, |limit| (limit - jobs.len()).min(PAGE_SIZE));
        if page_size == 0 {
            return Ok(jobs);
        }
        let mut query = filter.to_vec();
        query.push(("limit", page_size.to_string()));
        query.extend(cursor.map(|cursor| ("cursor", cursor)));
        let response = client.call(Method::GET, &with_query(path, query)).await?;
        let page: Page = serde_json::from_value(response).map_err(|error| client.unexpected_response(&error))?;
        jobs.extend(page.jobs.into_iter().take(page_size));
        cursor = page.cursor;
        if cursor.is_none() {
            return Ok(jobs);
        }
    }
}

/// Finds the jobs that `texts` name, each by its id or a prefix of it, for which it asks the daemon.
///
/// The result has one entry per text, in order, so that one wrong text does not affect the others.
///
/// # Errors
/// [`ClientError`] if the daemon cannot be asked.
pub(super) async fn resolve(client: &Client, texts: &[String]) -> Result<Vec<Result<JobId, JobIdError>>, ClientError> {
    let mut found = Vec::new();
    for text in texts {
        found.push(match job_id::parse(text) {
            Ok(job_id::Text::Whole(id)) => Ok(id),
            Ok(job_id::Text::Prefix) => find_by_prefix(client, text).await?,
            Err(error) => Err(error),
        });
    }
    Ok(found)
}

async fn find_by_prefix(client: &Client, prefix: &str) -> Result<Result<JobId, JobIdError>, ClientError> {
    match client.call(Method::GET, &format!("/jobs/{prefix}")).await {
        Ok(job) => Ok(Ok(JobRecord::from_json(client, &job)?.id)),
        Err(ClientError::Rejected { code, .. }) if code == "unknown_job" => {
            Ok(Err(JobIdError::Unknown(prefix.to_owned())))
        }
        Err(ClientError::Rejected { code, message, .. }) if code == "ambiguous_job" => {
            Ok(Err(JobIdError::Ambiguous(message)))
        }
        Err(error) => Err(error),
    }
}

/// Finds the job that `text` names, by its id or a prefix of it.
///
/// # Errors
/// [`CliError::JobId`], [`CliError::Client`].
pub(super) async fn resolve_one(client: &Client, text: String) -> Result<JobId, CliError> {
    let result = resolve(client, &[text]).await?.pop().expect("there is one result per text");
    Ok(result?)
}

/// Returns the path of a job, or of one of its subresources: `path(id, "/logs")`.
pub(super) fn path(id: JobId, subresource: &str) -> String {
    format!("/jobs/{id}{subresource}")
}
