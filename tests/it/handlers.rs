//! The handler registry over the API: push, replace, inspect, fetch and remove, and the rejection of invalid programs.

mod base;
pub(crate) mod files;
pub(crate) mod persistence;
mod upload;

use capstan_tests::{Client, Daemon, Reply, Setup, eventually, foreach_guest, guests};
use serde_json::json;

use crate::{CAPSTAN, configured, oracle, serving};

foreach_guest!(handlers, tested);

#[tokio::test]
async fn handler_can_be_pushed_inspected_fetched_and_removed() {
    let daemon = Daemon::start(CAPSTAN);
    let client = daemon.client();
    let pushed = client.put("/v1/handlers/hello", guests::run::HELLO).send().await;
    assert_eq!(pushed.status, 201, "{pushed:?}");
    let mut handler = pushed.json();
    assert_eq!(handler["name"], "hello");
    assert_eq!(handler["kind"], "module");
    assert_eq!(handler["size"], guests::run::HELLO.len());
    assert_eq!(handler["service"], false);
    let digest = handler["digest"].as_str().unwrap();
    assert!(digest.starts_with("sha256:") && digest.len() == 7 + 64, "{digest}");
    assert_eq!(pushed.header("etag"), Some(format!("\"{digest}\"").as_str()));
    let created = handler["created"].as_str().unwrap();
    assert!(created.contains('T') && created.ends_with('Z'), "{created} is not RFC 3339 in UTC");

    let findings = handler.as_object_mut().unwrap().remove("findings");
    assert_eq!(findings, Some(json!([])), "the manifest requests nothing");
    let inspected = client.get("/v1/handlers/hello").send().await;
    assert_eq!(inspected.json(), handler);
    assert_eq!(inspected.header("etag"), pushed.header("etag"));
    assert!(names(&client.get("/v1/handlers").send().await).contains(&"hello".to_owned()));

    let fetched = client.get("/v1/handlers/hello/wasm").send().await;
    assert_eq!(fetched.header("content-type"), Some("application/wasm"));
    assert!(fetched.body == guests::run::HELLO, "the fetched program must equal the pushed one");

    assert_eq!(client.delete("/v1/handlers/hello").send().await.status, 204);
    client.get("/v1/handlers/hello").send().await.error(404, "unknown_handler");
    client.get("/v1/handlers/hello/wasm").send().await.error(404, "unknown_handler");
    client.delete("/v1/handlers/hello").send().await.error(404, "unknown_handler");
    assert!(!names(&client.get("/v1/handlers").send().await).contains(&"hello".to_owned()));
}

fn names(list: &Reply) -> Vec<String> {
    let json = list.json();
    let handlers = json["handlers"].as_array().unwrap_or_else(|| panic!("no handlers in {json}"));
    handlers.iter().map(|handler| handler["name"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn handler_list_is_sorted_and_contains_builtins() {
    let (_daemon, client) = serving("zebra", guests::run::HELLO).await;
    client.push("ant", guests::run::HELLO).await;
    let reply = client.get("/v1/handlers").send().await;
    let listed = names(&reply);
    assert!(listed.is_sorted(), "{listed:?}");
    for (name, service) in [
        ("commands", false),
        ("version", false),
        ("info", false),
        ("serveapi", true),
        ("acceptconnections", true),
        ("webhook", true),
    ] {
        let json = reply.json();
        let builtin = json["handlers"].as_array().unwrap().iter().find(|handler| handler["name"] == name);
        let builtin = builtin.unwrap_or_else(|| panic!("no {name} in {listed:?}"));
        assert_eq!(builtin["kind"], "native", "{builtin}");
        assert_eq!(builtin["service"], service, "{builtin}");
    }
}

#[tokio::test]
async fn builtins_cannot_be_replaced_or_removed_and_services_cannot_be_run() {
    let (mut daemon, client) = serving("hello", guests::run::HELLO).await;
    client.put("/v1/handlers/version", guests::run::HELLO).send().await.error(403, "builtin");
    client.delete("/v1/handlers/version").send().await.error(403, "builtin");
    client.run("serveapi").arg("tcp://127.0.0.1:0").send().await.error(403, "service");
    client.run("acceptconnections").send().await.error(403, "service");
    client.run("version").send().await.assert_outcome("exited", 0);
    let commands = client.run("commands").send().await;
    commands.assert_outcome("exited", 0);
    assert!(commands.text().contains("hello"), "{commands:?}");
    oracle::still_answers(&mut daemon).await;
}

#[tokio::test]
async fn push_to_an_existing_name_replaces_the_handler() {
    let (_daemon, client) = serving("guest", guests::run::HELLO).await;
    let old = client.get("/v1/handlers/guest").send().await.json();
    let replaced = client.put("/v1/handlers/guest", guests::run::BOTH_STREAMS).send().await;
    assert_eq!(replaced.status, 200, "{replaced:?}");
    assert_ne!(replaced.json()["digest"], old["digest"]);
    assert_eq!(client.run("guest").send().await.text(), "out\n");
}

#[tokio::test]
async fn push_and_delete_check_preconditions() {
    let daemon = Daemon::start(CAPSTAN);
    let client = daemon.client();
    let put = |wasm: &'static [u8]| client.put("/v1/handlers/guest", wasm);
    put(guests::run::HELLO).header("if-match", "\"sha256:00\"").send().await.error(412, "precondition_failed");
    client.get("/v1/handlers/guest").send().await.error(404, "unknown_handler");

    let first = put(guests::run::HELLO).header("if-none-match", "*").send().await;
    assert_eq!(first.status, 201, "{first:?}");
    let etag = first.header("etag").unwrap().to_owned();
    put(guests::run::CAT).header("if-none-match", "*").send().await.error(412, "precondition_failed");
    put(guests::run::CAT).header("if-match", "\"sha256:00\"").send().await.error(412, "precondition_failed");
    let unchanged = client.get("/v1/handlers/guest").send().await;
    assert_eq!(unchanged.header("etag"), Some(etag.as_str()));

    let second = put(guests::run::CAT).header("if-match", &etag).send().await;
    assert_eq!(second.status, 200, "{second:?}");
    client.delete("/v1/handlers/guest").header("if-match", &etag).send().await.error(412, "precondition_failed");
    let etag = second.header("etag").unwrap().to_owned();
    assert_eq!(client.delete("/v1/handlers/guest").header("if-match", &etag).send().await.status, 204);
}

#[tokio::test]
async fn run_finishes_on_the_code_it_started_with() {
    let (mut daemon, client) = serving("guest", guests::run::PRINT_THEN_EXIT).await;
    for method in ["PUT", "DELETE"] {
        client.push("guest", guests::run::PRINT_THEN_EXIT).await;
        let (call, feed) = client.run("guest").arg("5").streaming_body();
        let mut exchange = call.open().await;
        assert_eq!(exchange.read_at_least(8).await, "started\n");
        let changed = client.call(method, "/v1/handlers/guest").body(guests::run::HELLO).send().await;
        assert!(matches!(changed.status, 200 | 204), "{method}: {changed:?}");
        drop(feed);
        let reply = exchange.finish().await;
        reply.assert_outcome("exited", 5);
        assert_eq!(reply.text(), "ended\n", "{method}");
    }
    client.run("guest").send().await.error(404, "unknown_handler");
    oracle::still_answers(&mut daemon).await;
}

#[tokio::test]
async fn concurrent_pushes_of_one_program_all_succeed() {
    let daemon = Daemon::start(CAPSTAN);
    let client = daemon.client();
    let mut pushes = tokio::task::JoinSet::new();
    for _ in 0..16 {
        pushes.spawn(client.put("/v1/handlers/hello", guests::run::HELLO).send());
    }
    let replies = pushes.join_all().await;
    assert!(replies.iter().all(|reply| matches!(reply.status, 200 | 201)), "{replies:?}");
    assert_eq!(replies.iter().filter(|reply| reply.status == 201).count(), 1, "exactly one push creates the handler");
    assert!(replies.iter().all(|reply| reply.json()["digest"] == replies[0].json()["digest"]));
}

#[tokio::test]
async fn invalid_handler_names_are_rejected() {
    let mut daemon = Daemon::start(CAPSTAN);
    let client = daemon.client();
    let long = "n".repeat(300);
    for name in ["a%2Fb", "%2e%2e", "..", ".", "a%00b", "%20", "a%0Ab", "%FF", long.as_str()] {
        let reply = client.put(&format!("/v1/handlers/{name}"), guests::run::HELLO).send().await;
        reply.error(400, "invalid_name");
    }
    client.put("/v1/handlers/a/b", guests::run::HELLO).send().await.error(404, "not_found");
    for name in ["a", "word-count", "csv2json", "v1.2_x"] {
        client.push(name, guests::run::HELLO).await;
    }
    oracle::still_answers(&mut daemon).await;
}

const BOUNDARY: &str = "b0undary";

fn multipart(parts: &[(&str, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, content) in parts {
        body.extend(
            format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"{name}\"\r\n\r\n")
                .bytes(),
        );
        body.extend(*content);
        body.extend(b"\r\n");
    }
    body.extend(format!("--{BOUNDARY}--\r\n").bytes());
    body
}

pub(crate) async fn push_multipart(daemon: &Daemon, parts: &[(&str, &[u8])]) -> Reply {
    let call = daemon.client().put("/v1/handlers/guest", multipart(parts));
    call.header("content-type", &format!("multipart/form-data; boundary={BOUNDARY}")).send().await
}

pub(crate) async fn push_with_manifest(client: &Client, handler: &str, module: &[u8], manifest: &str) {
    let reply = try_push_with_manifest(client, handler, module, manifest).await;
    assert!([200, 201].contains(&reply.status), "{reply:?}");
}

pub(crate) async fn try_push_with_manifest(client: &Client, handler: &str, module: &[u8], manifest: &str) -> Reply {
    let body = multipart(&[("module", module), ("manifest", manifest.as_bytes())]);
    let call = client.put(&format!("/v1/handlers/{handler}"), body);
    call.header("content-type", &format!("multipart/form-data; boundary={BOUNDARY}")).send().await
}

#[tokio::test]
async fn manifest_pushed_with_a_module_applies() {
    let mut daemon = Daemon::start(CAPSTAN);
    let manifest = b"description = \"Shows what it gets\"\n[policy]\ntimeout = \"250ms\"\n[env]\nGREETING = \"hi\"\nTWICE = \"1\"\n";
    let pushed = push_multipart(&daemon, &[("module", guests::run::ARGS_AND_ENV), ("manifest", manifest)]).await;
    assert_eq!(pushed.status, 201, "{pushed:?}");
    assert_eq!(pushed.json()["description"], "Shows what it gets");
    let reply = daemon.client().run("guest").env("TWICE", "2").send().await;
    let mut env: Vec<_> = reply.text().split_once('\n').unwrap().1.split_terminator('\0').collect();
    env.sort_unstable();
    assert_eq!(env, ["GREETING=hi", "TWICE=2"], "the caller's value overrides the manifest's");

    // The limits of the manifest are a ceiling for the caller.
    let pushed = push_multipart(&daemon, &[("manifest", manifest), ("module", guests::limits::LOOP_IN_START)]).await;
    assert_eq!(pushed.status, 200, "{pushed:?}");
    let framed = daemon.client().run("guest").framed().query("timeout", "1h").send().await.frames();
    framed.assert_outcome("timed_out", 124);
    assert_eq!(framed.outcome()["limit"], 0.25);
    oracle::still_answers(&mut daemon).await;
}

#[tokio::test]
async fn invalid_manifest_is_rejected_with_the_reason() {
    let mut daemon = Daemon::start(CAPSTAN);
    for (manifest, wrong) in [
        ("colour = 1", "colour"),
        ("[policy]\nmemroy = 1", "memroy"),
        ("[policy]\ntimeout = \"soon\"", "soon"),
        ("= =", "="),
    ] {
        let parts: &[(&str, &[u8])] = &[("module", guests::run::HELLO), ("manifest", manifest.as_bytes())];
        let message = push_multipart(&daemon, parts).await.error(422, "invalid_manifest");
        assert!(message.contains(wrong), "{manifest:?}: {message}");
    }
    push_multipart(&daemon, &[("manifest", b"description = \"\"")]).await.error(400, "bad_request");
    daemon.client().get("/v1/handlers/guest").send().await.error(404, "unknown_handler");
    oracle::still_answers(&mut daemon).await;
}

/// Pushes an invalid program to a new name and over an existing handler, which must stay. Returns the error message.
async fn rejection_of(wasm: &[u8], code: &str) -> String {
    let (mut daemon, client) = serving("steady", guests::run::HELLO).await;
    let message = client.put("/v1/handlers/bad", wasm.to_vec()).send().await.error(422, code);
    client.get("/v1/handlers/bad").send().await.error(404, "unknown_handler");
    client.put("/v1/handlers/steady", wasm.to_vec()).send().await.error(422, code);
    assert_eq!(client.run("steady").send().await.text(), "hello\n");
    oracle::still_answers(&mut daemon).await;
    message
}

/// Pushes a program that uses `feature` to a daemon whose operator allows no features.
async fn narrow_rejection_of(wasm: &[u8], feature: &str) {
    let (mut daemon, client) = configured("[policy]\nfeatures = []", "steady", guests::run::HELLO).await;
    let message = client.put("/v1/handlers/bad", wasm.to_vec()).send().await.error(422, "feature_disabled");
    assert!(message.contains(&format!("features = [\"{feature}\"]")), "{message}");
    oracle::still_answers(&mut daemon).await;
}

#[tokio::test]
async fn no_start() {
    let (_daemon, client) = serving("sum", guests::handlers::NO_START).await;
    let handler = client.get("/v1/handlers/sum").send().await.json();
    assert_eq!((&handler["kind"], &handler["library"]), (&json!("module"), &json!(true)));
    client.run("sum").send().await.assert_outcome("refused", 125);
    assert_eq!(client.run("sum").query("invoke", "add(1, 2)").send().await.text(), "3\n");
}

#[tokio::test]
async fn program_that_exports_no_function_is_rejected() {
    // An export section with the memory alone.
    let wasm = b"\0asm\x01\0\0\0\x05\x03\x01\0\x01\x07\x0a\x01\x06memory\x02\0".to_vec();
    let message = rejection_of(&wasm, "not_a_command").await;
    assert!(message.contains("_start"), "{message}");
}

#[tokio::test]
async fn foreign_program_is_rejected_with_its_kind() {
    let daemon = Daemon::start(CAPSTAN);
    let reply = daemon.client().put("/v1/handlers/bad", guests::handlers::BROWSER_IMPORTS).send().await;
    let message = reply.error(422, "unknown_import");
    assert_eq!(reply.json()["error"]["kind"], "wasm_bindgen");
    assert!(message.contains("wasm32-wasip1"), "{message}");
    let metrics = daemon.client().get("/metrics").send().await;
    let lines: Vec<_> = metrics.text().lines().filter(|line| line.starts_with("capstan_compiles_total{")).collect();
    assert!(!lines.is_empty() && lines.iter().all(|line| line.ends_with(" 0")), "a compiler was started: {lines:?}");
}

#[tokio::test]
async fn start_with_arguments() {
    let message = rejection_of(guests::handlers::START_WITH_ARGUMENTS, "not_a_command").await;
    assert!(message.contains("_start"), "{message}");
}

#[tokio::test]
async fn component_without_run() {
    let message = rejection_of(guests::handlers::COMPONENT_WITHOUT_RUN, "not_a_command").await;
    assert!(message.contains("wasi:cli/run"), "{message}");
}

#[tokio::test]
async fn browser_imports() {
    let message = rejection_of(guests::handlers::BROWSER_IMPORTS, "unknown_import").await;
    for import in ["env", "memory", "wbg", "__wbindgen_throw"] {
        assert!(message.contains(import), "{import} is not named: {message}");
    }
}

#[tokio::test]
async fn http_imports() {
    let message = rejection_of(guests::handlers::HTTP_IMPORTS, "not_a_command").await;
    assert!(message.contains("wasi:cli/run"), "{message}");
}

#[tokio::test]
async fn wrong_import_type() {
    let message = rejection_of(guests::handlers::WRONG_IMPORT_TYPE, "unknown_import").await;
    assert!(message.contains("fd_write"), "{message}");
}

#[tokio::test]
async fn memory64() {
    narrow_rejection_of(guests::handlers::MEMORY64, "memory64").await;
}

#[tokio::test]
async fn multi_memory() {
    narrow_rejection_of(guests::handlers::MULTI_MEMORY, "multi-memory").await;
}

#[tokio::test]
async fn shared_memory() {
    let message = rejection_of(guests::handlers::SHARED_MEMORY, "feature_disabled").await;
    assert!(message.contains("threads share") && message.contains("without -pthread"), "{message}");
}

#[tokio::test]
async fn wasi_threads() {
    let message = rejection_of(guests::handlers::WASI_THREADS, "unknown_import").await;
    assert!(message.contains("one thread") && message.contains("in place of wasm32-wasip1-threads"), "{message}");
}

#[tokio::test]
async fn legacy_exceptions() {
    // A function with the body `try catch_all end`, which the text format no longer has.
    let wasm = b"\0asm\x01\0\0\0\x01\x04\x01\x60\0\0\x03\x02\x01\0\x0a\x08\x01\x06\0\x06\x40\x19\x0b\x0b";
    let message = rejection_of(wasm, "feature_disabled").await;
    assert!(message.contains("-wasm-use-legacy-eh=false"), "{message}");
}

#[tokio::test]
async fn gc() {
    narrow_rejection_of(guests::handlers::GC, "gc").await;
}

#[tokio::test]
async fn exceptions() {
    narrow_rejection_of(guests::handlers::EXCEPTIONS, "exceptions").await;
}

#[tokio::test]
async fn push_of_non_wasm_bytes_is_rejected() {
    let message = rejection_of(b"", "invalid_module").await;
    assert!(message.contains("empty") || message.contains("end"), "{message}");
    rejection_of(b"\0", "invalid_module").await;
    rejection_of(b"#!/bin/sh\necho hello\n", "invalid_module").await;
    rejection_of(b"\0asm\x63\0\0\0", "invalid_module").await;
    rejection_of(&[0xff; 1000], "invalid_module").await;
}

#[tokio::test]
async fn push_of_text_format_is_rejected_with_advice() {
    rejection_of(b"(module (func (export \"_start\")))", "text_format").await;
    rejection_of(b";; A comment.\n  (component)", "text_format").await;
}

#[tokio::test]
async fn precompiled_code_is_rejected() {
    // The header that wasmtime writes: ELF, 64 bits, its own ABI number 200, relocatable. The flags select module or component.
    for flags in [1, 2] {
        let mut elf = vec![0; 4096];
        elf[..8].copy_from_slice(b"\x7fELF\x02\x01\x01\xc8");
        elf[16..20].copy_from_slice(&[1, 0, 62, 0]);
        elf[20] = 1;
        elf[48] = flags;
        rejection_of(&elf, "precompiled").await;
    }
}

#[tokio::test]
async fn truncated_program_is_rejected() {
    let (mut daemon, client) = serving("steady", guests::run::HELLO).await;
    let whole = guests::run::HELLO;
    // Each section is an id, a size of one byte, and the content.
    let (mut ends, mut end) = (vec![], 8);
    while end < whole.len() {
        ends.push(end);
        end += 2 + usize::from(whole[end + 1]);
    }
    assert_eq!(end, whole.len(), "the guest must have only sections of less than 128 bytes");
    for length in 0..whole.len() {
        let reply = client.put("/v1/handlers/bad", &whole[..length]).send().await;
        // A program cut at the end of a section may be valid and even run: without its data it prints NUL.
        let is_known = match reply.status {
            200 | 201 => ends.contains(&length),
            422 if reply.json()["error"]["code"] == "not_a_command" => ends.contains(&length),
            422 => reply.json()["error"]["code"] == "invalid_module",
            _ => false,
        };
        assert!(is_known, "the first {length} bytes: {reply:?}");
    }
    let message = client.put("/v1/handlers/bad", &whole[..whole.len() / 2]).send().await.error(422, "invalid_module");
    assert!(message.contains("offset") || message.contains("0x"), "the position of the error is missing: {message}");
    oracle::still_answers(&mut daemon).await;
}

#[tokio::test]
async fn daemons_do_not_share_handlers() {
    let (first, _) = serving("hello", guests::run::HELLO).await;
    let second = Setup::new(CAPSTAN).start();
    second.client().run("hello").send().await.error(404, "unknown_handler");
    eventually("the first to answer", async || (first.client().run("hello").send().await.status == 200).then_some(()))
        .await;
}
