//! What is counted for the operator while the daemon runs.
//!
//! Everything that a run passes is made beforehand: counting is a few atomic additions, and takes no lock and no memory. What can be read
//! off elsewhere, such as how many runs wait, is not counted here but asked for when somebody wants to see the page.

use std::time::Duration;

use capstan_core::metrics::{Histogram, StaticFamily};
use capstan_core::outcome::Outcome;
use prometheus_client::metrics::counter::Counter;

use crate::job::End;

/// The runs of an engine.
#[derive(Debug)]
pub struct Runs {
    /// How they ended.
    pub outcomes: StaticFamily<1, Counter>,
    /// How long they took to what they did.
    pub phases: StaticFamily<1, Histogram>,
}

impl Runs {
    pub fn new() -> Self {
        Self {
            outcomes: StaticFamily::new(Outcome::KINDS.map(|kind| [("outcome", kind)])),
            phases: StaticFamily::new(["queue", "load", "instantiate", "run"].map(|phase| [("phase", phase)])),
        }
    }

    /// Counts a run that has ended. Loading and instantiating count where they were done.
    pub fn ended(&self, end: &End) {
        self.outcomes.at(end.outcome.kind_index()).inc();
        let usage = &end.usage;
        let phases = [usage.queue_seconds, usage.load_seconds, usage.instantiate_seconds, usage.run_seconds];
        for (at, seconds) in phases.into_iter().enumerate() {
            let always = at == 0 || at == phases.len() - 1;
            if always || seconds > 0.0 {
                self.phases.at(at).observe(Duration::try_from_secs_f64(seconds).unwrap_or_default());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use capstan_core::usage::UsageReport;
    use jiff::Timestamp;

    use super::*;

    fn end(outcome: Outcome, usage: UsageReport) -> End {
        End { outcome, error: None, at: Timestamp::UNIX_EPOCH, usage }
    }

    #[test]
    fn a_run_counts_under_its_outcome_and_in_the_phases_it_had() {
        let runs = Runs::new();
        let usage = UsageReport { run_seconds: 0.5, instantiate_seconds: 0.001, ..UsageReport::default() };
        runs.ended(&end(Outcome::SUCCESS, usage));
        runs.ended(&end(Outcome::Lost, UsageReport::default()));
        let count = |kind: &str| runs.outcomes.get(&[("outcome", kind)]).get();
        assert_eq!((count("exited"), count("lost"), count("trapped")), (1, 1, 0));
        let observed = |phase: &str| runs.phases.get(&[("phase", phase)]).count();
        assert_eq!(["queue", "load", "instantiate", "run"].map(observed), [2, 0, 1, 2]);
    }
}
