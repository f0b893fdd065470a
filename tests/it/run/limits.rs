//! Hostile guests, each held by its limit, and the outcome that tells of it.

use std::time::{Duration, Instant};

use capstan_tests::frames::Framed;
use capstan_tests::{Daemon, foreach_guest, guests};

use crate::oracle::Oracle;
use crate::{configured, oracle, serving};

foreach_guest!(limits, tested);

/// What a limit may be missed by on a busy machine; a limit that does not hold is missed by an hour.
const SLACK: Duration = Duration::from_secs(5);

/// Runs a guest with these parameters, which must end soon, and checks that the daemon took no harm.
async fn run_of(wasm: &[u8], parameters: &[(&str, &str)]) -> Framed {
    let (mut daemon, client) = serving("guest", wasm).await;
    let oracle = Oracle::before(&mut daemon).await;
    let call = parameters.iter().fold(client.run("guest").framed(), |call, (key, value)| call.query(key, value));
    let began = Instant::now();
    let framed = call.send().await.frames();
    assert!(began.elapsed() < SLACK, "it took {:?} until {}", began.elapsed(), framed.last);
    oracle.after(&mut daemon).await;
    framed
}

/// Runs a guest that only its deadline can end.
async fn timed_out(wasm: &[u8]) {
    let framed = run_of(wasm, &[("timeout", "300ms")]).await;
    framed.ended("timed_out", 124);
    assert_eq!(framed.outcome()["limit"], 0.3);
    let seconds = framed.last["usage"]["run_seconds"].as_f64().unwrap();
    assert!(seconds >= 0.29, "it ended after {seconds} s, before its time");
}

#[tokio::test]
async fn loop_in_start() {
    timed_out(guests::limits::LOOP_IN_START).await;
}

#[tokio::test]
async fn loop_in_start_function() {
    timed_out(guests::limits::LOOP_IN_START_FUNCTION).await;
}

#[tokio::test]
async fn loop_over_host_calls() {
    timed_out(guests::limits::LOOP_OVER_HOST_CALLS).await;
}

#[tokio::test]
async fn fill_memory_for_ever() {
    timed_out(guests::limits::FILL_MEMORY_FOR_EVER).await;
}

#[tokio::test]
async fn sleep_for_ever() {
    timed_out(guests::limits::SLEEP_FOR_EVER).await;
}

#[tokio::test]
async fn read_stdin_for_ever() {
    let (mut daemon, client) = serving("guest", guests::limits::READ_STDIN_FOR_EVER).await;
    let (call, feed) = client.run("guest").framed().query("timeout", "300ms").fed();
    let mut exchange = call.open().await;
    assert!(feed.send("some, but not all").await);
    let body = exchange.at_least(usize::MAX).await;
    capstan_tests::frames::demultiplex(&body).ended("timed_out", 124);
    oracle::still_answers(&mut daemon).await;
}

#[tokio::test]
async fn spinners_do_not_starve_others() {
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
        client.run("hello").send().await.ended("exited", 0);
        runs += 1;
    }
    // Alone it is thousands; starved it is a handful.
    assert!(runs > 50, "{runs} runs a second beside 16 spinners");
    for reply in spinners.join_all().await {
        reply.frames().ended("timed_out", 124);
    }
    oracle::still_answers(&mut daemon).await;
}

#[tokio::test]
async fn the_operators_timeout_is_a_ceiling() {
    let (_daemon, client) = configured("[policy]\ntimeout = \"200ms\"", "spin", guests::limits::LOOP_IN_START).await;
    for call in [client.run("spin"), client.run("spin").query("timeout", "1h")] {
        let framed = call.framed().send().await.frames();
        framed.ended("timed_out", 124);
        assert_eq!(framed.outcome()["limit"], 0.2);
    }
}

/// Runs a guest that wants more memory than 16 MiB.
async fn denied(wasm: &[u8]) {
    let framed = run_of(wasm, &[("memory", "16MiB"), ("timeout", "20s")]).await;
    framed.ended("memory_denied", 137);
    assert_eq!(framed.outcome()["limit"], 16 << 20);
    let peak = framed.last["usage"]["memory_peak"].as_u64().unwrap();
    assert!(peak <= 16 << 20, "it had {peak} bytes");
}

#[tokio::test]
async fn grow_memory_then_trap() {
    denied(guests::limits::GROW_MEMORY_THEN_TRAP).await;
}

#[tokio::test]
async fn grow_memory_at_once() {
    denied(guests::limits::GROW_MEMORY_AT_ONCE).await;
}

#[tokio::test]
async fn grow_memory_and_survive() {
    let framed = run_of(guests::limits::GROW_MEMORY_AND_SURVIVE, &[("memory", "16MiB")]).await;
    framed.ended("exited", 0);
    let peak = framed.last["usage"]["memory_peak"].as_u64().unwrap();
    assert!((8 << 20..=16 << 20).contains(&peak), "it had {peak} bytes");
}

#[tokio::test]
async fn memory_is_held_without_being_asked_for() {
    let framed = run_of(guests::limits::GROW_MEMORY_THEN_TRAP, &[]).await;
    framed.ended("memory_denied", 137);
    assert_eq!(framed.outcome()["limit"], 256 << 20);
}

/// A program whose declaration alone is over the limit: refused when it is pushed, or denied when it is run.
async fn too_large_to_begin(wasm: &[u8]) {
    let (mut daemon, client) = serving("other", guests::run::HELLO).await;
    let reply = client.put("/v1/handlers/guest", wasm.to_vec()).send().await;
    if reply.status == 201 {
        client.run("guest").framed().send().await.frames().ended("memory_denied", 137);
    } else {
        reply.error(422, "module_too_complex");
    }
    oracle::still_answers(&mut daemon).await;
}

#[tokio::test]
async fn memory_minimum_too_large() {
    too_large_to_begin(guests::limits::MEMORY_MINIMUM_TOO_LARGE).await;
}

#[tokio::test]
async fn table_minimum_too_large() {
    too_large_to_begin(guests::limits::TABLE_MINIMUM_TOO_LARGE).await;
}

#[tokio::test]
async fn grow_table() {
    let framed = run_of(guests::limits::GROW_TABLE, &[("memory", "128KiB")]).await;
    framed.ended("memory_denied", 137);
}

#[tokio::test]
async fn tables_have_a_part_of_the_memory_at_most() {
    let framed = run_of(guests::limits::GROW_TABLE, &[]).await;
    framed.ended("memory_denied", 137);
    assert_eq!(framed.outcome()["limit"], 8 << 20);
    let peak = framed.last["usage"]["memory_peak"].as_u64().unwrap();
    assert!(peak > 7 << 20, "it had {peak} bytes");
}

#[tokio::test]
async fn recurse_40000_deep() {
    let framed = run_of(guests::limits::RECURSE_40000_DEEP, &[]).await;
    framed.ended("trapped", 134);
    assert_eq!(framed.outcome()["trap"], "stack_overflow");
    let (_daemon, client) = configured("[limits]\nstack = \"8MiB\"", "deep", guests::limits::RECURSE_40000_DEEP).await;
    client.run("deep").send().await.ended("exited", 0);
    let info: serde_json::Value = client.get("/info").send().await.json();
    assert_eq!(info["limits"]["stack"], 8 << 20);
}

#[tokio::test]
async fn grow_many_tables() {
    // Each of the four alone could have most of this.
    let framed = run_of(guests::limits::GROW_MANY_TABLES, &[("memory", "256KiB")]).await;
    framed.ended("memory_denied", 137);
    assert_eq!(framed.outcome()["limit"], 256 << 10);
}

const CAPS: &str = "[policy]\nstdout = \"1MiB\"\nstderr = \"64KiB\"";

#[tokio::test]
async fn flood_stdout() {
    let (mut daemon, client) = configured(CAPS, "flood", guests::limits::FLOOD_STDOUT).await;
    let framed = client.run("flood").framed().send().await.frames();
    framed.ended("output_cap", 137);
    assert_eq!((&framed.outcome()["stream"], &framed.outcome()["limit"]), (&"stdout".into(), &(1 << 20).into()));
    assert!((1 << 19..=1 << 20).contains(&framed.stdout.len()), "{} bytes came out", framed.stdout.len());

    let reply = client.run("flood").send().await;
    reply.ended("output_cap", 137);
    let plain = client.run_plain("flood").send_until_cut().await;
    assert!(plain.cut, "what is over its cap must not end as if it were whole");
    assert!(plain.body.len() <= 1 << 20);
    oracle::still_answers(&mut daemon).await;
}

#[tokio::test]
async fn flood_byte_by_byte() {
    let (mut daemon, client) =
        configured("[policy]\nstdout = \"64KiB\"", "flood", guests::limits::FLOOD_BYTE_BY_BYTE).await;
    let framed = client.run("flood").framed().send().await.frames();
    framed.ended("output_cap", 137);
    assert!(framed.stdout.len() <= 64 << 10);
    oracle::still_answers(&mut daemon).await;
}

#[tokio::test]
async fn flood_stderr() {
    let (mut daemon, client) = configured(CAPS, "flood", guests::limits::FLOOD_STDERR).await;
    let framed = client.run("flood").framed().send().await.frames();
    framed.ended("output_cap", 137);
    assert_eq!((&framed.outcome()["stream"], &framed.outcome()["limit"]), (&"stderr".into(), &(64 << 10).into()));
    assert!(framed.stderr.len() <= 64 << 10, "{} bytes came out", framed.stderr.len());
    client.run("flood").send().await.ended("output_cap", 137);
    oracle::still_answers(&mut daemon).await;
}

/// Runs a guest that asks the host for too much in one call; any end is right but one that harms the daemon.
async fn held(wasm: &[u8]) {
    let (mut daemon, client) = serving("guest", wasm).await;
    let oracle = Oracle::before(&mut daemon).await;
    let before = daemon.peak_memory();
    let began = Instant::now();
    let framed = client.run("guest").framed().query("timeout", "2s").send().await.frames();
    assert!(began.elapsed() < Duration::from_secs(2) + SLACK, "it took {:?}", began.elapsed());
    match framed.kind() {
        "trapped" | "timed_out" | "memory_denied" => {}
        "exited" => assert_ne!(framed.outcome()["code"], 0, "it got what it asked for"),
        other => panic!("{other} is not how a guest that asks too much ends: {}", framed.last),
    }
    // The guest's own memory is a part of this.
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
    held(guests::limits::MILLION_SUBSCRIPTIONS).await;
}

#[tokio::test]
async fn random_64_mib() {
    held(guests::limits::RANDOM_64_MIB).await;
}

#[tokio::test]
async fn nothing_is_left_of_a_hundred_cancelled_runs() {
    let (mut daemon, client) = serving("sleep", guests::limits::SLEEP_FOR_EVER).await;
    client.run("sleep").framed().query("timeout", "10ms").send().await.frames().ended("timed_out", 124);
    let (threads, files) = (daemon.threads(), daemon.open_files());
    for _ in 0..100 {
        client.run("sleep").framed().query("timeout", "10ms").send().await.frames().ended("timed_out", 124);
    }
    capstan_tests::eventually("threads and files to go back", async || {
        (daemon.threads() <= threads + 4 && daemon.open_files() <= files + 4).then_some(())
    })
    .await;
    oracle::still_answers(&mut daemon).await;
}
