//! The registry with concurrent writers and readers.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handlers_can_be_registered_while_jobs_run() {
    let engine = Engine::new(Config { ceiling: Ceiling::default(), runs: 64, queue: 64 });
    engine.register("a", exits(7)).unwrap();
    let writers: Vec<_> = (0..8)
        .map(|writer| {
            let engine = engine.clone();
            tokio::task::spawn_blocking(move || {
                for number in 0..100 {
                    engine.register(&format!("w{writer}.{number}"), exits(0)).unwrap();
                    assert!(engine.register(&format!("w{writer}.{number}"), exits(1)).is_err());
                }
            })
        })
        .collect();
    for _ in 0..10_000 {
        assert_eq!(run(&engine, "a").await, Outcome::Exited { code: 7 });
    }
    for writer in writers {
        writer.await.unwrap();
    }
    assert_eq!(engine.handlers().len(), 801);
    assert!(engine.handlers().is_sorted_by_key(|handler| handler.name().to_string()));
}

#[tokio::test]
async fn job_of_unknown_name_fails_at_once_and_leaves_no_record() {
    let engine = engine();
    assert_eq!(engine.job("late").unwrap_err(), RegistryError::Unknown("late".into()));
    engine.register("late", exits(0)).unwrap();
    assert_eq!(run(&engine, "late").await, Outcome::SUCCESS);
    assert_eq!(engine.history().list(&crate::history::Filter::default(), None, 10).records.len(), 1);
}
