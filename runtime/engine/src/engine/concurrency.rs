//! Concurrency limits: how many jobs of a handler, or of a handler and a concurrency key, run at the same time.
//!
//! A job belongs to the group of its handler if that has a limit, and to the group of its concurrency key if it has one. It enters all of its
//! groups at once, so that it never holds one while it waits for another. It waits in a group that is full, first come, first served.

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::{Notify, oneshot};

use crate::handler::HandlerName;
use crate::job::{Job, JobSpec};

/// All groups. Clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct ConcurrencyLimits(Arc<Groups>);

#[derive(Debug, Default)]
struct Groups {
    state: Mutex<State>,
    /// Notified when a group may have room again.
    released: Notify,
}

/// Jobs with a common limit: those of a handler, or of a handler and a key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Group {
    handler: HandlerName,
    key: Option<Arc<str>>,
}

/// A group that a job must enter, and how many jobs of the group may run when it has.
type GroupLimit = (Group, NonZeroUsize);

/// The membership of a running job in its groups. Dropping it leaves them.
#[derive(Debug)]
pub(super) struct ConcurrencyPermits {
    limits: ConcurrencyLimits,
    groups: Vec<Group>,
}

#[derive(Debug, Default)]
struct State {
    groups: HashMap<Group, GroupState>,
    /// The number of the next waiter.
    next: u64,
}

#[derive(Debug, Default)]
struct GroupState {
    running: usize,
    /// The waiters, in the order they came.
    waiting: BTreeMap<u64, Waiter>,
}

#[derive(Debug)]
struct Waiter {
    groups: Vec<GroupLimit>,
    /// Whether the job was claimed from the durable queue.
    is_durable: bool,
    permits: oneshot::Sender<ConcurrencyPermits>,
}

/// Keeps a waiter in its queue. Dropping it removes the waiter.
struct WaiterGuard<'a> {
    limits: &'a ConcurrencyLimits,
    groups: &'a [GroupLimit],
    number: u64,
}

/// Returns the groups that `job` must enter. Groups of its ancestors are left out: an ancestor waits for the job while it holds them.
pub(super) fn groups_of(job: &Job) -> Vec<GroupLimit> {
    let mut groups = own_groups(job.spec());
    let mut ancestor = job.tree().parent();
    while let Some(job) = ancestor.filter(|_| !groups.is_empty()) {
        let entered = own_groups(job.spec());
        groups.retain(|(group, _)| entered.iter().all(|(other, _)| other != group));
        ancestor = job.tree().parent();
    }
    groups
}

fn own_groups(spec: &JobSpec) -> Vec<GroupLimit> {
    let limits = &spec.policy.limits;
    let group = |key: Option<&str>| Group { handler: spec.handler.clone(), key: key.map(Arc::from) };
    let by_handler = limits.concurrency.map(|limit| (group(None), limit));
    let by_key = spec.concurrency_key.as_deref();
    let by_key = by_key.map(|key| (group(Some(key)), limits.concurrency_per_key.unwrap_or(NonZeroUsize::MIN)));
    by_handler.into_iter().chain(by_key).collect()
}

impl ConcurrencyLimits {
    /// Enters all groups, or returns `None` if one of them is full or has waiters.
    pub(super) fn try_enter(&self, groups: &[GroupLimit]) -> Option<ConcurrencyPermits> {
        if groups.is_empty() {
            return Some(ConcurrencyPermits { limits: self.clone(), groups: Vec::new() });
        }
        let mut state = self.lock();
        let has_waiters =
            |(group, _): &GroupLimit| state.groups.get(group).is_some_and(|group| !group.waiting.is_empty());
        if groups.iter().any(has_waiters) || state.first_full(groups).is_some() {
            return None;
        }
        Some(self.enter_now(&mut state, groups))
    }

    /// Waits until all groups can be entered, and enters them. Cancel-safe.
    pub(super) async fn enter(&self, groups: &[GroupLimit], is_durable: bool) -> ConcurrencyPermits {
        if let Some(entered) = self.try_enter(groups) {
            return entered;
        }
        let (permits, entered) = oneshot::channel();
        let _waiter = {
            let mut state = self.lock();
            let number = state.next;
            state.next += 1;
            let group = match state.first_full(groups) {
                Some(group) => group.clone(),
                // No group is full, but other waiters come first.
                None => groups[0].0.clone(),
            };
            let waiter = Waiter { groups: groups.to_vec(), is_durable, permits };
            state.groups.entry(group.clone()).or_default().waiting.insert(number, waiter);
            let unclaimed = self.admit_waiters(&mut state, &group);
            drop(state);
            drop(unclaimed);
            WaiterGuard { limits: self, groups, number }
        };
        entered.await.expect("a waiter is removed only after it has its permits or gives up")
    }

    /// Returns how many durable jobs can be claimed for a group of `handler`, or of it and `key`, that has room for `limit` jobs.
    ///
    /// If other jobs wait in the group, one may be claimed to wait with them, so that it has its turn.
    pub(super) fn room(&self, handler: &HandlerName, key: Option<&str>, limit: NonZeroUsize) -> usize {
        let group = Group { handler: handler.clone(), key: key.map(Arc::from) };
        let state = self.lock();
        let Some(GroupState { running, waiting }) = state.groups.get(&group) else { return limit.get() };
        match waiting.is_empty() {
            true => limit.get().saturating_sub(*running),
            false => usize::from(!waiting.values().any(|waiter| waiter.is_durable)),
        }
    }

    /// Waits until a group may have room again. One caller waits at a time. Cancel-safe.
    pub(super) async fn released(&self) {
        self.0.released.notified().await;
    }

    /// Ends the wait of [`ConcurrencyLimits::released`], because limits have changed.
    pub(super) fn notify_released(&self) {
        self.0.released.notify_one();
    }

    fn enter_now(&self, state: &mut State, groups: &[GroupLimit]) -> ConcurrencyPermits {
        for (group, _) in groups {
            state.groups.entry(group.clone()).or_default().running += 1;
        }
        ConcurrencyPermits { limits: self.clone(), groups: groups.iter().map(|(group, _)| group.clone()).collect() }
    }

    /// Admits the waiters of `group` in their order, until the first does not fit.
    ///
    /// Returns the permits of waiters that have just given up. The caller must drop them without the lock.
    #[must_use]
    fn admit_waiters(&self, state: &mut State, group: &Group) -> Vec<ConcurrencyPermits> {
        let mut unclaimed = Vec::new();
        loop {
            let Some(group_state) = state.groups.get_mut(group) else { return unclaimed };
            let Some((number, waiter)) = group_state.waiting.pop_first() else {
                if group_state.running == 0 {
                    state.groups.remove(group);
                }
                return unclaimed;
            };
            if let Some(full) = state.first_full(&waiter.groups) {
                let (full, is_this_group) = (full.clone(), full == group);
                state.groups.entry(full).or_default().waiting.insert(number, waiter);
                if is_this_group {
                    return unclaimed;
                }
                continue;
            }
            let entered = self.enter_now(state, &waiter.groups);
            unclaimed.extend(waiter.permits.send(entered).err());
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().expect("no panic while the lock is held")
    }
}

impl State {
    /// Returns the first of `groups` that is full.
    fn first_full<'a>(&self, groups: &'a [GroupLimit]) -> Option<&'a Group> {
        let is_full =
            |(group, limit): &&GroupLimit| self.groups.get(group).is_some_and(|state| state.running >= limit.get());
        groups.iter().find(is_full).map(|(group, _)| group)
    }
}

impl Drop for ConcurrencyPermits {
    fn drop(&mut self) {
        if self.groups.is_empty() {
            return;
        }
        let mut unclaimed = Vec::new();
        let mut state = self.limits.lock();
        for group in &self.groups {
            state.groups.get_mut(group).expect("this job runs in it").running -= 1;
        }
        for group in &self.groups {
            unclaimed.extend(self.limits.admit_waiters(&mut state, group));
        }
        drop(state);
        self.limits.notify_released();
    }
}

impl Drop for WaiterGuard<'_> {
    fn drop(&mut self) {
        let mut unclaimed = Vec::new();
        let mut state = self.limits.lock();
        for (group, _) in self.groups {
            if let Some(group_state) = state.groups.get_mut(group)
                && group_state.waiting.remove(&self.number).is_some()
            {
                // There may be room for the next waiter.
                unclaimed = self.limits.admit_waiters(&mut state, group);
            }
        }
        drop(state);
        drop(unclaimed);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use futures_util::future::BoxFuture;

    use super::*;

    fn limited(key: &str, limit: usize) -> GroupLimit {
        let key = (!key.is_empty()).then(|| key.into());
        (Group { handler: HandlerName::new("h").unwrap(), key }, NonZeroUsize::new(limit).unwrap())
    }

    fn waiting<'a>(limits: &'a ConcurrencyLimits, groups: &'a [GroupLimit]) -> BoxFuture<'a, ConcurrencyPermits> {
        let mut entered = limits.enter(groups, false).boxed();
        assert!((&mut entered).now_or_never().is_none(), "it does not wait");
        entered
    }

    #[test]
    fn full_group_admits_waiters_in_order() {
        let (limits, two) = (ConcurrencyLimits::default(), [limited("", 2)]);
        let (first, second) = (limits.try_enter(&two).unwrap(), limits.try_enter(&two).unwrap());
        assert!(limits.try_enter(&two).is_none());
        let (mut third, mut fourth) = (waiting(&limits, &two), waiting(&limits, &two));
        drop(first);
        assert!((&mut fourth).now_or_never().is_none());
        let third = (&mut third).now_or_never().unwrap();
        drop(second);
        drop((fourth.now_or_never().unwrap(), third));
        assert!(limits.lock().groups.is_empty());
    }

    #[test]
    fn job_enters_all_groups_or_none() {
        let limits = ConcurrencyLimits::default();
        let (both, one) = ([limited("", 2), limited("k", 1)], [limited("", 2)]);
        let first = limits.try_enter(&both).unwrap();
        let mut second = waiting(&limits, &both);
        // A job that waits for its key holds no other group.
        let other = limits.try_enter(&one).unwrap();
        drop(first);
        let second = (&mut second).now_or_never().unwrap();
        assert!(limits.try_enter(&one).is_none());
        drop((second, other));
        assert!(limits.lock().groups.is_empty());
    }

    #[test]
    fn waiter_that_moves_to_another_group_keeps_its_position() {
        let limits = ConcurrencyLimits::default();
        let (both, key) = ([limited("", 1), limited("k", 1)], [limited("k", 1)]);
        let (handler, held) = (limits.try_enter(&[limited("", 1)]).unwrap(), limits.try_enter(&key).unwrap());
        let (mut early, mut late) = (waiting(&limits, &both), waiting(&limits, &key));
        drop(handler);
        assert!((&mut early).now_or_never().is_none());
        drop(held);
        assert!((&mut late).now_or_never().is_none());
        drop((&mut early).now_or_never().unwrap());
        drop((&mut late).now_or_never().unwrap());
        assert!(limits.lock().groups.is_empty());
    }

    #[test]
    fn waiter_that_gives_up_is_removed_and_blocks_no_other() {
        let (limits, one, two) = (ConcurrencyLimits::default(), [limited("", 1)], [limited("", 2)]);
        let first = limits.try_enter(&one).unwrap();
        let waiter = waiting(&limits, &one);
        let mut next = waiting(&limits, &two);
        drop(waiter);
        drop((&mut next).now_or_never().unwrap());
        for _ in 0..1000 {
            drop(waiting(&limits, &one));
        }
        assert_eq!(limits.lock().groups.values().map(|group| group.waiting.len()).sum::<usize>(), 0);
        drop(first);
        assert!(limits.lock().groups.is_empty());
    }

    #[test]
    fn waiter_admitted_while_giving_up_leaves_the_group() {
        let (limits, one) = (ConcurrencyLimits::default(), [limited("", 1)]);
        let first = limits.try_enter(&one).unwrap();
        let waiter = waiting(&limits, &one);
        drop(first);
        drop(waiter);
        assert!(limits.lock().groups.is_empty());
    }
}
