//! Jobs that jobs start: whose child a job is, and the slot that a parent lends.
//!
//! A parent that waits for its child computes nothing meanwhile. Where no slot is free it therefore lends its own, to one child at a time:
//! parents that hold all slots do not wait for children that wait for a slot. A parent ends after it has its slot back, so that no
//! more runs go on than there are slots.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Semaphore;

use super::Job;

/// How many jobs may be between a job and the one that was asked for from outside, that one included.
pub const MAX_DEPTH: usize = 8;

/// A running job as the parent of others; its handler finds it in its [`Call`](crate::handler::Call).
#[derive(Clone, Debug)]
pub struct Parent(pub(super) Option<Job>);

/// A job among its kin.
#[derive(Debug)]
pub(crate) struct JobTree {
    parent: Option<Job>,
    depth: usize,
    has_children: AtomicBool,
    /// One permit, which is out while the slot is lent.
    slot: Semaphore,
}

/// The slot of a parent; dropping it gives it back.
#[derive(Debug)]
pub(crate) struct LentSlot(Job);

impl Parent {
    /// The parent of jobs that have none.
    pub(crate) fn nobody() -> Self {
        Self(None)
    }
}

impl JobTree {
    /// The kin of a child of `parent`, which lends its slot if it will have one; `None` where that would be too deep.
    pub(super) fn of(parent: Option<Job>, will_have_slot: bool) -> Option<Self> {
        let depth = parent.as_ref().map_or(0, |parent| parent.kin().depth + 1);
        if depth > MAX_DEPTH {
            return None;
        }
        if let Some(parent) = &parent {
            parent.kin().has_children.store(true, Ordering::Relaxed);
        }
        Some(Self { parent, depth, has_children: AtomicBool::new(false), slot: Semaphore::new(will_have_slot.into()) })
    }

    pub(crate) fn parent(&self) -> Option<&Job> {
        self.parent.as_ref()
    }

    /// The parent's slot, if it is not lent already.
    pub(crate) fn try_borrow(&self) -> Option<LentSlot> {
        let parent = self.parent()?;
        parent.kin().slot.try_acquire().ok()?.forget();
        Some(LentSlot(parent.clone()))
    }

    /// Waits for the parent's slot; for ever where there is no parent. Cancel-safe.
    pub(crate) async fn borrow(&self) -> LentSlot {
        let Some(parent) = self.parent() else { return std::future::pending().await };
        parent.kin().slot.acquire().await.expect("the semaphore is never closed").forget();
        LentSlot(parent.clone())
    }

    /// Waits until the job has its own slot back, and lends it no more. Cancel-safe.
    pub(crate) async fn take_back(&self) {
        self.slot.acquire().await.expect("the semaphore is never closed").forget();
    }

    pub(crate) fn has_children(&self) -> bool {
        self.has_children.load(Ordering::Relaxed)
    }
}

impl Drop for LentSlot {
    fn drop(&mut self) {
        self.0.kin().slot.add_permits(1);
    }
}
