//! `Tasks`: what goes on in the daemon beside its jobs, each with its owner, its name and its age.
//!
//! It is noted in debug mode only, so that nobody else pays for it. A note is in the hands of whoever does what it says, and ends
//! with that.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

/// What goes on; clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    noted: Option<Arc<Mutex<Noted>>>,
}

#[derive(Debug, Default)]
struct Noted {
    /// How many there have been.
    number: u64,
    going: BTreeMap<u64, Task>,
}

/// Something that goes on.
#[derive(Clone, Debug)]
pub struct Task {
    /// The part of the daemon that it is of.
    pub owner: &'static str,
    pub name: String,
    pub since: Instant,
}

/// Says that something goes on, until this is dropped.
#[derive(Debug)]
pub struct TaskGuard {
    noted: Arc<Mutex<Noted>>,
    number: u64,
}

impl Tasks {
    /// Tasks that are noted; the default are not.
    pub fn noted() -> Self {
        Self { noted: Some(Arc::default()), ..Self::default() }
    }

    /// Whether they are noted.
    pub fn are_noted(&self) -> bool {
        self.noted.is_some()
    }

    /// Notes what goes on for as long as the note is held.
    pub fn note(&self, owner: &'static str, name: impl FnOnce() -> String) -> Option<TaskGuard> {
        let tasks = self.noted.as_ref()?;
        let task = Task { owner, name: name(), since: Instant::now() };
        let mut noted = lock(tasks);
        noted.number += 1;
        let number = noted.number;
        noted.going.insert(number, task);
        Some(TaskGuard { noted: tasks.clone(), number })
    }

    /// Spawns a task of `owner` on the runtime of the caller.
    pub fn spawn<T: Send + 'static>(
        &self,
        owner: &'static str,
        name: &'static str,
        task: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        match self.note(owner, || name.to_owned()) {
            None => self.tracker.spawn(task),
            Some(note) => self.tracker.spawn(async move {
                let _note = note;
                task.await
            }),
        }
    }

    /// What goes on now and is noted, the oldest first.
    pub fn going(&self) -> Vec<Task> {
        self.noted.as_ref().map(|tasks| lock(tasks).going.values().cloned().collect()).unwrap_or_default()
    }
}

impl Drop for TaskGuard {
    fn drop(&mut self) {
        lock(&self.noted).going.remove(&self.number);
    }
}

fn lock(tasks: &Mutex<Noted>) -> MutexGuard<'_, Noted> {
    tasks.lock().expect("no panic while the lock is held")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_goes_on_is_noted_until_it_ends() {
        let tasks = Tasks::noted();
        let note = tasks.note("daemon", || "log".to_owned());
        let (end, ended) = tokio::sync::oneshot::channel::<()>();
        let task = tasks.spawn("api", "answer", ended);
        let names = || tasks.going().into_iter().map(|task| (task.owner, task.name)).collect::<Vec<_>>();
        assert_eq!(names(), [("daemon", "log".to_owned()), ("api", "answer".to_owned())]);
        drop(note);
        assert_eq!(names(), [("api", "answer".to_owned())]);
        drop(end);
        let _ = task.await.unwrap();
        assert_eq!(names(), []);
    }

    #[tokio::test]
    async fn nothing_is_noted_by_default() {
        let tasks = Tasks::default();
        assert!(tasks.note("daemon", || unreachable!("a name is made for a note only")).is_none());
        assert_eq!(tasks.spawn("api", "answer", async { 7 }).await.unwrap(), 7);
        assert!(tasks.going().is_empty());
    }
}
