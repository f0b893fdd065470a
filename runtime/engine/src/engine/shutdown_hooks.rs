//! Hooks that run at the end of a shutdown, and the report of what did not end.

use std::pin::Pin;
use std::sync::Mutex;

use tokio::sync::SetOnce;
use tokio::time::{Duration, Instant, timeout};
use tokio_util::task::TaskTracker;

use crate::handler::HandlerName;
use crate::job::JobId;

/// How long all hooks may take together.
const HOOKS_TIMEOUT: Duration = Duration::from_secs(10);

/// The result of a shutdown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShutdownReport {
    /// Jobs that were cancelled after the grace period.
    pub cancelled: Vec<JobId>,
    /// What had not ended when shutdown stopped waiting. If it is empty, the shutdown was clean.
    pub unfinished: Vec<Unfinished>,
}

/// Something that a shutdown left behind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfinished {
    #[error("job {id} ({handler}) did not end after it was cancelled")]
    Job { id: JobId, handler: HandlerName },
    #[error("service {0} did not end")]
    Service(HandlerName),
    #[error("{0} changes of handlers did not finish")]
    Changes(usize),
    #[error("shutdown hook {0} did not end")]
    Hook(&'static str),
    #[error("shutdown hook {0} panicked")]
    Panicked(&'static str),
}

/// A hook was registered too late to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot register shutdown hook {0}: shutdown has already started")]
pub struct ShutdownStarted(pub &'static str);

/// The engine's data for its shutdown.
#[derive(Default)]
pub(super) struct ShutdownState {
    hooks: Mutex<Vec<Hook>>,
    pub(super) report: SetOnce<ShutdownReport>,
}

struct Hook {
    name: &'static str,
    work: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl ShutdownState {
    /// Registers a hook, unless `has_started` returns true.
    pub(super) fn add_hook(
        &self,
        name: &'static str,
        work: impl Future<Output = ()> + Send + 'static,
        has_started: impl FnOnce() -> bool,
    ) -> Result<(), ShutdownStarted> {
        let mut hooks = self.hooks.lock().expect("no panic while the lock is held");
        // Shutdown starts before it takes the hooks under this lock, so a hook that is registered here runs.
        if has_started() {
            return Err(ShutdownStarted(name));
        }
        hooks.push(Hook { name, work: Box::pin(work) });
        Ok(())
    }

    /// Runs the hooks as `tasks`, the last registered first. Returns those that hang or panic.
    pub(super) async fn run_hooks(&self, tasks: &TaskTracker) -> Vec<Unfinished> {
        let hooks = std::mem::take(&mut *self.hooks.lock().expect("no panic while the lock is held"));
        let deadline = Instant::now() + HOOKS_TIMEOUT;
        let (mut remaining, mut unfinished) = (u32::try_from(hooks.len()).unwrap_or(u32::MAX), Vec::new());
        for Hook { name, work } in hooks.into_iter().rev() {
            let share = deadline.saturating_duration_since(Instant::now()) / remaining;
            remaining -= 1;
            // In a task of its own, a hook that panics or blocks its thread does not stop the others.
            let mut task = tasks.spawn(work);
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

impl std::fmt::Debug for ShutdownState {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("ShutdownState").field("report", &self.report).finish_non_exhaustive()
    }
}
