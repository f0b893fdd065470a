//! Components for each minor version of WASI 0.2 run, and those for other versions are rejected before they are compiled.

use crate::serving;
use capstan_tests::guests;

/// Returns a component that was built for this version of WASI and exits with code 1.
fn component(version: &str) -> Vec<u8> {
    let text = format!(
        r#"(component
          (import "wasi:io/error@{version}" (instance $errors
            (export "error" (type $error (sub resource)))
            (export "[method]error.to-debug-string" (func (param "self" (borrow $error)) (result string)))))
          (import "wasi:clocks/monotonic-clock@{version}" (instance (export "now" (func (result u64)))))
          (import "wasi:random/random@{version}" (instance (export "get-random-u64" (func (result u64)))))
          (import "wasi:cli/exit@{version}" (instance $exit (export "exit" (func (param "status" (result))))))
          (core func $exit (canon lower (func $exit "exit")))
          (core module $code
            (import "host" "exit" (func $exit (param i32)))
            (func (export "run") (result i32) (call $exit (i32.const 1)) unreachable))
          (core instance $code (instantiate $code (with "host" (instance (export "exit" (func $exit))))))
          (func $run (result (result)) (canon lift (core func $code "run")))
          (instance $exported (export "run" (func $run)))
          (export "wasi:cli/run@{version}" (instance $exported)))"#
    );
    wat::parse_str(text).unwrap()
}

#[tokio::test]
async fn each_minor_version_of_wasi_0_2_runs() {
    let (_daemon, client) = serving("steady", guests::run::HELLO).await;
    for minor in 0..=12 {
        let version = format!("0.2.{minor}");
        client.push("guest", component(&version)).await;
        let framed = client.run("guest").framed().send().await.frames();
        assert_eq!(framed.outcome()["code"], 1, "{version}: {}", framed.last);
    }
}

#[tokio::test]
async fn command_of_a_draft_of_wasi_0_3_is_rejected_by_its_name() {
    let (_daemon, client) = serving("steady", guests::run::HELLO).await;
    let reply = client.put("/v1/handlers/guest", component("0.3.0-rc-2025-09-16")).send().await;
    let message = reply.error(422, "unknown_import");
    assert!(message.contains("wasi:cli/exit@0.3.0-rc") && message.contains("--target wasm32-wasip2"), "{message}");
}

#[tokio::test]
async fn interfaces_of_wasi_0_3_that_hold_no_limits_are_rejected_with_what_to_use() {
    let (_daemon, client) = serving("steady", guests::run::HELLO).await;
    for interface in ["wasi:filesystem/types@0.3.0", "wasi:sockets/types@0.3.2"] {
        let text = format!(
            "(component (import {interface:?} (instance)) (instance) (export \"wasi:cli/run@0.3.0\" (instance 1)))"
        );
        let reply = client.put("/v1/handlers/guest", wat::parse_str(text).unwrap()).send().await;
        let message = reply.error(422, "unknown_import");
        assert!(message.contains(interface) && message.contains("those of 0.2"), "{message}");
    }
}
