//! `JobFilterArgs`: the options that select jobs of the daemon.

use clap::Args;

use super::queue_args::parse_label;
use super::time_arg::TimeArg;

/// The options that select jobs.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct JobFilterArgs {
    /// Only jobs of this handler [default: all handlers]
    #[arg(long, value_name = "NAME")]
    handler: Option<String>,
    /// Only jobs with this label. May be repeated [default: all jobs]
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_label)]
    label: Vec<(String, String)>,
    /// Only jobs that ended in this way: exited, trapped, timed_out, … [default: all jobs]
    #[arg(long, value_name = "KIND")]
    outcome: Option<String>,
    /// Only jobs whose error contains this text [default: all jobs]
    #[arg(long, value_name = "TEXT")]
    error: Option<String>,
    /// Only jobs that were submitted since this time, or within this time: 2027-01-31T12:00:00Z, 10m [default: all jobs]
    #[arg(long, value_name = "TIME")]
    since: Option<TimeArg>,
    /// Only jobs that have ended since this time, or within this time [default: all jobs]
    #[arg(long, value_name = "TIME")]
    ended_since: Option<TimeArg>,
}

impl JobFilterArgs {
    /// Returns whether all jobs are selected.
    pub(super) fn is_empty(&self) -> bool {
        self.query().is_empty()
    }

    /// Returns the parameters of the request.
    pub(super) fn query(&self) -> Vec<(&'static str, String)> {
        let mut query = Vec::new();
        query.extend(self.handler.clone().map(|handler| ("handler", handler)));
        query.extend(self.label.iter().map(|(name, value)| ("label", format!("{name}={value}"))));
        query.extend(self.outcome.clone().map(|outcome| ("outcome", outcome)));
        query.extend(self.error.clone().map(|error| ("error", error)));
        query.extend(self.since.map(|since| ("since", since.to_string())));
        query.extend(self.ended_since.map(|since| ("ended_since", since.to_string())));
        query
    }
}
