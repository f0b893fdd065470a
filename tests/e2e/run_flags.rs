//! The flags of `capstan run` for determinism, fuel, clocks and WebAssembly features.

use std::path::Path;

use capstan_tests::{Setup, guests};
use serde_json::Value;

use crate::{CAPSTAN, command, command_for};

#[tokio::test]
async fn deterministic_run_prints_the_same_in_process_and_on_a_daemon() {
    let probe = guests::compiled_path("probe.p2");
    let daemon = Setup::new(CAPSTAN).start();
    let flags = ["run", "--deterministic", "--fuel", "100000000", "--outcome", "outcome.json"];
    let mut results = Vec::new();
    daemon.client().push("probe.p2.wasm", guests::compiled("probe.p2")).await;
    // The name of the program is input too: the file name in process, the handler name on a daemon.
    let handler = Path::new("probe.p2.wasm");
    for (command, probe) in [(command(), probe.as_path()), (command(), &probe), (command_for(&daemon), handler)] {
        let finished = command.args(flags).args([probe]).args(["senses"]).stdin("").run().await.assert_exit_code(0);
        let outcome: Value = serde_json::from_slice(&finished.read("outcome.json")).unwrap();
        results.push((finished.text().to_owned(), outcome["usage"]["fuel"].as_u64().unwrap()));
    }
    assert!(results[0].0.starts_with("946684800.000000000\n"), "{results:?}");
    assert!(results.iter().all(|other| *other == results[0]), "{results:?}");
    let run =
        command().args(["run", "--deterministic", "--seed", "1", "--clock", "2026-01-01T00:00:00Z"]).args([&probe]);
    let other = run.args(["senses"]).run().await.assert_exit_code(0);
    assert!(other.text().starts_with("1767225600.000000000\n") && !results[0].0.ends_with(&other.text()[21..]));
}

#[tokio::test]
async fn spent_fuel_is_reported_and_exits_with_137() {
    let run = command().file("spin.wasm", guests::limits::LOOP_IN_START).args(["run", "--fuel", "1000", "spin.wasm"]);
    let finished = run.run().await.assert_exit_code(137);
    assert!(finished.stderr.contains("more than 1000 units of fuel"), "{}", finished.stderr);
    let run = command().args(["run", "--clock", "precise", "x.wasm"]).run().await.assert_exit_code(125);
    assert!(run.stderr.contains("\"coarse\""), "{}", run.stderr);
}

#[tokio::test]
async fn feature_flag_enables_the_feature_for_a_file() {
    let file = || command().file("small.wasm", guests::features::CUSTOM_PAGE_SIZES);
    let refused = file().args(["run", "small.wasm"]).run().await.assert_exit_code(125);
    assert!(refused.stderr.contains("features = [\"custom-page-sizes\"]"), "{}", refused.stderr);
    file().args(["run", "--feature", "custom-page-sizes", "small.wasm"]).run().await.assert_exit_code(0);
    let daemon = Setup::new(CAPSTAN).config("[policy]\nfeatures = [\"custom-page-sizes\"]").start();
    let on_daemon = command_for(&daemon).file("small.wasm", guests::features::CUSTOM_PAGE_SIZES);
    on_daemon.args(["run", "--feature", "custom-page-sizes", "small.wasm"]).run().await.assert_exit_code(0);
    let strict = Setup::new(CAPSTAN).start();
    let denied = command_for(&strict).file("small.wasm", guests::features::CUSTOM_PAGE_SIZES);
    let denied = denied.args(["run", "--feature", "custom-page-sizes", "small.wasm"]).run().await.assert_exit_code(125);
    assert!(denied.stderr.contains("the operator does not list it"), "{}", denied.stderr);
}
