//! [`RunMetrics`]: counts the runs of an engine for the metrics page.
//!
//! All series are made beforehand. Counting is a few atomic additions and takes no lock and no memory. Numbers that can be read elsewhere,
//! such as the number of waiting jobs, are not counted here but read when the metrics page is requested.

use std::time::Duration;

use capstan_core::metrics::{Histogram, StaticFamily};
use capstan_core::outcome::Outcome;
use prometheus_client::metrics::counter::Counter;

use crate::job::JobEnd;

/// The metrics of an engine's runs.
#[derive(Debug)]
pub struct RunMetrics {
    /// How runs ended.
    pub outcomes: StaticFamily<1, Counter>,
    /// How long each phase of a run took.
    pub phases: StaticFamily<1, Histogram>,
}

impl Default for RunMetrics {
    /// Returns metrics with all series at zero.
    fn default() -> Self {
        Self {
            outcomes: StaticFamily::new(Outcome::KINDS.map(|kind| [("outcome", kind)])),
            phases: StaticFamily::new(["queue", "load", "instantiate", "run"].map(|phase| [("phase", phase)])),
        }
    }
}

impl RunMetrics {
    /// Counts a run that has ended. The phases `load` and `instantiate` count only if the run had them.
    pub fn record_end(&self, end: &JobEnd) {
        self.outcomes.at(end.outcome.kind_index()).inc();
        let usage = &end.usage;
        let phases = [usage.queue_seconds, usage.load_seconds, usage.instantiate_seconds, usage.run_seconds];
        for (index, seconds) in phases.into_iter().enumerate() {
            let is_in_every_run = index == 0 || index == phases.len() - 1;
            if is_in_every_run || seconds > 0.0 {
                self.phases.at(index).observe(Duration::try_from_secs_f64(seconds).unwrap_or_default());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use capstan_core::usage::UsageReport;
    use jiff::Timestamp;

    use super::*;

    fn end(outcome: Outcome, usage: UsageReport) -> JobEnd {
        JobEnd { outcome, error: None, at: Timestamp::UNIX_EPOCH, usage }
    }

    #[test]
    fn run_counts_by_outcome_and_in_the_phases_it_had() {
        let runs = RunMetrics::default();
        let usage = UsageReport { run_seconds: 0.5, instantiate_seconds: 0.001, ..UsageReport::default() };
        runs.record_end(&end(Outcome::SUCCESS, usage));
        runs.record_end(&end(Outcome::Lost, UsageReport::default()));
        let count = |kind: &str| runs.outcomes.get(&[("outcome", kind)]).get();
        assert_eq!((count("exited"), count("lost"), count("trapped")), (1, 1, 0));
        let observed = |phase: &str| runs.phases.get(&[("phase", phase)]).count();
        assert_eq!(["queue", "load", "instantiate", "run"].map(observed), [2, 0, 1, 2]);
    }
}
