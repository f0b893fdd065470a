//! Objects in containers.

use capstan_tests::eventually;

use super::{daemon, expect, run};

const MEBIBYTE: u64 = 1 << 20;

#[tokio::test]
async fn objects_are_written_listed_copied_and_removed() {
    let (_daemon, client) = daemon("").await;
    for (args, printed) in [
        ("container c", "false"),
        ("put c o 1", "error: there is no container \"c\""),
        ("create c", "ok"),
        ("create c", "error: there is a container \"c\" already"),
        ("container c", "true"),
        ("put c o 700000", "ok"),
        ("verify c o", "700000"),
        ("size c o", "700000"),
        ("part c o 250 252", "[250, 0, 1]"),
        ("part c o 699999 800000", "[211]"),
        ("part c o 700000 800000", "[]"),
        ("put c empty 0", "ok"),
        ("verify c empty", "0"),
        ("copy c o p", "ok"),
        ("move c p q", "ok"),
        ("verify c q", "700000"),
        ("objects c", "o empty q"),
        ("remove-while-reading c q", "700000"),
        ("has c q", "false"),
        ("verify c q", "error: there is no object \"q\""),
        ("rm c q", "ok"),
        ("clear c", "ok"),
        ("objects c", ""),
        ("remove c", "ok"),
        ("container c", "false"),
    ] {
        expect(&client, "a", args, printed).await;
    }
    expect(&client, "a", "create c", "ok").await;
    expect(&client, "b", "container c", "false").await;
}

#[tokio::test]
async fn fifty_mebibytes_stream_in_both_directions_with_little_memory() {
    let (daemon, client) = daemon("[policy]\nmemory = \"16MiB\"\n").await;
    expect(&client, "a", "create c", "ok").await;
    let before = daemon.peak_memory();
    expect(&client, "a", "put c o 52428800", "ok").await;
    expect(&client, "a", "verify c o", "52428800").await;
    let grown = daemon.peak_memory() - before;
    assert!(grown < 48 * MEBIBYTE, "the daemon grew by {grown} bytes");
    expect(
        &client,
        "a",
        "put c p 20000000",
        "error: quota exceeded: the handler may keep 67108864 bytes (limit `keyvalue`)",
    )
    .await;
    expect(&client, "a", "objects c", "o").await;
}

#[tokio::test]
async fn object_of_a_run_that_ends_or_is_cancelled_leaves_nothing() {
    let (_daemon, client) = daemon("").await;
    expect(&client, "a", "create c", "ok").await;
    expect(&client, "a", "put-half c o 3000000", "ok").await;
    let mut exchange =
        ["put-wait", "c", "o", "3000000"].iter().fold(client.run_plain("a"), |call, arg| call.arg(arg)).open().await;
    exchange.read_at_least(7).await;
    let kept = async || client.get("/v1/handlers/a/buckets").send().await.json()["usage"]["bytes"].as_u64().unwrap();
    // The client goes away, which cancels the run.
    drop(exchange);
    eventually("only the container is kept", async || (kept().await == 1).then_some(())).await;
    let reply = run(&client, "a", "objects c").await;
    assert_eq!(reply.text().trim(), "");
}
