//! The catch-all handler, which answers to names that are not registered.

use tokio::io::AsyncReadExt as _;

use super::*;

/// Returns a handler that prints the name that it was called by.
fn prints_own_name() -> Arc<Native> {
    Native::work("names itself", |mut call: Call| async move {
        call.stdout.write_all(call.name.as_bytes()).await.unwrap();
        Outcome::Exited { code: 9 }
    })
}

#[tokio::test]
async fn catch_all_answers_to_every_valid_unregistered_name() {
    let engine = engine();
    engine.register("own", exits(1)).unwrap();
    engine.register_catch_all(prints_own_name()).unwrap();
    assert_eq!(run(&engine, "own").await, Outcome::Exited { code: 1 });
    for name in ["other", "x", "v1.2_y"] {
        let (stdout, mut printed) = stream::pipe(64);
        let job = engine.job(name).unwrap().stdout(stdout).build().unwrap();
        assert_eq!((job.name(), job.resolved().source()), (name, Source::CatchAll));
        job.start().unwrap();
        let mut text = String::new();
        printed.read_to_string(&mut text).await.unwrap();
        assert_eq!((text.as_str(), job.wait().await.outcome.clone()), (name, Outcome::Exited { code: 9 }));
    }
    for name in ["", "../x", "a b", "-a"] {
        assert!(matches!(engine.job(name), Err(RegistryError::Unknown(_))), "{name:?} reached it");
    }
}

#[tokio::test]
async fn registered_handler_takes_precedence_over_catch_all() {
    let engine = engine();
    engine.register_catch_all(prints_own_name()).unwrap();
    assert_eq!(run(&engine, "late").await, Outcome::Exited { code: 9 });
    engine.put(HandlerName::new("late").unwrap(), exits(2), Timestamp::now(), &Precondition::Absent).unwrap();
    assert_eq!(run(&engine, "late").await, Outcome::Exited { code: 2 });
    engine.remove("late", &Precondition::None).unwrap();
    assert_eq!(run(&engine, "late").await, Outcome::Exited { code: 9 });
}

#[tokio::test]
async fn second_catch_all_is_rejected_and_first_stays() {
    let engine = engine();
    engine.register_catch_all(prints_own_name()).unwrap();
    assert_eq!(engine.register_catch_all(exits(0)), Err(RegistryError::DuplicateCatchAll));
    assert_eq!(run(&engine, "a").await, Outcome::Exited { code: 9 });
}

#[test]
fn catch_all_is_in_no_list_and_cannot_be_removed_by_name() {
    let engine = engine();
    engine.register("a", exits(0)).unwrap();
    engine.register_catch_all(prints_own_name()).unwrap();
    assert_eq!((engine.handlers().len(), engine.counts().handlers), (1, 1));
    assert!(matches!(engine.remove("b", &Precondition::None), Err(RegistryError::Unknown(_))));
    assert_eq!(engine.resolve("b").unwrap().source(), Source::CatchAll);
}
