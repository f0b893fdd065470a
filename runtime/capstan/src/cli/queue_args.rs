//! `QueueArgs`: what `capstan run -d` says about the queue.

use capstan_engine::job::JobId;
use clap::Args;
use serde_json::{Map, Value, json};

/// The options of a durable job. All need `-d`.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Options of background jobs (with -d)")]
pub(super) struct QueueArgs {
    /// Runs in total if the job fails, with growing times between them [default: the manifest, else 1]
    #[arg(long, value_name = "N", requires = "detach", value_parser = clap::value_parser!(u32).range(1..=1000))]
    retry: Option<u32>,
    /// Time before the first repetition, which doubles: 5s, or seconds [default: 1s]
    #[arg(long, value_name = "TIME", requires = "retry")]
    retry_base: Option<String>,
    /// Do not start before this time, or before this delay has passed: 2027-01-31T12:00:00Z, 10m [default: now]
    #[arg(long, value_name = "TIME", requires = "detach")]
    at: Option<String>,
    /// Refuse the job if its first run has not started by then: a time, or a delay [default: no limit]
    #[arg(long, value_name = "TIME", requires = "detach")]
    start_deadline: Option<String>,
    /// Start after the end of this job. ON is success, failure or end. May be repeated [default of ON: success]
    #[arg(long, value_name = "JOB[:ON]", requires = "detach", value_parser = parse_dependency)]
    after: Vec<Dependency>,
    /// Use what this job has printed as stdin, after its success [default: see -i]
    #[arg(long, value_name = "JOB", requires = "detach", conflicts_with_all = ["interactive", "stdin"])]
    stdin_from: Option<JobId>,
    /// Jobs of a handler with a higher priority start first [default: 0]
    #[arg(long, value_name = "N", requires = "detach", allow_negative_numbers = true)]
    priority: Option<i32>,
    /// Label by which jobs can be listed and cancelled. May be repeated [default: none]
    #[arg(long, value_name = "NAME=VALUE", requires = "detach", value_parser = parse_label)]
    label: Vec<(String, String)>,
    /// Submit so many jobs, which find their number in CAPSTAN_ARRAY_INDEX [default: one job, not an array]
    #[arg(long, value_name = "N", requires = "detach", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    count: Option<u32>,
    /// Key that makes the command safe to repeat: the same key submits the job once [default: none]
    #[arg(long, value_name = "KEY", requires = "detach")]
    key: Option<String>,
}

/// A job that must end first.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Dependency {
    job: JobId,
    on: String,
}

fn parse_dependency(text: &str) -> Result<Dependency, String> {
    let (job, on) = text.split_once(':').unwrap_or((text, "success"));
    if !["success", "failure", "end"].contains(&on) {
        return Err(format!("{on:?} is not success, failure or end"));
    }
    let job = job.parse().map_err(|_| format!("{job:?} is not the whole id of a job; see `capstan ps -q`"))?;
    Ok(Dependency { job, on: on.to_owned() })
}

pub(super) fn parse_label(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
    pair.ok_or_else(|| format!("{text:?} is not NAME=VALUE"))
}

impl QueueArgs {
    /// Returns whether no option is set.
    pub(super) fn is_empty(&self) -> bool {
        self.to_json().is_empty()
    }

    /// Returns the fields of the request.
    pub(super) fn to_json(&self) -> Map<String, Value> {
        let mut fields = Map::new();
        let mut set = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                fields.insert(name.to_owned(), value);
            }
        };
        set("retry", self.retry.map(|attempts| self.retry_policy(attempts)));
        set("not_before", self.at.as_ref().map(|at| json!(at)));
        set("start_deadline", self.start_deadline.as_ref().map(|at| json!(at)));
        let after: Vec<_> = self.after.iter().map(|after| json!({"job": after.job, "on": after.on})).collect();
        set("after", (!after.is_empty()).then(|| json!(after)));
        set("stdin_from", self.stdin_from.map(|job| json!(job)));
        set("priority", self.priority.map(|priority| json!(priority)));
        let labels: Map<_, _> = self.label.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
        set("labels", (!labels.is_empty()).then(|| Value::Object(labels)));
        set("count", self.count.map(|count| json!(count)));
        set("key", self.key.as_ref().map(|key| json!(key)));
        fields
    }

    fn retry_policy(&self, attempts: u32) -> Value {
        let mut policy = json!({"attempts": attempts});
        if let Some(base) = &self.retry_base {
            policy["base"] = json!(base);
        }
        policy
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependency_is_a_job_and_how_it_must_end() {
        let id = "0123456789abcdef0123456789abcdef";
        assert_eq!(parse_dependency(id).unwrap().on, "success");
        assert_eq!(parse_dependency(&format!("{id}:end")).unwrap().on, "end");
        for text in ["", "0123", &format!("{id}:"), &format!("{id}:never")] {
            assert!(parse_dependency(text).is_err(), "{text}");
        }
    }

    #[test]
    fn options_become_fields_of_the_request() {
        let args = QueueArgs {
            retry: Some(3),
            retry_base: Some("5s".into()),
            at: Some("10m".into()),
            priority: Some(-1),
            label: vec![("team".into(), "a".into())],
            ..QueueArgs::default()
        };
        let expected = json!({
            "retry": {"attempts": 3, "base": "5s"}, "not_before": "10m", "priority": -1, "labels": {"team": "a"},
        });
        assert_eq!(Value::Object(args.to_json()), expected);
        assert!(QueueArgs::default().is_empty() && !args.is_empty());
    }
}
