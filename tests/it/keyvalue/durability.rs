//! Data outlives the daemon.

use capstan_tests::Cli;
use rustix::process::Signal;

use super::{daemon, expect};
use crate::CAPSTAN;

#[tokio::test]
async fn data_is_kept_across_a_restart_and_a_push() {
    let (mut daemon, client) = daemon("").await;
    expect(&client, "a", "set x k v", "ok").await;
    expect(&client, "a", "create c", "ok").await;
    expect(&client, "a", "put c o 300000", "ok").await;
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.wait_exit().await.code(), Some(0));
    let daemon = daemon.setup().start();
    let client = daemon.client();
    expect(&client, "a", "get x k", "v").await;
    expect(&client, "a", "verify c o", "300000").await;
    client.push("a", capstan_tests::guests::compiled("store.p2")).await;
    expect(&client, "a", "get x k", "v").await;
}

#[tokio::test]
async fn killed_daemon_has_every_acknowledged_write() {
    let (daemon, client) = daemon("").await;
    let mut runs = Vec::new();
    for handler in ["a", "b"] {
        let mut run = client.run_plain(handler).arg("set-forever").arg("x").open().await;
        run.read_at_least(100).await;
        runs.push((handler, run));
    }
    let mut acknowledged = Vec::new();
    for (handler, mut run) in runs {
        let piece = String::from_utf8(run.read_at_least(1).await.to_vec()).unwrap();
        // The last line may be cut.
        let whole = piece.rsplit_once('\n').map_or("", |(whole, _)| whole);
        acknowledged.push((handler, whole.lines().last().unwrap_or("0").to_owned(), run));
    }
    let (daemon, client) = daemon.kill_and_restart().await;
    for (handler, last, _run) in acknowledged {
        expect(&client, handler, &format!("get x n{last}"), &last).await;
    }
    let data = daemon.setup().folder().join("data");
    let data = data.to_str().unwrap().to_owned();
    let checked = Cli::new(CAPSTAN).args(["store", "check", "--json", "--data", &data]).run().await;
    assert_eq!(checked.code, Some(0), "{checked:?}");
}
