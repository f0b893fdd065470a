//! [`Tasks`]: the daemon's tasks besides its jobs, each with its owner, name and age.
//!
//! They are tracked in debug mode only, so that they cost nothing otherwise. `/debug/tasks` lists them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

/// The daemon's tasks. Clones share them. By default they are not tracked.
#[derive(Clone, Debug, Default)]
pub struct Tasks {
    spawner: TaskTracker,
    tracked: Option<Arc<Mutex<Tracked>>>,
}

#[derive(Debug, Default)]
struct Tracked {
    /// The number of tasks tracked so far.
    count: u64,
    running: BTreeMap<u64, Task>,
}

/// A tracked task.
#[derive(Clone, Debug)]
pub struct Task {
    /// The part of the daemon that it belongs to.
    pub owner: &'static str,
    pub name: String,
    pub since: Instant,
}

/// Tracks a task. Dropping it means that the task has ended.
#[derive(Debug)]
pub struct TaskGuard {
    tracked: Arc<Mutex<Tracked>>,
    number: u64,
}

impl Tasks {
    /// Returns tasks that are tracked.
    pub fn tracked() -> Self {
        Self { tracked: Some(Arc::default()), ..Self::default() }
    }

    /// Returns whether the tasks are tracked.
    pub fn are_tracked(&self) -> bool {
        self.tracked.is_some()
    }

    /// Tracks a task of `owner` for as long as the guard is held. Returns `None` if tasks are not tracked.
    pub fn track(&self, owner: &'static str, name: impl FnOnce() -> String) -> Option<TaskGuard> {
        let tracked = self.tracked.as_ref()?;
        let task = Task { owner, name: name(), since: Instant::now() };
        let mut tasks = lock(tracked);
        tasks.count += 1;
        let number = tasks.count;
        tasks.running.insert(number, task);
        Some(TaskGuard { tracked: tracked.clone(), number })
    }

    /// Spawns a task of `owner` on the caller's runtime.
    pub fn spawn<T: Send + 'static>(
        &self,
        owner: &'static str,
        name: &'static str,
        task: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        match self.track(owner, || name.to_owned()) {
            None => self.spawner.spawn(task),
            Some(guard) => self.spawner.spawn(async move {
                let _guard = guard;
                task.await
            }),
        }
    }

    /// Returns the tracked tasks that are running, the oldest first.
    pub fn running(&self) -> Vec<Task> {
        self.tracked.as_ref().map(|tracked| lock(tracked).running.values().cloned().collect()).unwrap_or_default()
    }
}

impl Drop for TaskGuard {
    fn drop(&mut self) {
        lock(&self.tracked).running.remove(&self.number);
    }
}

fn lock(tracked: &Mutex<Tracked>) -> MutexGuard<'_, Tracked> {
    tracked.lock().expect("no panic while the lock is held")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn task_is_tracked_until_it_ends() {
        let tasks = Tasks::tracked();
        let guard = tasks.track("daemon", || "log".to_owned());
        let (end, ended) = tokio::sync::oneshot::channel::<()>();
        let task = tasks.spawn("api", "answer", ended);
        let names = || tasks.running().into_iter().map(|task| (task.owner, task.name)).collect::<Vec<_>>();
        assert_eq!(names(), [("daemon", "log".to_owned()), ("api", "answer".to_owned())]);
        drop(guard);
        assert_eq!(names(), [("api", "answer".to_owned())]);
        drop(end);
        let _ = task.await.unwrap();
        assert_eq!(names(), []);
    }

    #[tokio::test]
    async fn task_is_not_tracked_by_default() {
        let tasks = Tasks::default();
        assert!(tasks.track("daemon", || unreachable!("only tracked tasks have names")).is_none());
        assert_eq!(tasks.spawn("api", "answer", async { 7 }).await.unwrap(), 7);
        assert!(tasks.running().is_empty());
    }
}
