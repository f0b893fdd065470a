//! Lanes: how many jobs of a handler, or of a handler and a key, run beside one another.
//!
//! A job is in the lane of its handler where it has a limit on those, and in that of its concurrency key where it has one. It enters all of
//! its lanes at once, so that none is held while another is waited for. Who waits does so in the lane that is full, first come first
//! served.

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::oneshot;

use super::registry::Name;
use crate::job::Job;

/// All lanes; clones are the same.
#[derive(Clone, Debug, Default)]
pub(super) struct ConcurrencyLimits(Arc<Mutex<State>>);

/// What jobs of one handler have in common: the handler alone, or a key too.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Lane {
    handler: Name,
    key: Option<Arc<str>>,
}

/// A lane that a job must be in, with how many there may be in it then.
type Want = (Lane, NonZeroUsize);

/// The places of a job in its lanes; dropping it leaves them.
#[derive(Debug)]
pub(super) struct ConcurrencyPermits {
    lanes: ConcurrencyLimits,
    of: Vec<Lane>,
}

#[derive(Debug, Default)]
struct State {
    lanes: HashMap<Lane, Traffic>,
    next: u64,
}

#[derive(Debug, Default)]
struct Traffic {
    inside: usize,
    /// Who waits, in the order they came.
    waiting: BTreeMap<u64, Waiter>,
}

#[derive(Debug)]
struct Waiter {
    wants: Vec<Want>,
    let_in: oneshot::Sender<ConcurrencyPermits>,
}

/// Whoever waits; dropping it gives up.
struct Waiting<'a> {
    lanes: &'a ConcurrencyLimits,
    wants: &'a [Want],
    number: u64,
}

/// The lanes of `job`, without those that it is in already as a part of the job that asked for it: that one waits for it.
pub(super) fn wants(job: &Job) -> Vec<Want> {
    let mut wants = own(job);
    let mut ancestor = job.kin().parent();
    while let Some(job) = ancestor.filter(|_| !wants.is_empty()) {
        let theirs = own(job);
        wants.retain(|(lane, _)| theirs.iter().all(|(their, _)| their != lane));
        ancestor = job.kin().parent();
    }
    wants
}

fn own(job: &Job) -> Vec<Want> {
    let (given, limits) = (job.spec(), job.limits());
    let lane = |key: Option<&str>| Lane { handler: given.handler.clone(), key: key.map(Arc::from) };
    let by_handler = limits.concurrency.map(|limit| (lane(None), limit));
    let by_key = given.concurrency_key.as_deref();
    let by_key = by_key.map(|key| (lane(Some(key)), limits.concurrency_per_key.unwrap_or(NonZeroUsize::MIN)));
    by_handler.into_iter().chain(by_key).collect()
}

impl ConcurrencyLimits {
    /// Enters all lanes, where there is room in each and nobody waits before it.
    pub(super) fn try_enter(&self, wants: &[Want]) -> Option<ConcurrencyPermits> {
        if wants.is_empty() {
            return Some(ConcurrencyPermits { lanes: self.clone(), of: Vec::new() });
        }
        let mut state = self.lock();
        let is_waited_for = |(lane, _): &Want| state.lanes.get(lane).is_some_and(|lane| !lane.waiting.is_empty());
        if wants.iter().any(is_waited_for) || state.full(wants).is_some() {
            return None;
        }
        Some(self.enter_now(&mut state, wants))
    }

    /// Waits until all lanes can be entered. Cancel-safe.
    pub(super) async fn enter(&self, wants: &[Want]) -> ConcurrencyPermits {
        if let Some(entered) = self.try_enter(wants) {
            return entered;
        }
        let (let_in, entered) = oneshot::channel();
        let _waiting = {
            let mut state = self.lock();
            let number = state.next;
            state.next += 1;
            let lane = match state.full(wants) {
                Some(lane) => lane.clone(),
                // There is room, and others are before it.
                None => wants[0].0.clone(),
            };
            let waiter = Waiter { wants: wants.to_vec(), let_in };
            state.lanes.entry(lane.clone()).or_default().waiting.insert(number, waiter);
            let late = self.advance(&mut state, &lane);
            drop(state);
            drop(late);
            Waiting { lanes: self, wants, number }
        };
        entered.await.expect("who waits is let in before it is forgotten")
    }

    fn enter_now(&self, state: &mut State, wants: &[Want]) -> ConcurrencyPermits {
        for (lane, _) in wants {
            state.lanes.entry(lane.clone()).or_default().inside += 1;
        }
        ConcurrencyPermits { lanes: self.clone(), of: wants.iter().map(|(lane, _)| lane.clone()).collect() }
    }

    /// Lets those in who wait in `lane`, as long as there is room for the first. Gives back what was for those who have just given up: to
    /// be dropped without the lock.
    #[must_use]
    fn advance(&self, state: &mut State, lane: &Lane) -> Vec<ConcurrencyPermits> {
        let mut late = Vec::new();
        loop {
            let Some(traffic) = state.lanes.get_mut(lane) else { return late };
            let Some((number, waiter)) = traffic.waiting.pop_first() else {
                if traffic.inside == 0 {
                    state.lanes.remove(lane);
                }
                return late;
            };
            if let Some(full) = state.full(&waiter.wants) {
                let (full, is_here) = (full.clone(), full == lane);
                state.lanes.entry(full).or_default().waiting.insert(number, waiter);
                if is_here {
                    return late;
                }
                continue;
            }
            let entered = self.enter_now(state, &waiter.wants);
            late.extend(waiter.let_in.send(entered).err());
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no panic while the lock is held")
    }
}

impl State {
    /// The first of the lanes that has no room.
    fn full<'a>(&self, wants: &'a [Want]) -> Option<&'a Lane> {
        let full = wants
            .iter()
            .find(|(lane, limit)| self.lanes.get(lane).is_some_and(|traffic| traffic.inside >= limit.get()));
        full.map(|(lane, _)| lane)
    }
}

impl Drop for ConcurrencyPermits {
    fn drop(&mut self) {
        if self.of.is_empty() {
            return;
        }
        let mut late = Vec::new();
        let mut state = self.lanes.lock();
        for lane in &self.of {
            state.lanes.get_mut(lane).expect("somebody is in it").inside -= 1;
        }
        for lane in &self.of {
            late.extend(self.lanes.advance(&mut state, lane));
        }
        drop(state);
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut late = Vec::new();
        let mut state = self.lanes.lock();
        for (lane, _) in self.wants {
            if let Some(traffic) = state.lanes.get_mut(lane)
                && traffic.waiting.remove(&self.number).is_some()
            {
                // Who comes after it may have room.
                late = self.lanes.advance(&mut state, lane);
            }
        }
        drop(state);
        drop(late);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use futures_util::future::BoxFuture;

    use super::*;

    fn want(key: &str, limit: usize) -> Want {
        let key = (!key.is_empty()).then(|| key.into());
        (Lane { handler: Name::new("h").unwrap(), key }, NonZeroUsize::new(limit).unwrap())
    }

    fn waiting<'a>(lanes: &'a ConcurrencyLimits, wants: &'a [Want]) -> BoxFuture<'a, ConcurrencyPermits> {
        let mut entered = lanes.enter(wants).boxed();
        assert!((&mut entered).now_or_never().is_none(), "nobody holds it back");
        entered
    }

    #[test]
    fn a_lane_takes_as_many_as_it_may_and_the_rest_in_their_order() {
        let (lanes, two) = (ConcurrencyLimits::default(), [want("", 2)]);
        let (first, second) = (lanes.try_enter(&two).unwrap(), lanes.try_enter(&two).unwrap());
        assert!(lanes.try_enter(&two).is_none());
        let (mut third, mut fourth) = (waiting(&lanes, &two), waiting(&lanes, &two));
        drop(first);
        assert!((&mut fourth).now_or_never().is_none());
        let third = (&mut third).now_or_never().unwrap();
        drop(second);
        drop((fourth.now_or_never().unwrap(), third));
        assert!(lanes.lock().lanes.is_empty());
    }

    #[test]
    fn all_lanes_are_entered_or_none() {
        let lanes = ConcurrencyLimits::default();
        let (both, one) = ([want("", 2), want("k", 1)], [want("", 2)]);
        let first = lanes.try_enter(&both).unwrap();
        let mut second = waiting(&lanes, &both);
        // Nothing is held by who waits for the key.
        let other = lanes.try_enter(&one).unwrap();
        drop(first);
        let second = (&mut second).now_or_never().unwrap();
        assert!(lanes.try_enter(&one).is_none());
        drop((second, other));
        assert!(lanes.lock().lanes.is_empty());
    }

    #[test]
    fn who_waits_in_one_lane_and_then_in_another_keeps_its_place() {
        let lanes = ConcurrencyLimits::default();
        let (both, key) = ([want("", 1), want("k", 1)], [want("k", 1)]);
        let (handler, held) = (lanes.try_enter(&[want("", 1)]).unwrap(), lanes.try_enter(&key).unwrap());
        let (mut early, mut late) = (waiting(&lanes, &both), waiting(&lanes, &key));
        drop(handler);
        assert!((&mut early).now_or_never().is_none());
        drop(held);
        assert!((&mut late).now_or_never().is_none());
        drop((&mut early).now_or_never().unwrap());
        drop((&mut late).now_or_never().unwrap());
        assert!(lanes.lock().lanes.is_empty());
    }

    #[test]
    fn who_gives_up_is_forgotten_and_holds_nobody_back() {
        let (lanes, one, two) = (ConcurrencyLimits::default(), [want("", 1)], [want("", 2)]);
        let first = lanes.try_enter(&one).unwrap();
        let impatient = waiting(&lanes, &one);
        let mut next = waiting(&lanes, &two);
        drop(impatient);
        drop((&mut next).now_or_never().unwrap());
        for _ in 0..1000 {
            drop(waiting(&lanes, &one));
        }
        assert_eq!(lanes.lock().lanes.values().map(|lane| lane.waiting.len()).sum::<usize>(), 0);
        drop(first);
        assert!(lanes.lock().lanes.is_empty());
    }

    #[test]
    fn who_is_let_in_and_gives_up_before_it_knows_leaves_again() {
        let (lanes, one) = (ConcurrencyLimits::default(), [want("", 1)]);
        let first = lanes.try_enter(&one).unwrap();
        let impatient = waiting(&lanes, &one);
        drop(first);
        drop(impatient);
        assert!(lanes.lock().lanes.is_empty());
    }
}
