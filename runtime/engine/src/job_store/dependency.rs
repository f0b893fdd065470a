//! [`After`]: the jobs that a job waits for.

use capstan_core::outcome::Outcome;
use serde::{Deserialize, Serialize};

use crate::job::JobId;

/// The jobs that a job waits for. They exist before it does, so there are no cycles.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct After {
    pub jobs: Vec<Dependency>,
    /// How many of them must end as required.
    pub mode: AfterMode,
}

/// How many dependencies must end as required.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AfterMode {
    #[default]
    All,
    Any,
}

/// A job that must end first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dependency {
    pub job: JobId,
    #[serde(default)]
    pub on: Requirement,
}

/// How a dependency must end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Requirement {
    #[default]
    Success,
    Failure,
    /// In any way.
    End,
    /// With one of these kinds of outcomes.
    Outcome(Vec<String>),
}

/// Whether the dependencies of a job allow it to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    Ready,
    /// Dependencies have not ended.
    Waiting,
    /// It can never run, because this dependency ended in another way than required.
    Impossible(JobId),
}

impl Requirement {
    /// Returns whether a dependency that ended with `outcome` ended as required.
    pub fn is_met_by(&self, outcome: &Outcome) -> bool {
        match self {
            Self::Success => outcome.is_success(),
            Self::Failure => !outcome.is_success(),
            Self::End => true,
            Self::Outcome(kinds) => kinds.iter().any(|kind| kind == outcome.kind()),
        }
    }
}

impl After {
    /// Returns whether the job may run. `met` says for each dependency whether it ended as required, or `None` if it has not ended.
    pub fn readiness(&self, met: &[Option<bool>]) -> Readiness {
        let first_failed =
            self.jobs.iter().zip(met).find(|(_, met)| **met == Some(false)).map(|(failed, _)| failed.job);
        let is_open = met.contains(&None);
        match (self.mode, first_failed) {
            (AfterMode::Any, _) if met.contains(&Some(true)) => Readiness::Ready,
            (AfterMode::Any, _) if is_open => Readiness::Waiting,
            (_, Some(job)) => Readiness::Impossible(job),
            _ if is_open => Readiness::Waiting,
            _ => Readiness::Ready,
        }
    }
}

/// Returns the outcome of a job that can never run, because `dependency` ended in another way than required.
pub fn refused_by(dependency: JobId) -> Outcome {
    Outcome::Refused { why: format!("job {dependency}, which it waited for, ended in another way than required") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job_store::JobIds;

    #[test]
    fn readiness_follows_mode_and_ends() {
        let ids = JobIds::default();
        let job = || Dependency { job: ids.create(jiff::Timestamp::UNIX_EPOCH), on: Requirement::Success };
        let all = After { jobs: vec![job(), job()], mode: AfterMode::All };
        let (first, second) = (all.jobs[0].job, all.jobs[1].job);
        assert_eq!(all.readiness(&[Some(true), None]), Readiness::Waiting);
        assert_eq!(all.readiness(&[Some(true), Some(true)]), Readiness::Ready);
        assert_eq!(all.readiness(&[None, Some(false)]), Readiness::Impossible(second));
        let any = After { mode: AfterMode::Any, ..all };
        assert_eq!(any.readiness(&[None, Some(false)]), Readiness::Waiting);
        assert_eq!(any.readiness(&[None, Some(true)]), Readiness::Ready);
        assert_eq!(any.readiness(&[Some(false), Some(false)]), Readiness::Impossible(first));
        assert_eq!(After::default().readiness(&[]), Readiness::Ready);
    }

    #[test]
    fn requirement_is_met_by_its_outcomes() {
        let (success, failure) = (Outcome::SUCCESS, Outcome::Lost);
        assert!(Requirement::Success.is_met_by(&success) && !Requirement::Success.is_met_by(&failure));
        assert!(!Requirement::Failure.is_met_by(&success) && Requirement::Failure.is_met_by(&failure));
        assert!(Requirement::End.is_met_by(&success) && Requirement::End.is_met_by(&failure));
        let lost = Requirement::Outcome(vec!["lost".into()]);
        assert!(!lost.is_met_by(&success) && lost.is_met_by(&failure));
    }
}
