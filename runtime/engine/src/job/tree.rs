//! Jobs that start jobs: the parent of a job, and the slot that a parent lends to its children.
//!
//! A parent that waits for its child uses no CPU meanwhile. If no slot is free, it therefore lends its own slot to one child at a time.
//! Otherwise parents that hold all slots would wait for children that wait for a slot. A parent ends only after it has its slot back, so
//! that the number of runs never exceeds the number of slots.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Semaphore;

use super::spec::JobSpec;
use super::stop::Stop;

/// The number of jobs at most between a job and the one that was requested from outside, including the latter.
pub const MAX_DEPTH: usize = 8;

/// A running job as the parent of others. Its handler gets it in its [`Call`](crate::handler::Call).
#[derive(Clone, Debug)]
pub struct Parent(Option<Arc<dyn TreeNode>>);

/// A job, as its children and grandchildren know it.
pub(crate) trait TreeNode: fmt::Debug + Send + Sync {
    fn spec(&self) -> &Arc<JobSpec>;

    fn stop(&self) -> &Stop;

    fn tree(&self) -> &JobTree;
}

/// The position of a job in the tree of jobs.
#[derive(Debug)]
pub(crate) struct JobTree {
    parent: Parent,
    depth: usize,
    has_children: AtomicBool,
    /// Has one permit, which is taken while the slot is lent.
    slot: Semaphore,
}

/// The slot of a parent, lent to a child. Dropping it returns the slot.
#[derive(Debug)]
pub(crate) struct LentSlot(Arc<dyn TreeNode>);

impl Parent {
    /// Returns the parent of jobs that have none.
    pub(crate) fn none() -> Self {
        Self(None)
    }

    pub(crate) fn new(job: Arc<dyn TreeNode>) -> Self {
        Self(Some(job))
    }

    pub(crate) fn get(&self) -> Option<&dyn TreeNode> {
        self.0.as_deref()
    }
}

impl JobTree {
    /// Returns the position of a child of `parent`, or `None` if it would be deeper than [`MAX_DEPTH`]. A child that `gets_slot` lends it to
    /// its own children.
    pub(crate) fn child_of(parent: Parent, gets_slot: bool) -> Option<Self> {
        let depth = parent.get().map_or(0, |parent| parent.tree().depth + 1);
        if depth > MAX_DEPTH {
            return None;
        }
        if let Some(parent) = parent.get() {
            parent.tree().has_children.store(true, Ordering::Relaxed);
        }
        Some(Self { parent, depth, has_children: AtomicBool::new(false), slot: Semaphore::new(gets_slot.into()) })
    }

    pub(crate) fn parent(&self) -> Option<&dyn TreeNode> {
        self.parent.get()
    }

    pub(crate) fn has_children(&self) -> bool {
        self.has_children.load(Ordering::Relaxed)
    }

    /// Borrows the parent's slot, unless it is lent already.
    pub(crate) fn try_borrow_slot(&self) -> Option<LentSlot> {
        let parent = self.parent.0.as_ref()?;
        parent.tree().slot.try_acquire().ok()?.forget();
        Some(LentSlot(parent.clone()))
    }

    /// Waits for the parent's slot. Never returns if there is no parent. Cancel-safe.
    pub(crate) async fn borrow_slot(&self) -> LentSlot {
        let Some(parent) = self.parent.0.as_ref() else { return std::future::pending().await };
        parent.tree().slot.acquire().await.expect("the semaphore is never closed").forget();
        LentSlot(parent.clone())
    }

    /// Waits until the job has its own slot back, and stops lending it. Cancel-safe.
    pub(crate) async fn reclaim_slot(&self) {
        self.slot.acquire().await.expect("the semaphore is never closed").forget();
    }
}

impl Drop for LentSlot {
    fn drop(&mut self) {
        self.0.tree().slot.add_permits(1);
    }
}
