//! [`Instances`]: the instances of one handler that wait for their next request.
//!
//! An instance is here only between two requests. It leaves when a request is granted the same as the ones before, and it is dropped after
//! it has waited for too long, with its handler, and whenever a request did not end well. Their number is limited for each handler and for
//! the whole daemon, so that they hold a limited amount of memory.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Instant;

use capstan_core::instances::Instances as Settings;
use capstan_engine::handler::Call;
use tokio_util::task::AbortOnDropHandle;
use wasmtime::Store;

use super::instance::{Grants, Instance};
use crate::guest_runtime::GuestRuntime;
use crate::host::Host;

/// Instances of one handler that wait.
const MAX_IDLE_OF_A_HANDLER: usize = 16;
/// Instances of all handlers that wait. The pools have slots for them besides those of the runs.
pub(crate) const MAX_IDLE: usize = 64;

/// How many instances wait, of all handlers together.
#[derive(Clone, Debug, Default)]
pub(crate) struct IdleCount(Arc<AtomicUsize>);

/// Counts an instance while it waits.
struct IdleGuard(IdleCount);

/// The instances of a handler that wait.
pub(crate) struct Instances {
    settings: Settings,
    count: IdleCount,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    /// In the order in which they began to wait.
    idle: Vec<Idle>,
    /// Drops those that wait for too long. There is one while any wait.
    reaper: Option<AbortOnDropHandle<()>>,
}

struct Idle {
    ready: ReadyInstance,
    since: Instant,
    _guard: IdleGuard,
}

/// An instance that can answer a request which is granted `grants`.
struct ReadyInstance {
    store: Store<Host>,
    instance: Instance,
    grants: Grants,
}

/// The right of one run to take an instance, and to give it back.
pub(crate) struct Lease {
    instances: Arc<Instances>,
    grants: Grants,
    /// How many requests the instance had answered before.
    answered: u32,
}

impl IdleCount {
    /// Counts one more, or returns `None` if there are as many as there may be.
    fn try_add(&self) -> Option<IdleGuard> {
        let guard = IdleGuard(self.clone());
        (self.0.fetch_add(1, Ordering::Relaxed) < MAX_IDLE).then_some(guard)
    }
}

impl Drop for IdleGuard {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Instances {
    pub(crate) fn new(settings: Settings, count: IdleCount) -> Arc<Self> {
        Arc::new(Self { settings, count, waiting: Mutex::default() })
    }

    /// Returns the lease of the run of `call`, or `None` if it must have an instance of its own.
    pub(crate) fn lease(self: &Arc<Self>, call: &Call) -> Option<Lease> {
        let is_shared = call.limits.reuse.min(self.settings.reuse).get() > 1;
        let grants = is_shared.then(|| Grants::of(call)).flatten()?;
        Some(Lease { instances: self.clone(), grants, answered: 0 })
    }

    /// Returns the instance that has waited for the shortest time of those with these grants, if any.
    fn take(&self, grants: &Grants) -> Option<ReadyInstance> {
        let mut waiting = self.lock();
        let index = waiting.idle.iter().rposition(|idle| idle.ready.grants == *grants)?;
        Some(waiting.idle.remove(index).ready)
    }

    /// Lets an instance wait that has answered a request to its end, or drops it.
    fn put(self: &Arc<Self>, ready: ReadyInstance, runtime: &GuestRuntime) {
        // What the manifest asked for is part of the policy, and the operator may have lowered it.
        if ready.instance.answered >= ready.grants.limits().reuse.min(self.settings.reuse).get() {
            return;
        }
        let Some(guard) = self.count.try_add() else { return };
        let idle = Idle { ready, since: Instant::now(), _guard: guard };
        let mut waiting = self.lock();
        if waiting.idle.len() >= MAX_IDLE_OF_A_HANDLER {
            drop(waiting);
            return drop(idle);
        }
        waiting.idle.push(idle);
        if waiting.reaper.is_none() {
            waiting.reaper = Some(runtime.spawn(drop_expired(Arc::downgrade(self))));
        }
    }

    /// Takes out those that have waited for too long. Returns them, and when the next one will have, if any waits.
    fn take_expired(&self) -> (Vec<Idle>, Option<Instant>) {
        let mut waiting = self.lock();
        let now = Instant::now();
        let expired = waiting.idle.partition_point(|idle| idle.since + self.settings.idle <= now);
        let expired = waiting.idle.drain(..expired).collect();
        let next = waiting.idle.first().map(|idle| idle.since + self.settings.idle);
        if next.is_none() {
            // It ends by itself.
            let _ = waiting.reaper.take().map(AbortOnDropHandle::detach);
        }
        (expired, next)
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().expect("no panic while the lock is held")
    }
}

impl Lease {
    /// Returns an instance that waits, if there is one. Its host still needs the request.
    pub(crate) fn take(&mut self) -> Option<(Store<Host>, Instance)> {
        let ReadyInstance { store, instance, .. } = self.instances.take(&self.grants)?;
        self.answered = instance.answered;
        Some((store, instance))
    }

    /// Gives an instance back whose run was successful. It is dropped unless it has answered the request to its end.
    pub(crate) fn give_back(self, mut store: Store<Host>, instance: Option<Instance>, runtime: &GuestRuntime) {
        let Some(instance) = instance.filter(|instance| instance.answered > self.answered) else { return };
        store.data_mut().end_request();
        self.instances.put(ReadyInstance { store, instance, grants: self.grants }, runtime);
    }
}

impl std::fmt::Debug for Instances {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Instances").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// Drops instances that wait for too long, until none waits or the handler is gone.
async fn drop_expired(instances: Weak<Instances>) {
    while let Some(waiting) = instances.upgrade() {
        let (expired, next) = waiting.take_expired();
        // Without the lock: this frees their memory.
        drop((expired, waiting));
        let Some(next) = next else { return };
        tokio::time::sleep_until(next.into()).await;
    }
}
