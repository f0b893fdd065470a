//! Runs that are the same each time, what they print beyond their limits, and features of WebAssembly, by the flags of the command.

use std::path::Path;

use capstan_tests::{Setup, guests};
use serde_json::Value;

use crate::{CAPSTAN, alone, told_of};

#[tokio::test]
async fn a_deterministic_run_prints_the_same_each_time_and_everywhere() {
    let probe = guests::compiled_path("probe.p2");
    let daemon = Setup::new(CAPSTAN).start();
    let flags = ["run", "--deterministic", "--fuel", "100000000", "--outcome", "outcome.json"];
    let mut told = Vec::new();
    daemon.client().push("probe.p2.wasm", guests::compiled("probe.p2")).await;
    // The name that it is run under is input too: the file's in process, the handler's on a daemon.
    let handler = Path::new("probe.p2.wasm");
    for (command, probe) in [(alone(), probe.as_path()), (alone(), &probe), (told_of(&daemon), handler)] {
        let finished = command.args(flags).args([probe]).args(["senses"]).stdin("").run().await.exited(0);
        let outcome: Value = serde_json::from_slice(&finished.read("outcome.json")).unwrap();
        told.push((finished.text().to_owned(), outcome["usage"]["fuel"].as_u64().unwrap()));
    }
    assert!(told[0].0.starts_with("946684800.000000000\n"), "{told:?}");
    assert!(told.iter().all(|other| *other == told[0]), "{told:?}");
    let run = alone().args(["run", "--deterministic", "--seed", "1", "--clock", "2026-01-01T00:00:00Z"]).args([&probe]);
    let other = run.args(["senses"]).run().await.exited(0);
    assert!(other.text().starts_with("1767225600.000000000\n") && !told[0].0.ends_with(&other.text()[21..]));
}

#[tokio::test]
async fn fuel_that_is_spent_is_told_and_exits_137() {
    let run = alone().file("spin.wasm", guests::limits::LOOP_IN_START).args(["run", "--fuel", "1000", "spin.wasm"]);
    let finished = run.run().await.exited(137);
    assert!(finished.stderr.contains("more than 1000 units of fuel"), "{}", finished.stderr);
    let run = alone().args(["run", "--clock", "precise", "x.wasm"]).run().await.exited(125);
    assert!(run.stderr.contains("\"coarse\""), "{}", run.stderr);
}

#[tokio::test]
async fn a_feature_is_asked_for_of_a_file() {
    let file = || alone().file("wide.wasm", guests::features::MEMORY64);
    let refused = file().args(["run", "wide.wasm"]).run().await.exited(125);
    assert!(refused.stderr.contains("features = [\"memory64\"]"), "{}", refused.stderr);
    file().args(["run", "--feature", "memory64", "wide.wasm"]).run().await.exited(0);
    let daemon = Setup::new(CAPSTAN).config("[policy]\nfeatures = [\"memory64\"]").start();
    let on_daemon = told_of(&daemon).file("wide.wasm", guests::features::MEMORY64);
    on_daemon.args(["run", "--feature", "memory64", "wide.wasm"]).run().await.exited(0);
    let strict = Setup::new(CAPSTAN).start();
    let denied = told_of(&strict).file("wide.wasm", guests::features::MEMORY64);
    let denied = denied.args(["run", "--feature", "memory64", "wide.wasm"]).run().await.exited(125);
    assert!(denied.stderr.contains("the operator does not list it"), "{}", denied.stderr);
}
