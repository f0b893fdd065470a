//! Shutdown: rejects new work, gives running work time to finish, cancels what does not, and runs the hooks last.
//!
//! ```text
//! reject new jobs ──▶ work: grace ──▶ cancel it: 5 s ──▶ services and changes: 10 s ──▶ hooks, the last registered first: 10 s
//!                └──▶ cancel services
//! ```
//!
//! Every timeout limits a wait only. What does not end in time is named in the [`ShutdownReport`] and left behind.

use std::time::Duration;

use capstan_core::outcome::CancelledBy;
use tokio::time::timeout;

use super::Engine;
use super::shutdown_hooks::{ShutdownReport, ShutdownStarted, Unfinished};
use crate::job::Job;

/// How long shutdown waits for cancelled work.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(5);
/// How long shutdown waits for services and for changes; see [`Engine::run_to_completion`].
const SERVICE_TIMEOUT: Duration = Duration::from_secs(10);

impl Engine {
    /// Registers a hook that runs `work` at the end of shutdown, after all jobs and services have ended.
    ///
    /// The last registered hook runs first. All hooks together have 10 s. A hook that hangs is aborted, so that each of the others has its
    /// share of the time.
    ///
    /// # Errors
    /// Returns [`ShutdownStarted`] if shutdown has started.
    pub fn on_shutdown(
        &self,
        name: &'static str,
        work: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), ShutdownStarted> {
        self.0.shutdown.add_hook(name, work, || self.is_shutting_down())
    }

    /// Rejects new jobs, cancels services, waits `grace` for running work and then cancels it, and finally runs the hooks.
    ///
    /// Takes at most `grace` plus 25 s. Further calls wait for the first shutdown and return its report, whatever their `grace`. Cancel-safe:
    /// the shutdown continues if the future is dropped.
    pub async fn shutdown(&self, grace: Duration) -> &ShutdownReport {
        if self.0.in_flight.close() {
            let engine = self.clone();
            self.0.tasks.spawn(async move {
                let report = engine.shut_down(grace).await;
                engine.0.shutdown.report.set(report).expect("`close` returns true once");
            });
        }
        self.0.shutdown.report.wait().await
    }

    async fn shut_down(&self, grace: Duration) -> ShutdownReport {
        let in_flight = &self.0.in_flight;
        self.0.stopping.cancel();
        for service in in_flight.services() {
            service.cancel(CancelledBy::Shutdown);
        }
        let mut report = ShutdownReport::default();
        if timeout(grace, in_flight.wait_until_idle()).await.is_err() {
            for job in in_flight.work() {
                job.cancel(CancelledBy::Shutdown);
                report.cancelled.push(job.id());
            }
            let _ = timeout(CANCEL_TIMEOUT, in_flight.wait_until_idle()).await;
        }
        self.wait_for_services_and_changes().await;
        report.unfinished = self.unfinished();
        report.unfinished.extend(self.0.shutdown.run_hooks(&self.0.tasks).await);
        report
    }

    async fn wait_for_services_and_changes(&self) {
        self.0.changes.close();
        let all_ended = async {
            for service in self.0.in_flight.services() {
                service.wait().await;
            }
            self.0.changes.wait().await;
        };
        let _ = timeout(SERVICE_TIMEOUT, all_ended).await;
    }

    /// Returns the jobs, services and changes that have not ended.
    fn unfinished(&self) -> Vec<Unfinished> {
        // A job that has ended may still be listed for a moment.
        let has_not_ended = |job: &Job| !job.has_ended();
        let handler = |job: &Job| job.spec().handler.clone();
        let work = self.0.in_flight.work().into_iter().filter(has_not_ended);
        let work = work.map(|job| Unfinished::Job { id: job.id(), handler: handler(&job) });
        let services = self.0.in_flight.services().into_iter().filter(has_not_ended);
        let services = services.map(|service| Unfinished::Service(handler(&service)));
        let changes = Some(self.0.changes.len()).filter(|count| *count > 0).map(Unfinished::Changes);
        work.chain(services).chain(changes).collect()
    }
}
