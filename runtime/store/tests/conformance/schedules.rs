//! Schedules, and numbers of events.

use std::time::Duration;

use capstan_engine::job_store::{EventNumbers, Firing, ScheduleRecord};

use crate::work::Work;

fn schedule(work: &Work<'_>, name: &str) -> ScheduleRecord {
    ScheduleRecord {
        name: name.into(),
        definition: serde_json::json!({"cron": "@daily"}),
        is_paused: false,
        next: Some(work.now().wall),
        last: None,
        owner: None,
    }
}

pub(crate) async fn schedule_fires_once_for_each_time(work: &Work<'_>) {
    work.store.put_schedule(schedule(work, "daily")).await.unwrap();
    let (due, next) = (work.now().wall, work.now().after(Duration::from_secs(60)).wall);
    let fire = |job| work.store.fire(work.now(), "daily", due, Some(next), vec![job]);
    let (first, second) = (work.new_job("a"), work.new_job("a"));
    let id = first.id;
    assert_eq!(fire(first).await.unwrap(), Firing::Fired(vec![id]));
    assert_eq!(fire(second).await.unwrap(), Firing::Passed);
    assert_eq!(work.claim_all().await, [id]);
    let stored = work.store.schedules().await.unwrap();
    assert_eq!((stored[0].next, stored[0].last), (Some(next), Some(due)));
    // The last firing of a one-shot schedule.
    assert_eq!(work.store.fire(work.now(), "daily", next, None, vec![]).await.unwrap(), Firing::Fired(vec![]));
    assert_eq!(work.store.fire(work.now(), "daily", next, None, vec![]).await.unwrap(), Firing::Passed);
}

pub(crate) async fn paused_or_unknown_schedule_does_not_fire(work: &Work<'_>) {
    let paused = ScheduleRecord { is_paused: true, ..schedule(work, "paused") };
    let due = work.now().wall;
    work.store.put_schedule(paused).await.unwrap();
    for name in ["paused", "unknown"] {
        let fired = work.store.fire(work.now(), name, due, None, vec![work.new_job("a")]).await;
        assert_eq!(fired.unwrap(), Firing::Passed);
    }
    assert_eq!(work.claim_all().await, []);
}

pub(crate) async fn event_numbers_are_those_that_were_put_last(work: &Work<'_>) {
    assert_eq!(work.store.event_numbers().await.unwrap(), None);
    for last in [None, Some(7)] {
        let numbers = EventNumbers { first: 5, reserved: 1 << 40, last };
        work.store.put_event_numbers(numbers).await.unwrap();
        assert_eq!(work.store.event_numbers().await.unwrap(), Some(numbers));
    }
}

pub(crate) async fn schedules_are_listed_replaced_and_removed(work: &Work<'_>) {
    let (a, b) = (schedule(work, "a"), schedule(work, "b"));
    work.store.put_schedule(b.clone()).await.unwrap();
    work.store.put_schedule(a.clone()).await.unwrap();
    let changed =
        ScheduleRecord { definition: serde_json::json!({"every": 5}), next: None, owner: Some("report".into()), ..b };
    work.store.put_schedule(changed.clone()).await.unwrap();
    assert_eq!(work.store.schedules().await.unwrap(), [a, changed.clone()]);
    assert!(work.store.remove_schedule("a").await.unwrap());
    assert!(!work.store.remove_schedule("a").await.unwrap());
    assert_eq!(work.store.schedules().await.unwrap(), [changed]);
}
