//! Jobs as the daemon tells of them, and the ids by which people name them.

mod ids;

use capstan_core::outcome::Outcome;
use capstan_core::usage::UsageReport;
use capstan_engine::job::JobId;
use hyper::Method;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

pub(super) use self::ids::IdError;
use super::client::{Client, ClientError, with_query};
use super::error::CliError;
use super::show;

/// Jobs asked for at a time.
const PAGE: usize = 500;

/// A job, as far as tables tell of it.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Record {
    pub(super) id: JobId,
    pub(super) handler: String,
    state: String,
    created: String,
    outcome: Option<Outcome>,
    exit_code: Option<u8>,
    /// Why it was no success, in a line.
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

impl Record {
    /// Reads a job in the daemon's words.
    ///
    /// # Errors
    /// [`ClientError::Foreign`]
    pub(super) fn read(client: &Client, job: &Value) -> Result<Self, ClientError> {
        Self::deserialize(job).map_err(|error| client.foreign(&error))
    }

    /// What a shell sees of its end; `None` before.
    pub(super) fn exit_code(&self) -> Option<u8> {
        self.exit_code.filter(|_| self.state == "done")
    }

    /// Where it is in its life, or how that ended.
    pub(super) fn status(&self) -> String {
        self.outcome.as_ref().map_or_else(|| self.state.clone(), show::outcome)
    }

    /// How long before `now` it was asked for.
    pub(super) fn age(&self, now: Timestamp) -> String {
        show::age(&self.created, now)
    }
}

/// Jobs that `filter` lets through, newest first, `limit` of them at most.
///
/// # Errors
/// [`ClientError`]
pub(super) async fn list(
    client: &Client,
    filter: &[(&str, String)],
    limit: Option<usize>,
) -> Result<Vec<Value>, ClientError> {
    let (mut jobs, mut cursor) = (Vec::new(), None);
    loop {
        let left = limit.map_or(PAGE, |limit| (limit - jobs.len()).min(PAGE));
        if left == 0 {
            return Ok(jobs);
        }
        let mut query = filter.to_vec();
        query.push(("limit", left.to_string()));
        query.extend(cursor.map(|cursor| ("cursor", cursor)));
        let answer = client.ask(Method::GET, &with_query("/jobs", query)).await?;
        let page: Page = serde_json::from_value(answer).map_err(|error| client.foreign(&error))?;
        jobs.extend(page.jobs.into_iter().take(left));
        cursor = page.cursor;
        if cursor.is_none() {
            return Ok(jobs);
        }
    }
}

/// The jobs that `texts` name, each by its id or the beginning of it; the list is asked for only where there is a beginning.
///
/// # Errors
/// [`ClientError`]; what is wrong with one of the texts stands in its place.
pub(super) async fn resolve(client: &Client, texts: &[String]) -> Result<Vec<Result<JobId, IdError>>, ClientError> {
    let mut known = Vec::new();
    if texts.iter().any(|text| ids::is_beginning(text)) {
        for job in list(client, &[], None).await? {
            known.push(Record::read(client, &job)?.id);
        }
    }
    Ok(texts.iter().map(|text| ids::find(text, &known)).collect())
}

/// The one job that `text` names.
///
/// # Errors
/// [`CliError::Id`], [`CliError::Client`].
pub(super) async fn resolve_one(client: &Client, text: String) -> Result<JobId, CliError> {
    let found = resolve(client, &[text]).await?.pop().expect("one text, one job");
    Ok(found?)
}

/// The path of a job, or of something of it.
pub(super) fn path(id: JobId, rest: &str) -> String {
    format!("/jobs/{id}{rest}")
}
