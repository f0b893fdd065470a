//! Runs that are cancelled in host calls: when their end is reported, their slots are free.

use capstan_tests::{Client, Daemon, Setup, eventually, guests};
use serde_json::json;
use tokio::task::JoinSet;

use crate::jobs::api::{submit, wait_for_end};
use crate::{CAPSTAN, oracle};

/// The number of concurrent runs, and of rounds.
const AT_A_TIME: u64 = 500;
const ROUNDS: usize = 20;
/// The number of concurrent clients.
const CLIENTS: usize = 16;

/// Calls `act` for each item, with at most `CLIENTS` calls at a time, and returns the results.
async fn for_each<T, R, F>(items: Vec<T>, act: impl Fn(T) -> F) -> Vec<R>
where
    F: Future<Output = R> + Send + 'static,
    R: Send + 'static,
{
    let (mut going, mut done) = (JoinSet::new(), Vec::new());
    for item in items {
        if going.len() == CLIENTS {
            done.extend(going.join_next().await.map(Result::unwrap));
        }
        going.spawn(act(item));
    }
    done.extend(going.join_all().await);
    done
}

async fn serving() -> (Daemon, Client) {
    let setup = Setup::new(CAPSTAN).config(&format!("[limits]\nruns = {AT_A_TIME}\n[history]\njobs = 1000\n"));
    let daemon = setup.start();
    let client = daemon.client();
    client.push("sleep", guests::limits::SLEEP_FOR_EVER).await;
    client.push("read", guests::limits::READ_STDIN_FOREVER).await;
    client.push("probe", guests::compiled("probe.p2")).await;
    (daemon, client)
}

#[tokio::test]
async fn runs_killed_in_host_calls_free_their_slots_at_once() {
    let (mut daemon, client) = serving().await;
    assert_eq!(oracle::in_use(&client).await, 0);
    for _ in 0..ROUNDS {
        let jobs = (0..AT_A_TIME).map(|number| match number % 3 {
            0 => json!({"handler": "sleep"}),
            1 => json!({"handler": "read", "stdin_later": true}),
            _ => json!({"handler": "probe", "args": ["sleep", "3600"]}),
        });
        let submitted = |job| {
            let client = client.clone();
            async move { submit(&client, &job).await }
        };
        let ids = for_each(jobs.collect(), submitted).await;
        eventually("all jobs to run", async || (client.running().await == AT_A_TIME).then_some(())).await;
        let kinds = for_each(ids, |id| {
            let client = client.clone();
            async move {
                client.post(&format!("/v1/jobs/{id}/kill")).send().await;
                wait_for_end(&client, &id).await["outcome"]["kind"].as_str().map(str::to_owned)
            }
        });
        assert!(kinds.await.iter().all(|kind| kind.as_deref() == Some("cancelled")));
        // The slots must be free now, not only after a while.
        assert_eq!(oracle::in_use(&client).await, 0);
        assert_eq!(client.running().await, 0);
    }
    oracle::still_answers(&mut daemon).await;
}
