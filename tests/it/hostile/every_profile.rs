//! Each row runs in every profile: a program that uses a feature has the same limits as one that does not.

use std::fmt::Write as _;

use capstan_tests::{Client, Setup, features, guests};
use futures_util::future::join_all;

use crate::CAPSTAN;
use crate::oracle::Oracle;

/// Limits that are reached quickly.
const CONFIG: &str = "[policy]\nfeatures = [\"exceptions\", \"gc\", \"atomics\", \"memory64\", \"multi-memory\", \"custom-page-sizes\", \
                      \"wide-arithmetic\", \"component-async\"]\nstdout = \"64KiB\"\nstderr = \"16KiB\"\nmemory = \"64MiB\"";

/// A guest, its argument, its timeout, and how it ends: the outcome, and the name of the trap or the exit code.
type Row = (&'static str, &'static [u8], &'static str, &'static str, &'static str, &'static str);

/// The guests of the suites `hostile` and `limits` that show how they fared by their outcome.
#[rustfmt::skip]
const ROWS: &[Row] = &[
    ("recurse-over-host-calls", guests::hostile::RECURSE_OVER_HOST_CALLS, "", "3m", "trapped", "stack_overflow"),
    ("recurse-in-start-function", guests::hostile::RECURSE_IN_START_FUNCTION, "", "3m", "trapped", "stack_overflow"),
    ("segment-out-of-bounds", guests::hostile::ELEMENT_SEGMENT_OUT_OF_BOUNDS, "", "3m", "trapped", "table_out_of_bounds"),
    ("trap-0", guests::hostile::EVERY_TRAP, "0", "3m", "trapped", "unreachable"),
    ("trap-1", guests::hostile::EVERY_TRAP, "1", "3m", "trapped", "integer_division_by_zero"),
    ("trap-2", guests::hostile::EVERY_TRAP, "2", "3m", "trapped", "integer_overflow"),
    ("trap-3", guests::hostile::EVERY_TRAP, "3", "3m", "trapped", "bad_conversion_to_integer"),
    ("trap-4", guests::hostile::EVERY_TRAP, "4", "3m", "trapped", "memory_out_of_bounds"),
    ("trap-5", guests::hostile::EVERY_TRAP, "5", "3m", "trapped", "table_out_of_bounds"),
    ("trap-6", guests::hostile::EVERY_TRAP, "6", "3m", "trapped", "indirect_call_to_null"),
    ("trap-7", guests::hostile::EVERY_TRAP, "7", "3m", "trapped", "bad_signature"),
    ("trap-8", guests::hostile::EVERY_TRAP, "8", "3m", "trapped", "stack_overflow"),
    ("flood-of-every-byte", guests::hostile::FLOOD_OF_EVERY_BYTE, "", "3m", "output_cap", ""),
    ("flood-both-streams", guests::hostile::FLOOD_BOTH_STREAMS, "", "3m", "output_cap", ""),
    ("zero-subscriptions", guests::hostile::ZERO_SUBSCRIPTIONS, "", "3m", "exited", "28"),
    ("ten-thousand-sleeps", guests::hostile::TEN_THOUSAND_SLEEPS, "", "500ms", "timed_out", ""),
    ("odd-clock-times", guests::hostile::WAIT_FOR_ODD_CLOCK_TIMES, "", "3m", "exited", "0"),
    ("unknown-clock", guests::hostile::READ_UNKNOWN_CLOCK, "", "3m", "trapped", "host_call"),
    ("random-forever", guests::hostile::RANDOM_FOREVER, "", "500ms", "timed_out", ""),
    ("pointer-0", guests::hostile::OUT_OF_BOUNDS_POINTERS, "0", "3m", "trapped", "host_call"),
    ("pointer-1", guests::hostile::OUT_OF_BOUNDS_POINTERS, "1", "3m", "exited", "28"),
    ("pointer-2", guests::hostile::OUT_OF_BOUNDS_POINTERS, "2", "3m", "trapped", "host_call"),
    ("pointer-3", guests::hostile::OUT_OF_BOUNDS_POINTERS, "3", "3m", "trapped", "host_call"),
    ("pointer-4", guests::hostile::OUT_OF_BOUNDS_POINTERS, "4", "3m", "trapped", "host_call"),
    ("pointer-5", guests::hostile::OUT_OF_BOUNDS_POINTERS, "5", "3m", "trapped", "host_call"),
    ("pointer-6", guests::hostile::OUT_OF_BOUNDS_POINTERS, "6", "3m", "exited", "48"),
    ("pointer-7", guests::hostile::OUT_OF_BOUNDS_POINTERS, "7", "3m", "trapped", "host_call"),
    ("juggle-descriptors", guests::hostile::JUGGLE_DESCRIPTORS, "", "500ms", "timed_out", ""),
    ("take-stdout-forever", guests::hostile::TAKE_STDOUT_FOREVER, "", "3m", "trapped", "handles_exhausted"),
    ("subscribe-forever", guests::hostile::SUBSCRIBE_FOREVER, "", "3m", "trapped", "handles_exhausted"),
    ("forge-function-names", guests::hostile::FORGE_FUNCTION_NAMES, "", "3m", "trapped", "unreachable"),
    ("look-for-leftover-data", guests::hostile::LEFTOVER_DATA, "look", "3m", "exited", "0"),
    ("loop-in-start", guests::limits::LOOP_IN_START, "", "500ms", "timed_out", ""),
    ("loop-in-start-function", guests::limits::LOOP_IN_START_FUNCTION, "", "500ms", "timed_out", ""),
    ("loop-over-host-calls", guests::limits::LOOP_OVER_HOST_CALLS, "", "500ms", "timed_out", ""),
    ("fill-memory-forever", guests::limits::FILL_MEMORY_FOREVER, "", "500ms", "timed_out", ""),
    ("sleep-for-ever", guests::limits::SLEEP_FOR_EVER, "", "500ms", "timed_out", ""),
    ("grow-memory-then-trap", guests::limits::GROW_MEMORY_THEN_TRAP, "", "3m", "memory_denied", ""),
    ("grow-memory-at-once", guests::limits::GROW_MEMORY_AT_ONCE, "", "3m", "memory_denied", ""),
    ("grow-memory-and-survive", guests::limits::GROW_MEMORY_AND_SURVIVE, "", "3m", "exited", "0"),
    ("grow-memory-then-exit", guests::limits::GROW_MEMORY_THEN_EXIT, "", "3m", "memory_denied", ""),
    ("grow-table", guests::limits::GROW_TABLE, "", "3m", "memory_denied", ""),
    ("grow-many-tables", guests::limits::GROW_MANY_TABLES, "", "3m", "memory_denied", ""),
    ("recurse-40000-deep", guests::limits::RECURSE_40000_DEEP, "", "3m", "trapped", "stack_overflow"),
    ("flood-byte-by-byte", guests::limits::FLOOD_BYTE_BY_BYTE, "", "3m", "output_cap", ""),
];

/// Runs each row in the profile of `features`, with and without fuel, and checks how it ends, and that the daemon is unharmed.
async fn assert_rows_hold(features: &[&str]) {
    let mut daemon = Setup::new(CAPSTAN).config(CONFIG).start();
    let client = daemon.client();
    join_all(ROWS.iter().map(async |(name, wasm, ..)| {
        client.push(name, features::using(wasm, features)).await;
        let info = client.get(&format!("/v1/handlers/{name}")).send().await.json();
        for feature in features {
            assert!(info["features"].as_array().unwrap().contains(&(*feature).into()), "{name}: {info}");
        }
    }))
    .await;
    let mut oracle = None;
    // With fuel first: it loads each program once more, which keeps a file open for its code.
    for fuel in [", \"fuel\": 1000000000000", ""] {
        let mut wrong = String::new();
        // A few at a time, so that each gets processor time on a busy machine.
        for rows in ROWS.chunks(4) {
            let lines = join_all(rows.iter().map(|row| difference(&client, row, fuel))).await;
            wrong.extend(lines.into_iter().flatten());
        }
        assert!(wrong.is_empty(), "{features:?} {fuel}:\n{wrong}");
        if oracle.is_none() {
            oracle = Some(Oracle::before(&mut daemon).await);
        }
    }
    oracle.expect("there were two rounds").after(&mut daemon).await;
}

/// Returns a line about how a row ended, if it ended in another way than it must.
async fn difference(client: &Client, (name, _, arg, timeout, kind, detail): &Row, fuel: &str) -> Option<String> {
    let policy = format!("{{\"timeout\": \"{timeout}\"{fuel}}}");
    let framed = client.run(name).framed().arg(arg).query("policy", &policy).send().await.frames();
    let outcome = framed.outcome();
    let found = match *kind {
        "trapped" => outcome["trap"].as_str().unwrap_or_default().to_owned(),
        "exited" => outcome["code"].to_string(),
        _ => String::new(),
    };
    let mut line = String::new();
    if framed.kind() != *kind || found != *detail {
        writeln!(line, "{name}: {outcome} instead of {kind} {detail}").unwrap();
    }
    (!line.is_empty()).then_some(line)
}

#[tokio::test]
async fn rows_hold_in_the_default_profile() {
    assert_rows_hold(&[]).await;
}

#[tokio::test]
async fn rows_hold_with_exceptions() {
    assert_rows_hold(&["exceptions"]).await;
}

#[tokio::test]
async fn rows_hold_with_gc() {
    assert_rows_hold(&["gc"]).await;
}

#[tokio::test]
async fn rows_hold_with_atomics() {
    assert_rows_hold(&["atomics"]).await;
}

#[tokio::test]
async fn rows_hold_with_further_memories() {
    assert_rows_hold(&["multi-memory", "memory64", "custom-page-sizes"]).await;
}

#[tokio::test]
async fn rows_hold_with_wide_arithmetic() {
    assert_rows_hold(&["wide-arithmetic"]).await;
}

#[tokio::test]
async fn rows_hold_with_all_features_of_modules() {
    let all = ["exceptions", "gc", "atomics", "multi-memory", "memory64", "custom-page-sizes", "wide-arithmetic"];
    assert_rows_hold(&all).await;
}
