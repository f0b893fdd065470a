//! [`Events`]: publishes what happens in the engine, in one order, with replay for those who subscribe later.
//!
//! Events are numbered without gaps, and the last of them stay in a ring. A [`Subscription`] is a position in that ring. It reads stored and
//! new events in the same way, so that nothing is lost or repeated in between. Publishing never waits: a subscriber that reads too slowly
//! gets a gap with the number of events that it missed.

mod filter;
mod kind;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use jiff::Timestamp;
use tokio::sync::Notify;

pub use self::filter::{Filter, FilterError};
pub use self::kind::{Event, EventKind};
use crate::notified;

/// The number of events that are stored for later subscribers, by default.
pub const DEFAULT_CAPACITY: usize = 4096;

/// The publisher of events. Clones are the same publisher.
#[derive(Clone, Debug)]
pub struct Events(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    capacity: usize,
    ring: Mutex<VecDeque<Event>>,
    /// The number of the last event, or 0 before the first.
    last: AtomicU64,
    /// Notified of each event.
    published: Notify,
    subscribers: AtomicUsize,
    /// The number of gaps that subscribers have read.
    gaps: AtomicU64,
}

/// What a subscriber reads.
#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    Event(Arc<Event>),
    /// Events that were dropped before they were read.
    Gap {
        missed: u64,
    },
}

/// A position in the order of events.
#[derive(Debug)]
pub struct Subscription {
    events: Events,
    next: u64,
}

impl Events {
    /// Returns a publisher that stores the last `capacity` events.
    pub fn new(capacity: usize) -> Self {
        let ring = Mutex::new(VecDeque::with_capacity(capacity.min(DEFAULT_CAPACITY)));
        Self(Arc::new(Inner {
            capacity: capacity.max(1),
            ring,
            last: AtomicU64::new(0),
            published: Notify::new(),
            subscribers: AtomicUsize::new(0),
            gaps: AtomicU64::new(0),
        }))
    }

    /// Numbers and stores an event. Returns its number.
    pub fn publish(&self, kind: EventKind) -> u64 {
        self.publish_with(kind, || ())
    }

    /// Numbers and stores an event, and calls `also` before anybody can read the event. A caller that sees the effect of `also` finds the
    /// event too.
    ///
    /// `also` runs under the lock of the events. It must not wait, and must not read or publish events.
    pub(crate) fn publish_with(&self, kind: EventKind, also: impl FnOnce()) -> u64 {
        let mut ring = self.lock();
        let seq = self.last() + 1;
        if ring.len() == self.0.capacity {
            ring.pop_front();
        }
        // If the clock is set back, the times of events still increase.
        let at = ring.back().map_or(Timestamp::MIN, |last| last.at).max(Timestamp::now());
        ring.push_back(Event { seq, at, kind });
        self.0.last.store(seq, Ordering::Release);
        also();
        drop(ring);
        if self.subscribers() > 0 {
            self.0.published.notify_waiters();
        }
        seq
    }

    /// Returns the number of the last event, or 0 before the first.
    pub fn last(&self) -> u64 {
        self.0.last.load(Ordering::Acquire)
    }

    /// Returns how many gaps subscribers have read.
    pub fn gaps(&self) -> u64 {
        self.0.gaps.load(Ordering::Relaxed)
    }

    /// Returns the number of current subscribers.
    pub fn subscribers(&self) -> usize {
        self.0.subscribers.load(Ordering::SeqCst)
    }

    /// Subscribes to all events after the one numbered `seq`.
    pub fn after(&self, seq: u64) -> Subscription {
        self.0.subscribers.fetch_add(1, Ordering::SeqCst);
        Subscription { events: self.clone(), next: seq.saturating_add(1) }
    }

    /// Subscribes to all events at `time` or later. If even the oldest stored event is that late, the events dropped before it are a gap,
    /// because they may have been late enough too.
    pub fn since(&self, time: Timestamp) -> Subscription {
        let ring = self.lock();
        let earlier = ring.partition_point(|event| event.at < time);
        let seq = match ring.get(earlier) {
            Some(_) if earlier == 0 => 0,
            Some(event) => event.seq - 1,
            None => self.last(),
        };
        drop(ring);
        self.after(seq)
    }

    /// Subscribes to all events from now on.
    pub fn live(&self) -> Subscription {
        self.after(self.last())
    }

    fn get(&self, seq: u64) -> Option<Item> {
        let ring = self.lock();
        let first = ring.front()?.seq;
        if seq < first {
            return Some(Item::Gap { missed: first - seq });
        }
        let index = usize::try_from(seq - first).ok()?;
        ring.get(index).cloned().map(|event| Item::Event(Arc::new(event)))
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Event>> {
        self.0.ring.lock().expect("no panic while the lock is held")
    }
}

impl Subscription {
    /// Returns the next item, or `None` if everything was read.
    pub fn try_next(&mut self) -> Option<Item> {
        let item = self.events.get(self.next)?;
        self.next += match &item {
            Item::Event(_) => 1,
            Item::Gap { missed } => {
                self.events.0.gaps.fetch_add(1, Ordering::Relaxed);
                *missed
            }
        };
        Some(item)
    }

    /// Waits for the next item. Cancel-safe.
    pub async fn next(&mut self) -> Item {
        let events = self.events.clone();
        notified::wait_for(&events.0.published, || self.try_next()).await
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.events.0.subscribers.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn removed(handler: u64) -> EventKind {
        EventKind::HandlerRemove { handler: handler.to_string().into() }
    }

    fn seqs(subscription: &mut Subscription) -> Vec<u64> {
        std::iter::from_fn(|| subscription.try_next())
            .map(|item| match item {
                Item::Event(event) => event.seq,
                Item::Gap { missed } => panic!("a gap of {missed}"),
            })
            .collect()
    }

    #[test]
    fn replay_and_live_events_join_without_loss_or_repeat() {
        let events = Events::new(10);
        for name in 1..=3 {
            events.publish(removed(name));
        }
        let mut all = events.after(0);
        let mut later = events.after(2);
        let mut live = events.live();
        events.publish(removed(4));
        assert_eq!(seqs(&mut all), [1, 2, 3, 4]);
        assert_eq!(seqs(&mut later), [3, 4]);
        assert_eq!(seqs(&mut live), [4]);
        assert_eq!(all.try_next(), None);
    }

    #[test]
    fn slow_subscriber_reads_gap_with_missed_count() {
        let events = Events::new(4);
        let mut slow = events.after(0);
        for name in 1..=10 {
            events.publish(removed(name));
        }
        assert_eq!(slow.try_next(), Some(Item::Gap { missed: 6 }));
        assert_eq!(seqs(&mut slow), [7, 8, 9, 10]);
        assert_eq!(events.gaps(), 1);
    }

    #[test]
    fn since_time_starts_at_first_later_event() {
        let events = Events::new(10);
        events.publish(removed(1));
        let between = Timestamp::now();
        events.publish(removed(2));
        assert_eq!(seqs(&mut events.since(between)), [2]);
        assert_eq!(seqs(&mut events.since(Timestamp::UNIX_EPOCH)), [1, 2]);
        let short = Events::new(2);
        (1..=5).for_each(|name| {
            short.publish(removed(name));
        });
        assert_eq!(short.since(Timestamp::UNIX_EPOCH).try_next(), Some(Item::Gap { missed: 3 }));
        let mut future = events.since(Timestamp::MAX);
        assert_eq!(future.try_next(), None);
        events.publish(removed(3));
        assert_eq!(seqs(&mut future), [3]);
    }

    #[tokio::test]
    async fn next_waits_for_next_event() {
        let events = Events::new(10);
        let mut live = events.live();
        let (item, ()) = tokio::join!(live.next(), async {
            events.publish(removed(1));
        });
        assert!(matches!(item, Item::Event(event) if event.kind == removed(1)));
    }

    #[test]
    fn concurrent_publishers_get_one_order() {
        let events = Events::new(100_000);
        std::thread::scope(|scope| {
            for publisher in 0..8 {
                let events = &events;
                scope.spawn(move || {
                    for _ in 0..1000 {
                        events.publish(removed(publisher));
                    }
                });
            }
        });
        assert_eq!(seqs(&mut events.after(0)), (1..=8000).collect::<Vec<_>>());
    }

    #[test]
    fn idle_subscribers_do_not_delay_a_million_events() {
        let events = Events::new(1000);
        let mut stuck: Vec<_> = (0..100).map(|_| events.live()).collect();
        for name in 0..1_000_000 {
            events.publish(removed(name));
        }
        let ring = events.0.ring.lock().unwrap();
        assert!(
            ring.len() == 1000 && ring.capacity() < 10_000,
            "{} events in the room of {}",
            ring.len(),
            ring.capacity()
        );
        drop(ring);
        assert_eq!(events.subscribers(), 100);
        for subscription in &mut stuck {
            assert_eq!(subscription.try_next(), Some(Item::Gap { missed: 999_000 }));
            assert_eq!(seqs(subscription), (999_001..=1_000_000).collect::<Vec<_>>());
        }
        drop(stuck);
        assert_eq!((events.gaps(), events.subscribers()), (100, 0));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn events_of_a_thousand_publishers_are_read_in_number_order() {
        let events = Events::new(DEFAULT_CAPACITY);
        let mut live = events.live();
        let mut publishers = tokio::task::JoinSet::new();
        for name in 0..1000 {
            let events = events.clone();
            publishers.spawn(async move { events.publish(removed(name)) });
        }
        let (mut names, mut before) = (Vec::new(), Timestamp::MIN);
        for seq in 1..=1000 {
            let Item::Event(event) = live.next().await else { panic!("a gap") };
            assert_eq!(event.seq, seq);
            assert!(event.at >= before, "{} comes after {before}", event.at);
            before = event.at;
            names.push(event.kind.handler().unwrap().parse::<u64>().unwrap());
        }
        names.sort_unstable();
        assert_eq!(names, (0..1000).collect::<Vec<_>>());
        let mut numbers = publishers.join_all().await;
        numbers.sort_unstable();
        assert_eq!(numbers, (1..=1000).collect::<Vec<_>>(), "each publisher has its own number");
    }

    #[test]
    fn event_serializes_as_one_flat_object() {
        let events = Events::new(1);
        events.publish(removed(1));
        let Some(Item::Event(event)) = events.after(0).try_next() else { panic!("no event") };
        let json = serde_json::to_value(&*event).unwrap();
        assert_eq!(
            (&json["seq"], &json["event"], &json["handler"]),
            (&1.into(), &"handler.remove".into(), &"1".into())
        );
        assert_eq!(serde_json::from_value::<Event>(json).unwrap(), *event);
    }
}
