//! Records synchronous runs whose handler wants a durable history, in groups, after they have ended.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::Queue;
use crate::job::{Job, JobEnd};
use crate::job_store::{End, FinishedRun, NewJob, Now, Plan};
use crate::run_recorder::{EndedRun, RunRecorder};

/// Runs in one change of the store.
const MAX_GROUP: usize = 512;

impl Queue {
    /// Returns the task that records ended runs until the engine has drained.
    pub(super) fn run_history(&self) -> impl Future<Output = ()> + Send + use<> {
        let (recorder, mut ended) = RunRecorder::new();
        self.0.engine.set_run_recorder(recorder);
        let queue = self.clone();
        async move {
            let engine = queue.0.engine.clone();
            let drained = engine.wait_until_drained();
            tokio::pin!(drained);
            loop {
                let mut group = Vec::new();
                tokio::select! {
                    biased;
                    _ = ended.recv_many(&mut group, MAX_GROUP) => queue.record(group).await,
                    () = &mut drained => return queue.record_rest(&mut ended).await,
                }
            }
        }
    }

    async fn record_rest(&self, ended: &mut mpsc::Receiver<EndedRun>) {
        while let Ok(run) = ended.try_recv() {
            self.record(vec![run]).await;
        }
    }

    /// Records `runs`. The history in memory forgets them then.
    async fn record(&self, runs: Vec<EndedRun>) {
        let finished = runs.iter().map(|(job, end)| finished_run(job, end)).collect();
        if let Err(error) = self.note(self.0.store.record_finished(Now::read(), finished).await) {
            return tracing::error!("cannot record runs in the history on the disk: {error}");
        }
        for (job, _) in runs {
            // It may be removed already, because the history in memory has limits too.
            let _ = self.0.engine.history().remove(job.id());
        }
    }
}

/// Returns what is kept of a run. Its variables, stdin and output went to and came from its client, and are not kept.
fn finished_run(job: &Job, end: &Arc<JobEnd>) -> FinishedRun {
    let spec = job.spec();
    let plan = Plan {
        args: spec.args.clone(),
        caller: spec.caller.clone(),
        digest: spec.handler_info.digest.clone(),
        ..Plan::default()
    };
    let started = job.started().unwrap_or(spec.created);
    let error = end.error.as_deref().map(str::to_owned);
    FinishedRun {
        job: NewJob {
            plan,
            concurrency_key: spec.concurrency_key.clone(),
            ..NewJob::new(spec.id, spec.handler.clone())
        },
        worker: "synchronous".to_owned(),
        started,
        end: End { outcome: end.outcome.clone(), error, at: end.at },
        usage: end.usage.clone(),
    }
}
