//! Libraries, reactors and typed components: functions that a run calls in place of an entry point.

use capstan_tests::{Client, Reply, foreach_guest, guests};
use serde_json::json;

use crate::serving;

foreach_guest!(invoke, tested);

async fn invoke(client: &Client, call: &str) -> Reply {
    client.run("lib").query("invoke", call).send().await
}

/// Returns why the run was refused.
async fn refusal_of(client: &Client, call: &str) -> String {
    let reply = invoke(client, call).await;
    reply.assert_outcome("refused", 125);
    let why = reply.header("capstan-error").or_else(|| reply.trailer("capstan-error"));
    why.unwrap_or_else(|| panic!("no reason in {reply:?}")).to_owned()
}

#[tokio::test]
async fn library() {
    let (_daemon, client) = serving("lib", guests::invoke::LIBRARY).await;
    assert_eq!(client.get("/v1/handlers/lib").send().await.json()["library"], true);
    for (call, expected) in [
        ("add(1, -3)", "-2\n"),
        ("both(1, 0.5)", "(0.5, 1)\n"),
        ("nothing()", ""),
        // The result comes after the output of the guest.
        ("print(7)", "out\n7\n"),
    ] {
        let reply = invoke(&client, call).await;
        reply.assert_outcome("exited", 0);
        assert_eq!(reply.text(), expected, "{call}");
    }
    let reply = client.run("lib").query("invoke", "add").arg("20").arg("22").send().await;
    assert_eq!(reply.text(), "42\n");
    let line = "{\"invoke\": \"add(2, 3)\"}\n";
    let run = client.run("lib").header("content-type", "application/vnd.capstan.run").body(line);
    assert_eq!(run.send().await.text(), "5\n");
    invoke(&client, "exit(3)").await.assert_outcome("exited", 3);
    invoke(&client, "divide(1, 0)").await.assert_outcome("trapped", 134);
}

#[tokio::test]
async fn run_of_library_without_invoke_lists_its_functions() {
    let (_daemon, client) = serving("lib", guests::invoke::LIBRARY).await;
    let reply = client.run("lib").framed().send().await;
    let frames = reply.frames();
    frames.assert_outcome("refused", 125);
    let why = frames.outcome()["why"].as_str().unwrap().to_owned();
    for part in ["library", "--invoke", "`add(i32, i32) -> i32`", "`both(i64, f64) -> (f64, i64)`"] {
        assert!(why.contains(part), "{part} is not in: {why}");
    }
}

#[tokio::test]
async fn wrong_call_is_refused_and_runs_nothing() {
    let (_daemon, client) = serving("lib", guests::invoke::LIBRARY).await;
    for (call, expected) in [
        ("ad(1, 2)", "did you mean `add`?"),
        ("add(1)", "missing required param(s)"),
        ("add(1, \"x\")", "at character 8, `\"x\"`"),
        ("add(1, 2", "cannot parse the call"),
        ("print", "it takes 1 argument, and got 0"),
        ("_initialize()", "exports no function `_initialize`"),
    ] {
        let why = refusal_of(&client, call).await;
        assert!(why.contains(expected), "{call}: {why}");
    }
    client.run("lib").query("invoke", "add(1,2)").query("invoke", "add(1,2)").send().await.error(400, "bad_request");
    let message = client.run("version").query("invoke", "f()").send().await.error(400, "bad_request");
    assert!(message.contains("builtin"), "{message}");
}

#[tokio::test]
async fn limits_hold_for_invoked_functions() {
    let (_daemon, client) = serving("lib", guests::invoke::LIBRARY).await;
    let run = |call: &str| client.run("lib").query("invoke", call);
    run("spin()").query("timeout", "100ms").send().await.assert_outcome("timed_out", 124);
    run("grow()").query("memory", "1MiB").send().await.assert_outcome("memory_denied", 137);
    let capped = run("print(7)").query("policy", &json!({"stdout": 5}).to_string()).send().await;
    capped.assert_outcome("output_cap", 137);
    assert_eq!(capped.text(), "out\n7", "the result counts as output");
    let fuel = run("spin()").query("policy", &json!({"fuel": 10_000}).to_string()).send().await;
    fuel.assert_outcome("fuel_spent", 137);
}

#[tokio::test]
async fn reactor() {
    let (_daemon, client) = serving("lib", guests::invoke::REACTOR).await;
    for _ in 0..2 {
        assert_eq!(invoke(&client, "next()").await.text(), "42\n", "each run has a fresh instance");
    }
}

#[tokio::test]
async fn component() {
    let (_daemon, client) = serving("lib", guests::invoke::COMPONENT).await;
    for (call, expected) in [
        ("echo(\"a \\\"ü\\\"\")", "\"a \\\"ü\\\"\"\n"),
        ("acme:lib/text@1.0.0#echo(\"x\")", "\"x\"\n"),
        ("acme:lib/text.echo@1.0.0(\"x\")", "\"x\"\n"),
        ("text.echo-list([(1, some(\"a\")), (2, none)])", "[(1, some(\"a\")), (2, none)]\n"),
        ("echo-list([])", "[]\n"),
    ] {
        let reply = invoke(&client, call).await;
        reply.assert_outcome("exited", 0);
        assert_eq!(reply.text(), expected, "{call}");
    }
    assert_eq!(client.run("lib").query("invoke", "echo").arg("as it is").send().await.text(), "\"as it is\"\n");
    invoke(&client, "fail()").await.assert_outcome("trapped", 134);
    client.run("lib").query("invoke", "spin()").query("timeout", "100ms").send().await.assert_outcome("timed_out", 124);
    for (call, expected) in [
        ("take(1)", "a resource cannot be written as text"),
        ("eco(\"x\")", "did you mean `echo`?"),
        ("echo(1)", "at character 6, `1`"),
        ("echo-list([(1, some(\"a\")), (2)])", "at character"),
    ] {
        let why = refusal_of(&client, call).await;
        assert!(why.contains(expected), "{call}: {why}");
    }
}

#[tokio::test]
async fn result_that_is_too_large_for_the_host_ends_the_run() {
    let (_daemon, client) = serving("lib", guests::invoke::COMPONENT).await;
    let reply = invoke(&client, "huge()").await;
    reply.assert_outcome("trapped", 134);
    assert_eq!(reply.text(), "");
    assert_eq!(invoke(&client, "echo(\"x\")").await.text(), "\"x\"\n");
}
