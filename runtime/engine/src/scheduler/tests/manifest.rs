//! Changes of the schedules of a manifest, up to the point where the manifest is stored.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::super::*;
use super::world::{World, definition};
use crate::handler::HandlerName;
use crate::schedule::ManifestSchedules;

fn report() -> HandlerName {
    HandlerName::new("report").unwrap()
}

fn manifest(schedules: &[(&str, Value)]) -> ManifestSchedules {
    schedules.iter().map(|(name, json)| ((*name).to_owned(), definition(json.clone()))).collect()
}

async fn push(world: &World, schedules: &[(&str, Value)]) {
    world.scheduler.change_manifest(&report(), manifest(schedules)).await.unwrap().finish().await.unwrap();
}

#[tokio::test]
async fn undone_change_leaves_everything_as_it_was() {
    let world = World::new();
    push(&world, &[("gone", json!({"every": "1h"})), ("kept", json!({"every": "1h"}))]).await;
    world.scheduler.pause("gone").await.unwrap();
    let before = world.scheduler.list().await.unwrap();
    let new = [("kept", json!({"every": "2h"})), ("new", json!({"every": "1h"}))];
    let change = world.scheduler.change_manifest(&report(), manifest(&new)).await.unwrap();
    let stored = world.store.schedules().await.unwrap();
    assert_eq!(stored.len(), 3, "nothing is removed before the manifest is stored");
    assert!(stored[0].is_paused);
    change.undo().await;
    assert_eq!(world.scheduler.list().await.unwrap(), before);
}

#[tokio::test]
async fn start_finishes_what_a_crash_has_left() {
    for (stored, expected) in [(true, &["kept", "new"][..]), (false, &["gone", "kept"])] {
        let mut world = World::new();
        let old = [("gone", json!({"every": "1h"})), ("kept", json!({"every": "1h"}))];
        push(&world, &old).await;
        world.scheduler.pause("gone").await.unwrap();
        world.put("other", json!({"every": "1h"})).await;
        let new = [("kept", json!({"every": "2h"})), ("new", json!({"every": "1h"}))];
        drop(world.scheduler.change_manifest(&report(), manifest(&new)).await.unwrap());
        world.restart();
        let truth = manifest(if stored { &new } else { &old });
        world.scheduler.reconcile(BTreeMap::from([(report(), truth.clone())]), &BTreeSet::new()).await.unwrap();
        let all = world.scheduler.list().await.unwrap();
        let owned: Vec<_> = all.iter().filter(|status| status.owner.is_some()).collect();
        assert_eq!(owned.iter().map(|status| status.name.as_str()).collect::<Vec<_>>(), expected);
        assert!(owned.iter().all(|status| status.definition == truth[&status.name].to_json()));
        assert_eq!(owned[0].is_paused, !stored, "what was paused is still paused");
        assert_eq!(all.len(), expected.len() + 1, "what comes from no manifest stays");
    }
}

#[tokio::test]
async fn start_keeps_schedules_of_a_handler_that_cannot_be_read() {
    let mut world = World::new();
    push(&world, &[("hourly", json!({"every": "1h"}))]).await;
    world.restart();
    world.scheduler.reconcile(BTreeMap::new(), &BTreeSet::from(["report".to_owned()])).await.unwrap();
    assert_eq!(world.scheduler.list().await.unwrap().len(), 1);
    world.scheduler.reconcile(BTreeMap::new(), &BTreeSet::new()).await.unwrap();
    assert_eq!(world.scheduler.list().await.unwrap(), []);
}
