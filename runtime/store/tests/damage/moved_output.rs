//! Output that moves to another segment while it is read.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use capstan_engine::job_store::JobStore as _;

use crate::filled::{Filled, read, sizes};

/// Rounds, in each of which a vacuum moves the output.
const ROUNDS: usize = 30;

/// A reader takes what the database says of one moment, and then reads segments. Meanwhile a vacuum may have moved the output, and removed
/// the segment that had it.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn output_that_moves_while_it_is_read_has_no_gap() {
    let filled = Filled::new();
    let store = Arc::new(filled.open());
    let kept = filled.fill(&store, 1, 600_000).await[0];
    let is_done = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (0..2)
        .map(|_| {
            let (store, is_done) = (store.clone(), is_done.clone());
            tokio::spawn(async move {
                let mut reads = 0;
                while !is_done.load(Ordering::Relaxed) {
                    let (_, page) = read(&store, kept).await.unwrap().unwrap();
                    assert_eq!(sizes(&page), (600_000, 0), "after {reads} reads");
                    reads += 1;
                }
                reads
            })
        })
        .collect();
    let mut moved = 0;
    for _ in 0..ROUNDS {
        let other = filled.fill(&store, 1, 900_000).await[0];
        store.remove(other).await.unwrap();
        moved += store.vacuum().await.unwrap().moved;
    }
    is_done.store(true, Ordering::Relaxed);
    for reader in readers {
        assert!(reader.await.unwrap() > 0);
    }
    assert!(moved >= ROUNDS as u64, "{moved} records were moved");
}
