//! Shutdown: no new work, time for what runs, an end for what does not end by itself, and then what was registered to be done last.
//!
//! ```text
//! close the fence ──▶ work: grace ──▶ cancel it: 5 s ──▶ services and changes: 10 s ──▶ hooks, the last registered first: 10 s
//!                └──▶ ask services to end
//! ```
//!
//! Every bound is one on waiting: what does not keep it is named in the [`ShutdownReport`], and left behind.

use std::pin::Pin;
use std::sync::Mutex;
use std::time::Duration;

use capstan_core::outcome::CancelledBy;
use tokio::sync::SetOnce;
use tokio::time::{Instant, timeout};

use super::{Engine, Name};
use crate::job::{Job, JobId, State};

/// How long work that was cancelled may take to end before shutdown goes on without it.
const CANCEL_BOUND: Duration = Duration::from_secs(5);
/// How long services, and changes that are seen through, may take to end.
const SERVICE_BOUND: Duration = Duration::from_secs(10);
/// How long all hooks together may take.
const HOOKS_BOUND: Duration = Duration::from_secs(10);

/// How a shutdown went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShutdownReport {
    /// Work that was cancelled when its grace was over.
    pub cancelled: Vec<JobId>,
    /// What did not end even then. Where there is any, the stop was not a clean one.
    pub unfinished: Vec<Unfinished>,
}

/// What was left behind by a shutdown.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfinished {
    #[error("job {id} ({handler}) did not end when it was cancelled")]
    Job { id: JobId, handler: Name },
    #[error("service {0} did not end")]
    Service(Name),
    #[error("{0} changes were not seen through")]
    Changes(usize),
    #[error("shutdown hook {0} did not end")]
    Hook(&'static str),
    #[error("shutdown hook {0} panicked")]
    Panicked(&'static str),
}

/// A hook came too late: it would never have been run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("shutdown has begun, and hook {0} would not be run any more")]
pub struct ShutdownBegun(pub &'static str);

/// What an engine needs for its end.
#[derive(Default)]
pub(super) struct Shutdown {
    hooks: Mutex<Vec<Hook>>,
    report: SetOnce<ShutdownReport>,
}

struct Hook {
    name: &'static str,
    work: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl Engine {
    /// Has `work` done at the end, when no job and no service goes on any more: after all that is registered later, and before all that
    /// was registered earlier. Hooks have 10 s in all; one that hangs is cut short so that each of the others has its share.
    ///
    /// # Errors
    /// [`ShutdownBegun`] once shutdown has begun.
    pub fn on_shutdown(
        &self,
        name: &'static str,
        work: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), ShutdownBegun> {
        let mut hooks = self.0.shutdown.hooks.lock().expect("no panic while the lock is held");
        // The fence is closed before the hooks are taken, so that what is registered here is run.
        if self.is_shutting_down() {
            return Err(ShutdownBegun(name));
        }
        hooks.push(Hook { name, work: Box::pin(work) });
        Ok(())
    }

    /// Refuses new jobs, asks services to end, gives work in flight `grace` to finish, then cancels it; at last runs the hooks.
    ///
    /// Takes `grace` plus 25 s at most. Everyone who calls it waits for the same end, whatever their `grace`. Cancel-safe: it goes on where
    /// whoever called it first gives up.
    pub async fn shutdown(&self, grace: Duration) -> &ShutdownReport {
        if self.0.fence.close() {
            let engine = self.clone();
            self.0.tasks.spawn(async move {
                let report = engine.shut_down(grace).await;
                engine.0.shutdown.report.set(report).expect("the fence is closed once");
            });
        }
        self.0.shutdown.report.wait().await
    }

    async fn shut_down(&self, grace: Duration) -> ShutdownReport {
        let fence = &self.0.fence;
        self.0.stopping.cancel();
        for service in fence.services() {
            service.cancel(CancelledBy::Shutdown);
        }
        let mut report = ShutdownReport::default();
        if timeout(grace, fence.idle()).await.is_err() {
            for job in fence.work() {
                job.cancel(CancelledBy::Shutdown);
                report.cancelled.push(job.id());
            }
            let _ = timeout(CANCEL_BOUND, fence.idle()).await;
        }
        let changes = &self.0.changes;
        changes.close();
        let ends = async {
            for service in fence.services() {
                service.wait().await;
            }
            changes.wait().await;
        };
        let _ = timeout(SERVICE_BOUND, ends).await;
        // A job that has ended may still be on its way out of the fence.
        let goes_on = |job: &Job| !matches!(job.state(), State::Done(_));
        let handler = |job: &Job| job.spec().handler.clone();
        let jobs = fence.work().into_iter().filter(goes_on);
        report.unfinished.extend(jobs.map(|job| Unfinished::Job { id: job.id(), handler: handler(&job) }));
        let services = fence.services().into_iter().filter(goes_on);
        report.unfinished.extend(services.map(|service| Unfinished::Service(handler(&service))));
        report.unfinished.extend(Some(changes.len()).filter(|left| *left > 0).map(Unfinished::Changes));
        report.unfinished.extend(self.run_hooks().await);
        report
    }

    /// Runs the hooks, the last registered first; gives those that did not do what they should.
    async fn run_hooks(&self) -> Vec<Unfinished> {
        let hooks = std::mem::take(&mut *self.0.shutdown.hooks.lock().expect("no panic while the lock is held"));
        let until = Instant::now() + HOOKS_BOUND;
        let (mut after, mut unfinished) = (u32::try_from(hooks.len()).unwrap_or(u32::MAX), Vec::new());
        for Hook { name, work } in hooks.into_iter().rev() {
            let share = until.saturating_duration_since(Instant::now()) / after;
            after -= 1;
            // A task of its own, so that one that panics, or blocks its thread, stops nobody else.
            let mut task = self.0.tasks.spawn(work);
            match timeout(share, &mut task).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => unfinished.push(Unfinished::Panicked(name)),
                Err(_) => {
                    task.abort();
                    unfinished.push(Unfinished::Hook(name));
                }
            }
        }
        unfinished
    }
}

impl std::fmt::Debug for Shutdown {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Shutdown").field("report", &self.report).finish_non_exhaustive()
    }
}
