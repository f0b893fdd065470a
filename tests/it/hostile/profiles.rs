//! Malicious guests that use the features of a profile: heaps, exceptions, references, streams.

use std::time::{Duration, Instant};

use capstan_tests::frames::Framed;
use capstan_tests::{Setup, foreach_guest, guests};
use serde_json::json;

use super::{Hostile, SLACK};
use crate::CAPSTAN;

foreach_guest!(profiles, tested);

/// The memory limit of the runs here.
const MEMORY: u64 = 64 << 20;
/// Runs a guest with this timeout, with and without fuel. Checks that the daemon is unharmed and that no run had more than its memory, and returns
/// the results.
async fn results_of(wasm: &[u8], timeout: Duration) -> [Framed; 2] {
    let hostile = Hostile::with_config("[policy]\nmemory = \"64MiB\"", wasm).await;
    let run = async |fuel: Option<u64>| {
        let began = Instant::now();
        let policy = json!({"timeout": timeout.as_secs(), "fuel": fuel}).to_string();
        let framed = hostile.call().query("policy", &policy).send().await.frames();
        assert!(began.elapsed() < timeout + SLACK, "it took {:?}", began.elapsed());
        let peak = framed.last["usage"]["memory_peak"].as_u64().unwrap();
        assert!(peak <= MEMORY, "{peak} bytes of memory: {}", framed.last);
        framed
    };
    let results = [run(None).await, run(Some(1_000_000_000_000)).await];
    if results[0].kind() == "timed_out" {
        // Fuel ends what a deadline would end.
        run(Some(100_000)).await.assert_outcome("fuel_spent", 137);
    }
    hostile.assert_unharmed().await;
    results
}

/// Runs a guest that ends with this outcome by itself.
async fn assert_ends(wasm: &[u8], kind: &str, code: u8) {
    for framed in results_of(wasm, Duration::from_secs(30)).await {
        framed.assert_outcome(kind, code);
    }
}

/// Runs a guest that only its deadline stops.
async fn assert_times_out(wasm: &[u8]) {
    for framed in results_of(wasm, Duration::from_secs(1)).await {
        framed.assert_outcome("timed_out", 124);
    }
}

async fn assert_traps(wasm: &[u8], trap: &str) -> Framed {
    let results = results_of(wasm, Duration::from_secs(30)).await;
    for framed in &results {
        framed.assert_outcome("trapped", 134);
        assert_eq!(framed.outcome()["trap"], trap, "{}", framed.last);
    }
    results.into_iter().next().unwrap()
}

#[tokio::test]
async fn structs_without_end() {
    assert_ends(guests::profiles::STRUCTS_WITHOUT_END, "memory_denied", 137).await;
}

#[tokio::test]
async fn arrays_without_end() {
    assert_ends(guests::profiles::ARRAYS_WITHOUT_END, "memory_denied", 137).await;
}

#[tokio::test]
async fn array_at_once() {
    assert_ends(guests::profiles::ARRAY_AT_ONCE, "memory_denied", 137).await;
}

#[tokio::test]
async fn array_beyond_all_addresses() {
    assert_traps(guests::profiles::ARRAY_BEYOND_ALL_ADDRESSES, "allocation_too_large").await;
}

#[tokio::test]
async fn cycles_without_end() {
    assert_times_out(guests::profiles::CYCLES_WITHOUT_END).await;
}

#[tokio::test]
async fn fill_arrays_forever() {
    let hostile = Hostile::with_config("", guests::profiles::FILL_ARRAYS_FOREVER).await;
    let began = Instant::now();
    let framed = hostile.call().query("timeout", "1s").send().await.frames();
    assert!(began.elapsed() < SLACK, "it took {:?}", began.elapsed());
    framed.assert_outcome("timed_out", 124);
    hostile.assert_unharmed().await;
}

#[tokio::test]
async fn throw_forever() {
    assert_times_out(guests::profiles::THROW_FOREVER).await;
}

#[tokio::test]
async fn keep_exceptions() {
    assert_ends(guests::profiles::KEEP_EXCEPTIONS, "memory_denied", 137).await;
}

#[tokio::test]
async fn throw_deep_in_recursion() {
    assert_ends(guests::profiles::THROW_DEEP_IN_RECURSION, "exited", 0).await;
}

#[tokio::test]
async fn catch_stack_overflow() {
    assert_traps(guests::profiles::CATCH_STACK_OVERFLOW, "stack_overflow").await;
}

#[tokio::test]
async fn throw_on_every_level() {
    assert_times_out(guests::profiles::THROW_ON_EVERY_LEVEL).await;
}

#[tokio::test]
async fn uncaught_exception() {
    let framed = assert_traps(guests::profiles::UNCAUGHT_EXCEPTION, "uncaught_exception").await;
    assert_eq!(framed.outcome()["message"], "uncaught exception with the values 7, 2.5");
    let backtrace: Vec<_> =
        framed.outcome()["backtrace"].as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect();
    assert!(backtrace[0].starts_with("thrower (") && backtrace[1].starts_with("caller ("), "{backtrace:?}");
}

#[tokio::test]
async fn uncaught_exception_in_start_function() {
    let framed = assert_traps(guests::profiles::UNCAUGHT_EXCEPTION_IN_START_FUNCTION, "uncaught_exception").await;
    assert_eq!(framed.outcome()["message"], "uncaught exception");
}

#[tokio::test]
async fn throw_through_a_component() {
    assert_traps(guests::profiles::THROW_THROUGH_A_COMPONENT, "uncaught_exception").await;
}

#[tokio::test]
async fn tail_calls_without_end() {
    assert_times_out(guests::profiles::TAIL_CALLS_WITHOUT_END).await;
}

#[tokio::test]
async fn call_references_forever() {
    assert_times_out(guests::profiles::CALL_REFERENCES_FOREVER).await;
}

#[tokio::test]
async fn recurse_through_references() {
    assert_traps(guests::profiles::RECURSE_THROUGH_REFERENCES, "stack_overflow").await;
}

#[tokio::test]
async fn wait_on_own_memory() {
    assert_traps(guests::profiles::WAIT_ON_OWN_MEMORY, "atomic_wait").await;
}

#[tokio::test]
async fn streams_without_end() {
    assert_traps(guests::profiles::STREAMS_WITHOUT_END, "handles_exhausted").await;
}

#[tokio::test]
async fn spin_in_async_component() {
    assert_times_out(guests::profiles::SPIN_IN_ASYNC_COMPONENT).await;
}

/// A throw looks at each catch clause of each call on the stack, and nothing interrupts it.
#[tokio::test]
async fn many_catch_clauses() {
    let daemon = Setup::new(CAPSTAN).start();
    let reply = daemon.client().put("/v1/handlers/guest", guests::profiles::MANY_CATCH_CLAUSES).send().await;
    let message = reply.error(422, "module_too_complex");
    assert!(message.contains("300 catch clauses"), "{message}");
}
