//! [`Events`]: publishes what happens in the engine, in one order, with replay for those who subscribe later.
//!
//! Events are numbered without gaps, and the last of them stay in a ring. A [`Subscription`] is a position in that ring. It reads stored and
//! new events in the same way, so that nothing is lost or repeated in between. Publishing never waits: a subscriber that reads too slowly
//! gets a gap with the number of events that it missed.
//!
//! Numbers go on after a restart: a queue reserves them in the store of its jobs, see [`Queue::continue_event_numbers`]. Events of earlier processes
//! are not kept, so a subscriber who asks for them learns that some are missing.
//!
//! [`Queue::continue_event_numbers`]: crate::queue::Queue::continue_event_numbers

mod filter;
mod kind;
mod ring;

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use jiff::Timestamp;
use tokio::sync::Notify;

pub use self::filter::{Filter, FilterError};
pub use self::kind::{Event, EventKind};
pub use self::ring::Item;
use self::ring::Ring;
use crate::job_store::EventNumbers;
use crate::notified;

/// The number of events that are stored for later subscribers, by default.
pub const DEFAULT_CAPACITY: usize = 4096;

/// The publisher of events. Clones are the same publisher.
#[derive(Clone, Debug)]
pub struct Events(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    ring: Mutex<Ring>,
    /// The number of the last event, or 0 before the first.
    last: AtomicU64,
    /// Notified of each event.
    published: Notify,
    /// Notified when more numbers must be reserved.
    few_numbers: Notify,
    subscribers: AtomicUsize,
    /// The number of gaps that subscribers have read.
    gaps: AtomicU64,
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
        Self(Arc::new(Inner {
            ring: Mutex::new(Ring::new(capacity, DEFAULT_CAPACITY)),
            last: AtomicU64::new(0),
            published: Notify::new(),
            few_numbers: Notify::new(),
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
        if ring.is_closed {
            also();
            return self.last();
        }
        let seq = self.last() + 1;
        ring.push(seq, kind);
        self.0.last.store(seq, Ordering::Release);
        also();
        if seq >= ring.reserve_at {
            ring.reserve_at = u64::MAX;
            self.0.few_numbers.notify_one();
        }
        drop(ring);
        if self.subscribers() > 0 {
            self.0.published.notify_waiters();
        }
        seq
    }

    /// Makes `first` the number of the first event, also of those that were published already. Nobody may have subscribed yet. `earlier` are the
    /// numbers of the process before this one.
    pub(crate) fn start_at(&self, first: u64, earlier: Option<EventNumbers>) {
        let mut ring = self.lock();
        let last = ring.start_at(first, earlier);
        self.0.last.store(last, Ordering::Release);
    }

    /// Asks for more numbers from the event with the number `seq` on.
    pub(crate) fn reserve_at(&self, seq: u64) {
        let mut ring = self.lock();
        if self.last() >= seq {
            self.0.few_numbers.notify_one();
        } else {
            ring.reserve_at = seq;
        }
    }

    /// Waits until more numbers must be reserved. Cancel-safe.
    pub(crate) async fn wait_for_reservation(&self) {
        self.0.few_numbers.notified().await;
    }

    /// Publishes no more events. Returns the number of the last one.
    pub(crate) fn close(&self) -> u64 {
        self.lock().is_closed = true;
        self.last()
    }

    /// Returns the number of the last event; before the first of this process, that of the last one before it, or 0.
    pub fn last(&self) -> u64 {
        self.0.last.load(Ordering::Acquire)
    }

    /// Returns how many events this process has published.
    pub fn count(&self) -> u64 {
        let ring = self.lock();
        self.last() + 1 - ring.first()
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
        self.subscribe(seq.saturating_add(1))
    }

    fn subscribe(&self, next: u64) -> Subscription {
        self.0.subscribers.fetch_add(1, Ordering::SeqCst);
        Subscription { events: self.clone(), next }
    }

    /// Subscribes to all events at `time` or later. If even the oldest stored event is that late, the events dropped before it are a gap,
    /// because they may have been late enough too.
    pub fn since(&self, time: Timestamp) -> Subscription {
        let next = self.lock().since(time, self.last());
        self.subscribe(next)
    }

    /// Subscribes to all events from now on.
    pub fn live(&self) -> Subscription {
        self.after(self.last())
    }

    fn lock(&self) -> MutexGuard<'_, Ring> {
        self.0.ring.lock().expect("no panic while the lock is held")
    }
}

impl Subscription {
    /// Returns the number of the event after which it continues.
    pub fn position(&self) -> u64 {
        self.next.saturating_sub(1)
    }

    /// Returns the next item, or `None` if everything was read.
    pub fn try_next(&mut self) -> Option<Item> {
        let (item, next) = self.events.lock().get(self.next)?;
        self.next = next;
        if !matches!(item, Item::Event(_)) {
            self.events.0.gaps.fetch_add(1, Ordering::Relaxed);
        }
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
                gap => panic!("{gap:?}"),
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

    #[test]
    fn numbers_go_on_after_a_restart_and_subscribers_learn_what_is_missing() {
        let clean = EventNumbers { first: 11, reserved: 20, last: Some(20) };
        let killed = EventNumbers { last: None, ..clean };
        for (earlier, after, missed) in [
            (clean, 12, Some(Some(8))),
            (clean, 19, Some(Some(1))),
            (clean, 20, None),
            (clean, 5, Some(None)),
            (clean, 0, Some(None)),
            (killed, 12, Some(None)),
            (killed, 20, None),
        ] {
            let events = Events::new(10);
            events.publish(removed(1));
            events.start_at(earlier.next(), Some(earlier));
            assert_eq!(events.publish(removed(2)), 22);
            let mut subscription = events.after(after);
            if let Some(missed) = missed {
                let Some(Item::Restart { missed: found, .. }) = subscription.try_next() else { panic!("no notice") };
                assert_eq!(found, missed, "{earlier:?} {after}");
            }
            assert_eq!(seqs(&mut subscription), [21, 22]);
            let mut all = events.since(Timestamp::UNIX_EPOCH);
            assert!(matches!(all.try_next(), Some(Item::Restart { missed: None, .. })));
            assert_eq!(seqs(&mut all), [21, 22]);
            assert_eq!((events.close(), events.count()), (22, 2));
            assert_eq!((events.publish(removed(3)), events.last()), (22, 22));
        }
        // Without any event since, the notice comes too.
        let events = Events::new(10);
        events.start_at(21, Some(killed));
        assert!(matches!(events.after(7).try_next(), Some(Item::Restart { missed: None, .. })));
        assert_eq!((events.live().try_next(), events.last()), (None, 20));
    }

    #[tokio::test]
    async fn numbers_are_asked_for_before_they_are_used_up() {
        let events = Events::new(10);
        events.reserve_at(2);
        events.publish(removed(1));
        let (_, ()) = tokio::join!(async { events.publish(removed(2)) }, events.wait_for_reservation());
        events.reserve_at(2);
        events.wait_for_reservation().await;
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
        let (kept, room) = events.0.ring.lock().unwrap().sizes();
        assert!(kept == 1000 && room < 10_000, "{kept} events in the room of {room}");
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
