//! Events: what happened, in one order, for anyone who asks since when.
//!
//! One sequencer numbers events without a gap and keeps the last of them in a ring. A subscriber is a place in that ring: replay and live
//! are the same reading, so nothing is lost or repeated where they join. Publishing never waits for anybody: whoever reads too slowly
//! finds a gap, and is told how long it is.

mod filter;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

pub use self::filter::{Filter, FilterError};
use crate::job::JobId;

/// Events kept for those who come later, by default.
pub const DEFAULT_CAPACITY: usize = 4096;

/// The sequencer; clones are the same.
#[derive(Clone, Debug)]
pub struct Events(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    capacity: usize,
    ring: Mutex<VecDeque<Arc<Event>>>,
    /// The number of the last event; 0 before the first.
    last: watch::Sender<u64>,
    /// Gaps that subscribers were told of.
    gaps: AtomicU64,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// 1 for the first of a daemon's life, and one more for each.
    pub seq: u64,
    pub at: Timestamp,
    #[serde(flatten)]
    pub what: EventKind,
}

/// What can happen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event")]
pub enum EventKind {
    #[serde(rename = "handler.put")]
    HandlerPut {
        handler: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        digest: Option<String>,
        replaced: bool,
    },
    #[serde(rename = "handler.remove")]
    HandlerRemove { handler: String },
    /// It waits for a slot.
    #[serde(rename = "job.queue")]
    JobQueue { job: JobId, handler: String },
    #[serde(rename = "job.start")]
    JobStart {
        job: JobId,
        handler: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        parent: Option<JobId>,
    },
    #[serde(rename = "job.end")]
    JobEnd { job: JobId, handler: String, outcome: String, exit_code: u8 },
    /// The daemon was told to read its configuration anew, and has or could not.
    #[serde(rename = "daemon.reload")]
    DaemonReload {
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<String>,
    },
    /// The daemon was asked to stop: it takes no more jobs, and tells of those that it has until they have ended.
    #[serde(rename = "daemon.stop")]
    DaemonStop,
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

/// A place in the order of events.
#[derive(Debug)]
pub struct Subscription {
    events: Events,
    next: u64,
    last: watch::Receiver<u64>,
}

impl Events {
    /// A sequencer that keeps the last `capacity` events.
    pub fn new(capacity: usize) -> Self {
        let ring = Mutex::new(VecDeque::with_capacity(capacity.min(DEFAULT_CAPACITY)));
        Self(Arc::new(Inner { capacity: capacity.max(1), ring, last: watch::Sender::new(0), gaps: AtomicU64::new(0) }))
    }

    /// Numbers and keeps `what`; returns its number.
    pub fn publish(&self, what: EventKind) -> u64 {
        self.publish_with(what, || ())
    }

    /// Numbers and keeps `what`, and does `also` before anybody can read the event. Whoever sees that `also` was done finds the event.
    ///
    /// `also` runs under the lock of the events: it must not wait, and must not read or publish events.
    pub(crate) fn publish_with(&self, what: EventKind, also: impl FnOnce()) -> u64 {
        let mut ring = self.0.ring.lock().expect("no panic while the lock is held");
        let seq = *self.0.last.borrow() + 1;
        if ring.len() == self.0.capacity {
            ring.pop_front();
        }
        // A clock that was put back does not put events out of their order.
        let at = ring.back().map_or(Timestamp::MIN, |last| last.at).max(Timestamp::now());
        ring.push_back(Arc::new(Event { seq, at, what }));
        // Those who are woken here wait for the lock.
        self.0.last.send_replace(seq);
        also();
        seq
    }

    /// The number of the last event; 0 before the first.
    pub fn last(&self) -> u64 {
        *self.0.last.borrow()
    }

    /// How often a subscriber was told of a gap.
    pub fn gaps(&self) -> u64 {
        self.0.gaps.load(Ordering::Relaxed)
    }

    /// How many read them now.
    pub fn subscribers(&self) -> usize {
        self.0.last.receiver_count()
    }

    /// Reads everything after the event numbered `seq`.
    pub fn after(&self, seq: u64) -> Subscription {
        Subscription { events: self.clone(), next: seq.saturating_add(1), last: self.0.last.subscribe() }
    }

    /// Reads everything from `time` on that is still kept. Where that is all there is, what was dropped is a gap: it may have been later.
    pub fn since(&self, time: Timestamp) -> Subscription {
        let ring = self.0.ring.lock().expect("no panic while the lock is held");
        let before = ring.partition_point(|event| event.at < time);
        let seq = match ring.get(before) {
            Some(_) if before == 0 => 0,
            Some(event) => event.seq - 1,
            None => *self.0.last.borrow(),
        };
        drop(ring);
        self.after(seq)
    }

    /// Reads what happens from now on.
    pub fn live(&self) -> Subscription {
        self.after(self.last())
    }

    fn get(&self, seq: u64) -> Option<Item> {
        let ring = self.0.ring.lock().expect("no panic while the lock is held");
        let first = ring.front()?.seq;
        if seq < first {
            return Some(Item::Gap { missed: first - seq });
        }
        let at = usize::try_from(seq - first).ok()?;
        ring.get(at).cloned().map(Item::Event)
    }
}

impl Subscription {
    /// What is there now; `None` where everything was read.
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

    /// Waits for the next. Cancel-safe.
    pub async fn next(&mut self) -> Item {
        loop {
            if let Some(item) = self.try_next() {
                return item;
            }
            let next = self.next;
            self.last.wait_for(|last| *last >= next).await.expect("the subscription holds the sender");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn removed(handler: u64) -> EventKind {
        EventKind::HandlerRemove { handler: handler.to_string() }
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
    fn replay_and_live_join_without_loss_or_repeat() {
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
    fn who_reads_too_slowly_is_told_what_was_missed() {
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
    fn a_time_finds_its_place() {
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
    async fn waiting_ends_with_the_next_event() {
        let events = Events::new(10);
        let mut live = events.live();
        let (item, ()) = tokio::join!(live.next(), async {
            events.publish(removed(1));
        });
        assert!(matches!(item, Item::Event(event) if event.what == removed(1)));
    }

    #[test]
    fn publishers_at_once_are_put_in_one_order() {
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
    fn a_million_events_are_kept_waiting_by_nobody_who_does_not_read() {
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
    async fn a_thousand_publishers_are_heard_in_the_order_of_their_numbers() {
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
            assert!(event.at >= before, "{} is told after {before}", event.at);
            before = event.at;
            names.push(event.what.handler().unwrap().parse::<u64>().unwrap());
        }
        names.sort_unstable();
        assert_eq!(names, (0..1000).collect::<Vec<_>>());
        let mut numbers = publishers.join_all().await;
        numbers.sort_unstable();
        assert_eq!(numbers, (1..=1000).collect::<Vec<_>>(), "each publisher has its own number");
    }

    #[test]
    fn an_event_is_one_flat_object() {
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
