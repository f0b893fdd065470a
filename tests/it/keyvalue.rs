//! What handlers keep between their runs: `wasi:keyvalue`, `wasi:blobstore`, and the API for operators. Also `wasi:config` and `wasi:logging`. The
//! guest is `store.p2`.

mod durability;
mod objects;
mod operators;

use capstan_tests::{Client, Daemon, Reply, Setup, guests};

use crate::CAPSTAN;

/// Starts a daemon with the guest as the handlers `a` and `b`.
async fn daemon(config: &str) -> (Daemon, Client) {
    let daemon = Setup::new(CAPSTAN).config(config).start();
    let client = daemon.client();
    for handler in ["a", "b"] {
        client.push(handler, guests::compiled("store.p2")).await;
    }
    (daemon, client)
}

async fn run(client: &Client, handler: &str, args: &str) -> Reply {
    let call = client.run_plain(handler);
    args.split(' ').fold(call, |call, arg| call.arg(arg)).send_until_cut().await
}

/// Runs the guest and checks what it prints.
async fn expect(client: &Client, handler: &str, args: &str, printed: &str) {
    let reply = run(client, handler, args).await;
    assert_eq!(reply.text().trim_end(), printed, "{args}: {reply:?}");
}

#[tokio::test]
async fn operations_of_both_drafts_share_one_store() {
    let (_daemon, client) = daemon("").await;
    for (args, printed) in [
        ("get x k", "none"),
        ("set x k v", "ok"),
        ("get x k", "v"),
        ("exists x k", "true"),
        ("old get x k", "v"),
        ("old set x k w", "ok"),
        ("get x k", "w"),
        ("get y k", "none"),
        ("get-many x k missing k", "k=w none k=w"),
        ("delete x k", "ok"),
        ("delete x k", "ok"),
        ("exists x k", "false"),
        ("add x n 5", "5"),
        ("add x n -7", "-2"),
        ("old add x n 3", "1"),
        ("add x n 9223372036854775807", "error: the sum is outside of the range of the counter"),
        ("swap x c 3", "3"),
        ("stale-swap x s", "failed, first"),
        ("set  k default", "ok"),
        ("get default k", "default"),
    ] {
        expect(&client, "a", args, printed).await;
    }
    expect(&client, "b", "get x n", "none").await;
    expect(&client, "b", "keys x", "0 keys, 1 pages,").await;
}

#[tokio::test]
async fn invalid_names_and_large_values_are_errors_and_no_traps() {
    let (_daemon, client) = daemon("").await;
    let (long_key, long_name) = ("k".repeat(1025), "n".repeat(129));
    for (args, part) in [
        (format!("set x {long_key} v"), "1025"),
        (format!("get x {long_key}"), "1025"),
        ("get x ".to_owned(), "has 0 bytes"),
        (format!("get {long_name} k"), "not a name"),
        ("get a\nb k".to_owned(), "not a name"),
        ("big x k 1048577".to_owned(), "the limit is 1048576"),
        ("big x k 7000000".to_owned(), "the limit is 1048576"),
        ("set-many x 1001 1".to_owned(), ""),
        ("set-many x 5 1048576".to_owned(), "one call names more"),
    ] {
        let reply = run(&client, "a", &args).await;
        if !part.is_empty() {
            assert!(reply.text().starts_with("error: ") && reply.text().contains(part), "{reply:?}");
        }
    }
    expect(&client, "a", "big x k 1048576", "ok").await;
}

#[tokio::test]
async fn ten_thousand_keys_are_listed_once_each() {
    let (_daemon, client) = daemon("").await;
    expect(&client, "a", "set-many x 10000 10", "ok").await;
    expect(&client, "a", "keys x", "10000 keys, 11 pages, key-000000").await;
    expect(&client, "a", "old keys x", "10000").await;
}

#[tokio::test]
async fn hundred_runs_at_once_lose_no_increment_and_no_swap() {
    let (_daemon, client) = daemon("").await;
    for args in ["add x n 1", "swap x m 1"] {
        let runs: Vec<_> = (0..100)
            .map(|_| {
                let client = client.clone();
                tokio::spawn(async move { run(&client, "a", args).await.text().trim().parse::<u64>().unwrap() })
            })
            .collect();
        let mut numbers = Vec::new();
        for run in runs {
            numbers.push(run.await.unwrap());
        }
        numbers.sort_unstable();
        assert_eq!(numbers, (1..=100).collect::<Vec<_>>(), "{args}");
    }
}

#[tokio::test]
async fn quota_is_an_error_and_holds_for_the_handler() {
    let (_daemon, client) = daemon("[policy]\nkeyvalue = \"100kB\"\nkeys = 50\n").await;
    expect(&client, "a", "set-many x 10 9000", "ok").await;
    let over = "error: batch 0: quota exceeded: the handler may keep 100000 bytes (limit `keyvalue`)";
    expect(&client, "a", "set-many y 2 9000", over).await;
    expect(&client, "a", "keys y", "0 keys, 1 pages,").await;
    expect(&client, "b", "set-many y 10 9000", "ok").await;
    let over = "error: batch 0: quota exceeded: the handler may keep 50 keys and objects (limit `keys`)";
    expect(&client, "b", "set-many z 41 1", over).await;
    expect(&client, "a", "delete x key-000000", "ok").await;
    expect(&client, "a", "big x new 9000", "ok").await;
}

#[tokio::test]
async fn handler_without_quota_is_denied() {
    let (_daemon, client) = daemon("[policy]\nkeyvalue = 0\n").await;
    expect(&client, "a", "get x k", "error: access denied").await;
    expect(&client, "a", "create c", "error: the handler may keep no data: its limit `keyvalue` is 0").await;
}

#[tokio::test]
async fn config_is_that_of_the_manifest_and_log_goes_to_stderr() {
    let setup = Setup::new(CAPSTAN);
    let manifest = setup.folder().join("job.toml");
    std::fs::write(&manifest, "[config]\ncolour = \"red\"\nanimal = \"cat\"\n").unwrap();
    let wasm = setup.folder().join("store.wasm");
    std::fs::write(&wasm, guests::compiled("store.p2")).unwrap();
    let daemon = setup.start();
    let pushed = std::process::Command::new(CAPSTAN)
        .args(["-H", &format!("unix://{}", daemon.unix().display()), "push"])
        .arg(format!("conf={}", wasm.display()))
        .arg("--manifest")
        .arg(&manifest)
        .output()
        .unwrap();
    assert!(pushed.status.success(), "{pushed:?}");
    let client = daemon.client();
    expect(&client, "conf", "config colour", "red").await;
    expect(&client, "conf", "config", r#"[("animal", "cat"), ("colour", "red")]"#).await;
    expect(&client, "conf", "config size", "none").await;
    let logged = client.run("conf").arg("log").arg("web").arg("it is late").framed().send().await.frames();
    assert_eq!(String::from_utf8_lossy(&logged.stderr), "WARN web: it is late\n");
}
