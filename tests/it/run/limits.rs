//! Limits: each guest exceeds one limit, is stopped by it, and the outcome names it.

use std::time::{Duration, Instant};

use capstan_tests::frames::Framed;
use capstan_tests::{Daemon, foreach_guest, guests};

use crate::oracle::Oracle;
use crate::{configured, oracle, serving};

foreach_guest!(limits, tested);

/// The tolerance for limits on a busy machine. A limit that is not enforced is missed by an hour.
const SLACK: Duration = Duration::from_secs(5);

/// Runs a guest with these parameters, checks that it ends soon, and checks that the daemon is unharmed.
async fn run_guest(wasm: &[u8], parameters: &[(&str, &str)]) -> Framed {
    let (mut daemon, client) = serving("guest", wasm).await;
    let oracle = Oracle::before(&mut daemon).await;
    let call = parameters.iter().fold(client.run("guest").framed(), |call, (key, value)| call.query(key, value));
    let began = Instant::now();
    let framed = call.send().await.frames();
    assert!(began.elapsed() < SLACK, "it took {:?} until {}", began.elapsed(), framed.last);
    oracle.after(&mut daemon).await;
    framed
}

/// Runs a guest that only its deadline stops.
async fn assert_times_out(wasm: &[u8]) {
    let framed = run_guest(wasm, &[("timeout", "300ms")]).await;
    framed.assert_outcome("timed_out", 124);
    assert_eq!(framed.outcome()["limit"], 0.3);
    let seconds = framed.last["usage"]["run_seconds"].as_f64().unwrap();
    assert!(seconds >= 0.29, "the run ended after {seconds} s, before its timeout");
}

#[tokio::test]
async fn loop_in_start() {
    assert_times_out(guests::limits::LOOP_IN_START).await;
}

#[tokio::test]
async fn loop_in_start_function() {
    assert_times_out(guests::limits::LOOP_IN_START_FUNCTION).await;
}

#[tokio::test]
async fn loop_over_host_calls() {
    assert_times_out(guests::limits::LOOP_OVER_HOST_CALLS).await;
}

#[tokio::test]
async fn fill_memory_forever() {
    assert_times_out(guests::limits::FILL_MEMORY_FOREVER).await;
}

#[tokio::test]
async fn sleep_for_ever() {
    assert_times_out(guests::limits::SLEEP_FOR_EVER).await;
}

#[tokio::test]
async fn read_stdin_forever() {
    let (mut daemon, client) = serving("guest", guests::limits::READ_STDIN_FOREVER).await;
    let (call, feed) = client.run("guest").framed().query("timeout", "300ms").streaming_body();
    let mut exchange = call.open().await;
    assert!(feed.send("some, but not all").await);
    let body = exchange.read_at_least(usize::MAX).await;
    capstan_tests::frames::demultiplex(&body).assert_outcome("timed_out", 124);
    oracle::still_answers(&mut daemon).await;
}

#[tokio::test]
async fn spinning_guests_do_not_starve_others() {
    let (mut daemon, client) = serving("spin", guests::limits::LOOP_IN_START).await;
    client.push("hello", guests::run::HELLO).await;
    let mut spinners = tokio::task::JoinSet::new();
    for _ in 0..16 {
        spinners.spawn(client.run("spin").framed().query("timeout", "3s").send());
    }
    capstan_tests::eventually("16 spinners", async || (client.running().await == 16).then_some(())).await;
    let began = Instant::now();
    let mut runs = 0;
    while began.elapsed() < Duration::from_secs(1) {
        client.run("hello").send().await.assert_outcome("exited", 0);
        runs += 1;
    }
    // Alone, thousands of runs are possible; if starved, only a few.
    assert!(runs > 50, "{runs} runs a second beside 16 spinners");
    for reply in spinners.join_all().await {
        reply.frames().assert_outcome("timed_out", 124);
    }
    oracle::still_answers(&mut daemon).await;
}

#[tokio::test]
async fn operator_timeout_is_a_ceiling() {
    let (_daemon, client) = configured("[policy]\ntimeout = \"200ms\"", "spin", guests::limits::LOOP_IN_START).await;
    for call in [client.run("spin"), client.run("spin").query("timeout", "1h")] {
        let framed = call.framed().send().await.frames();
        framed.assert_outcome("timed_out", 124);
        assert_eq!(framed.outcome()["limit"], 0.2);
    }
}

/// Runs a guest that needs more than 16 MiB of memory.
async fn assert_memory_denied(wasm: &[u8]) {
    let framed = run_guest(wasm, &[("memory", "16MiB"), ("timeout", "20s")]).await;
    framed.assert_outcome("memory_denied", 137);
    assert_eq!(framed.outcome()["limit"], 16 << 20);
    let peak = framed.last["usage"]["memory_peak"].as_u64().unwrap();
    assert!(peak <= 16 << 20, "the run used {peak} bytes");
}

#[tokio::test]
async fn grow_memory_then_trap() {
    assert_memory_denied(guests::limits::GROW_MEMORY_THEN_TRAP).await;
}

#[tokio::test]
async fn grow_memory_at_once() {
    assert_memory_denied(guests::limits::GROW_MEMORY_AT_ONCE).await;
}

#[tokio::test]
async fn grow_memory_and_survive() {
    let framed = run_guest(guests::limits::GROW_MEMORY_AND_SURVIVE, &[("memory", "16MiB")]).await;
    framed.assert_outcome("exited", 0);
    let peak = framed.last["usage"]["memory_peak"].as_u64().unwrap();
    assert!((8 << 20..=16 << 20).contains(&peak), "the run used {peak} bytes");
}

#[tokio::test]
async fn grow_memory_then_exit() {
    let framed = run_guest(guests::limits::GROW_MEMORY_THEN_EXIT, &[("memory", "16MiB")]).await;
    framed.assert_outcome("memory_denied", 137);
    assert!(framed.last["error"].as_str().unwrap().contains("--memory"), "{}", framed.last);
}

#[tokio::test]
async fn default_memory_limit_is_enforced() {
    let framed = run_guest(guests::limits::GROW_MEMORY_THEN_TRAP, &[]).await;
    framed.assert_outcome("memory_denied", 137);
    assert_eq!(framed.outcome()["limit"], 256 << 20);
}

/// Pushes a program whose declared minimum exceeds the limit: it is rejected at the push, or its run is denied memory.
async fn assert_too_large_to_start(wasm: &[u8], code: &str) {
    let (mut daemon, client) = serving("other", guests::run::HELLO).await;
    let reply = client.put("/v1/handlers/guest", wasm.to_vec()).send().await;
    if reply.status == 201 {
        client.run("guest").framed().send().await.frames().assert_outcome("memory_denied", 137);
    } else {
        reply.error(422, code);
    }
    oracle::still_answers(&mut daemon).await;
}

#[tokio::test]
async fn memory_minimum_too_large() {
    assert_too_large_to_start(guests::limits::MEMORY_MINIMUM_TOO_LARGE, "memory_limit").await;
}

#[tokio::test]
async fn table_minimum_too_large() {
    assert_too_large_to_start(guests::limits::TABLE_MINIMUM_TOO_LARGE, "module_too_complex").await;
}

#[tokio::test]
async fn grow_table() {
    let framed = run_guest(guests::limits::GROW_TABLE, &[("memory", "128KiB")]).await;
    framed.assert_outcome("memory_denied", 137);
}

#[tokio::test]
async fn tables_use_at_most_a_part_of_the_memory_limit() {
    let framed = run_guest(guests::limits::GROW_TABLE, &[]).await;
    framed.assert_outcome("memory_denied", 137);
    assert_eq!(framed.outcome()["limit"], 8 << 20);
    let peak = framed.last["usage"]["memory_peak"].as_u64().unwrap();
    assert!(peak > 7 << 20, "the run used only {peak} bytes");
}

#[tokio::test]
async fn recurse_40000_deep() {
    let framed = run_guest(guests::limits::RECURSE_40000_DEEP, &[]).await;
    framed.assert_outcome("trapped", 134);
    assert_eq!(framed.outcome()["trap"], "stack_overflow");
    let (_daemon, client) = configured("[limits]\nstack = \"8MiB\"", "deep", guests::limits::RECURSE_40000_DEEP).await;
    client.run("deep").send().await.assert_outcome("exited", 0);
    let info: serde_json::Value = client.get("/info").send().await.json();
    assert_eq!(info["limits"]["stack"], 8 << 20);
}

#[tokio::test]
async fn grow_many_tables() {
    // Each of the four tables alone could use most of this.
    let framed = run_guest(guests::limits::GROW_MANY_TABLES, &[("memory", "256KiB")]).await;
    framed.assert_outcome("memory_denied", 137);
    assert_eq!(framed.outcome()["limit"], 256 << 10);
}

const CAPS: &str = "[policy]\nstdout = \"1MiB\"\nstderr = \"64KiB\"";

#[tokio::test]
async fn flood_stdout() {
    let (mut daemon, client) = configured(CAPS, "flood", guests::limits::FLOOD_STDOUT).await;
    let framed = client.run("flood").framed().send().await.frames();
    framed.assert_outcome("output_cap", 137);
    assert_eq!((&framed.outcome()["stream"], &framed.outcome()["limit"]), (&"stdout".into(), &(1 << 20).into()));
    assert!((1 << 19..=1 << 20).contains(&framed.stdout.len()), "{} bytes arrived", framed.stdout.len());

    let reply = client.run("flood").send().await;
    reply.assert_outcome("output_cap", 137);
    let plain = client.run_plain("flood").send_until_cut().await;
    assert!(plain.cut, "output over its limit must not end like a complete response");
    assert!(plain.body.len() <= 1 << 20);
    oracle::still_answers(&mut daemon).await;
}

#[tokio::test]
async fn flood_byte_by_byte() {
    let (mut daemon, client) =
        configured("[policy]\nstdout = \"64KiB\"", "flood", guests::limits::FLOOD_BYTE_BY_BYTE).await;
    let framed = client.run("flood").framed().send().await.frames();
    framed.assert_outcome("output_cap", 137);
    assert!(framed.stdout.len() <= 64 << 10);
    oracle::still_answers(&mut daemon).await;
}

#[tokio::test]
async fn flood_stderr() {
    let (mut daemon, client) = configured(CAPS, "flood", guests::limits::FLOOD_STDERR).await;
    let framed = client.run("flood").framed().send().await.frames();
    framed.assert_outcome("output_cap", 137);
    assert_eq!((&framed.outcome()["stream"], &framed.outcome()["limit"]), (&"stderr".into(), &(64 << 10).into()));
    assert!(framed.stderr.len() <= 64 << 10, "{} bytes arrived", framed.stderr.len());
    client.run("flood").send().await.assert_outcome("output_cap", 137);
    oracle::still_answers(&mut daemon).await;
}

/// Runs a guest that requests too much in one host call. Any outcome is fine as long as the daemon is unharmed.
async fn assert_host_call_is_limited(wasm: &[u8]) {
    let (mut daemon, client) = serving("guest", wasm).await;
    let oracle = Oracle::before(&mut daemon).await;
    let before = daemon.peak_memory();
    let began = Instant::now();
    let framed = client.run("guest").framed().query("timeout", "2s").send().await.frames();
    assert!(began.elapsed() < Duration::from_secs(2) + SLACK, "it took {:?}", began.elapsed());
    match framed.kind() {
        "trapped" | "timed_out" | "memory_denied" => {}
        "exited" => assert_ne!(framed.outcome()["code"], 0, "the host call must fail"),
        other => panic!("{other} is not an expected outcome: {}", framed.last),
    }
    // This includes the memory of the guest.
    assert_grown(&daemon, before, 300 << 20);
    oracle.after(&mut daemon).await;
}

#[track_caller]
fn assert_grown(daemon: &Daemon, before: u64, at_most: u64) {
    let grown = daemon.peak_memory().saturating_sub(before);
    assert!(grown < at_most, "the daemon grew by {grown} bytes");
}

#[tokio::test]
async fn million_subscriptions() {
    assert_host_call_is_limited(guests::limits::MILLION_SUBSCRIPTIONS).await;
}

#[tokio::test]
async fn random_64_mib() {
    assert_host_call_is_limited(guests::limits::RANDOM_64_MIB).await;
}

#[tokio::test]
async fn hundred_timed_out_runs_leak_nothing() {
    let (mut daemon, client) = serving("sleep", guests::limits::SLEEP_FOR_EVER).await;
    client.run("sleep").framed().query("timeout", "10ms").send().await.frames().assert_outcome("timed_out", 124);
    let (threads, files) = (daemon.threads(), daemon.open_files());
    for _ in 0..100 {
        client.run("sleep").framed().query("timeout", "10ms").send().await.frames().assert_outcome("timed_out", 124);
    }
    capstan_tests::eventually("threads and files to return to their numbers", async || {
        (daemon.threads() <= threads + 4 && daemon.open_files() <= files + 4).then_some(())
    })
    .await;
    oracle::still_answers(&mut daemon).await;
}
