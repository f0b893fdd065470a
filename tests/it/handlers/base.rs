//! Handlers that share the program of another: `[program] from`, fixed arguments, and runtimes of scripts.

use std::fs;
use std::time::SystemTime;

use capstan_tests::{Client, Daemon, Reply, Setup, guests};
use serde_json::{Value, json};

use super::files::{archive, push};
use crate::jobs::api::{output_of, submit, wait_for_end};
use crate::metrics::metric_value;
use crate::{CAPSTAN, oracle};

const RUNTIME: &str = "argv0 = \"show\"\nenv = { A = \"base\", B = \"base\" }\n[policy]\ntimeout = \"40s\"\nmemory = \"2MiB\"\n\
                       [runtime]\nextensions = [\".x\"]\nargs = [\"-q\"]\nmain = [\"main.x\", \"index.x\"]\nlicence = \"MIT\"\n";

/// Starts a daemon with the runtime `show`, which prints its arguments and variables.
async fn with_runtime() -> (Daemon, Client) {
    let daemon = Daemon::start(CAPSTAN);
    let client = daemon.client();
    let parts: &[(&str, &[u8])] = &[("module", guests::run::ARGS_AND_ENV), ("manifest", RUNTIME.as_bytes())];
    let pushed = push(&client, "show", parts).await;
    assert_eq!(pushed.status, 201, "{pushed:?}");
    let runtime = json!({"extensions": [".x"], "licence": "MIT", "args": ["-q"], "main": ["main.x", "index.x"]});
    assert_eq!(pushed.json()["runtime"], runtime);
    (daemon, client)
}

async fn push_script(client: &Client, name: &str, manifest: &str, files: &[(&str, &[u8])]) -> Reply {
    let archive = archive(files);
    let mut parts: Vec<(&str, &[u8])> = vec![("manifest", manifest.as_bytes())];
    if !files.is_empty() {
        parts.push(("files", &archive));
    }
    push(client, name, &parts).await
}

/// Returns the program name, the arguments and the variables that a guest prints.
async fn shown(client: &Client, name: &str, args: &[&str]) -> (Vec<String>, Vec<String>) {
    let call = args.iter().fold(client.run(name), |call, arg| call.arg(arg));
    let reply = call.send().await;
    reply.assert_outcome("exited", 0);
    let list = |text: &str| text.split_terminator('\0').map(str::to_owned).collect::<Vec<_>>();
    let (args, env) = reply.text().split_once('\n').unwrap();
    let mut env = list(env);
    env.sort_unstable();
    (list(args), env)
}

const FROM: &str = "[program]\nfrom = \"show\"\n";

#[tokio::test]
async fn script_shares_the_program_and_compiles_nothing() {
    let (daemon, client) = with_runtime().await;
    let compiles = || metric_value(&client, "capstan_compiles_total{result=\"compiled\"}");
    let before = compiles().await;
    let artifacts = || {
        let folder = daemon.setup().folder().join("data/artifacts");
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
        entries
            .map(|entry| (entry.file_name(), entry.metadata().unwrap().modified().unwrap()))
            .collect::<Vec<(_, SystemTime)>>()
    };
    let code = artifacts();
    let base = client.get("/v1/handlers/show").send().await.json();
    for number in 0..5 {
        let name = format!("script{number}");
        let pushed = push_script(&client, &name, FROM, &[("a b.x", name.as_bytes())]).await;
        assert_eq!(pushed.status, 201, "{pushed:?}");
        let pushed = pushed.json();
        assert_eq!(pushed["digest"], base["digest"]);
        assert_eq!(pushed["base"], json!({"name": "show", "digest": base["digest"], "state": "current"}));
        let (args, _) = shown(&client, &name, &["--flag", "y"]).await;
        assert_eq!(args, ["show", "-q", "/app/a b.x", "--flag", "y"]);
    }
    assert_eq!((compiles().await, artifacts()), (before, code));
    assert_eq!(fs::read_dir(daemon.setup().folder().join("data/programs")).unwrap().count(), 1);

    let (_daemon, client) = daemon.kill_and_restart().await;
    assert_eq!(shown(&client, "script3", &[]).await.0, ["show", "-q", "/app/a b.x"]);
    let compiled = metric_value(&client, "capstan_compiles_total{result=\"compiled\"}").await;
    assert!(compiled.abs() < 0.5, "{compiled}");
}

#[tokio::test]
async fn manifest_of_the_base_has_the_defaults_of_the_script() {
    let (_daemon, client) = with_runtime().await;
    let manifest = format!(
        "argv0 = \"mine\"\nenv = {{ B = \"own\", C = \"own\" }}\n{FROM}args = [\"1\", \"2\"]\n[policy]\ntimeout = \"3s\""
    );
    assert_eq!(push_script(&client, "script", &manifest, &[]).await.status, 201);
    let (args, env) = shown(&client, "script", &["3"]).await;
    assert_eq!((args.join(" "), env.join(" ")), ("mine 1 2 3".to_owned(), "A=base B=own C=own".to_owned()));
    let job = client.get(&format!("/v1/jobs/{}", client.run("script").send().await.header("capstan-job").unwrap()));
    let policy = job.send().await.json()["policy"].clone();
    assert_eq!((&policy["timeout"], &policy["memory"]), (&json!(3.0), &json!(2 << 20)), "{policy}");

    // A durable job gets the same arguments.
    let id = submit(&client, &json!({"handler": "script", "args": ["3"]})).await;
    wait_for_end(&client, &id).await;
    assert!(output_of(&client, &id).await.starts_with("mine\u{0}1\u{0}2\u{0}3\u{0}\n"));
}

#[tokio::test]
async fn first_file_of_a_script_is_known_or_must_be_named() {
    let (_daemon, client) = with_runtime().await;
    let two: [(&str, &[u8]); 2] = [("index.x", b"1"), ("lib/other.x", b"2")];
    assert_eq!(push_script(&client, "script", FROM, &two).await.status, 201);
    assert_eq!(shown(&client, "script", &[]).await.0, ["show", "-q", "/app/index.x"]);
    let unknown: [(&str, &[u8]); 2] = [("a.x", b"1"), ("b.x", b"2")];
    let message = push_script(&client, "script", FROM, &unknown).await.error(422, "no_main");
    assert!(message.contains("main.x or index.x"), "{message}");
    let named = format!("{FROM}args = [\"/app/b.x\"]");
    assert_eq!(push_script(&client, "script", &named, &unknown).await.status, 200);
    assert_eq!(shown(&client, "script", &[]).await.0, ["show", "/app/b.x"]);
}

#[tokio::test]
async fn program_of_a_script_stays_when_its_base_is_replaced_or_removed() {
    let (daemon, client) = with_runtime().await;
    push_script(&client, "script", FROM, &[("a.x", b"1")]).await;
    let state = async |client: &Client| client.get("/v1/handlers/script").send().await.json()["base"]["state"].clone();
    client.push("show", guests::run::HELLO).await;
    assert_eq!(state(&client).await, "replaced");
    assert_eq!(shown(&client, "script", &[]).await.0, ["show", "-q", "/app/a.x"]);
    assert_eq!(client.delete("/v1/handlers/show").send().await.status, 204);
    assert_eq!(state(&client).await, "removed");
    let (daemon, client) = daemon.kill_and_restart().await;
    assert_eq!(state(&client).await, "removed");
    assert_eq!(shown(&client, "script", &[]).await.0, ["show", "-q", "/app/a.x"]);
    assert_eq!(client.get("/v1/handlers/script/wasm").send().await.body, guests::run::ARGS_AND_ENV);
    push_script(&client, "other", FROM, &[]).await.error(422, "unknown_base");
    let programs = daemon.setup().folder().join("data/programs");
    assert_eq!(client.delete("/v1/handlers/script").send().await.status, 204);
    assert_eq!(fs::read_dir(programs).unwrap().count(), 0);
}

#[tokio::test]
async fn base_without_a_program_of_its_own_is_rejected() {
    let (mut daemon, client) = with_runtime().await;
    push_script(&client, "script", FROM, &[]).await;
    let from = |base: &str| format!("[program]\nfrom = {}", Value::from(base));
    for (base, code, expected) in [
        ("nobody", "unknown_base", "runtime add"),
        ("a b/ü", "unknown_base", "a b/ü"),
        ("", "unknown_base", "no handler"),
        ("version", "invalid_base", "built in"),
        ("script", "invalid_base", "from = \"show\""),
        ("new", "invalid_base", "its own program"),
    ] {
        let message = push_script(&client, "new", &from(base), &[]).await.error(422, code);
        assert!(message.contains(expected), "{base:?}: {message}");
    }
    client.get("/v1/handlers/new").send().await.error(404, "unknown_handler");
    // The base of another may become one with a base. What shares its old program keeps it.
    client.push("hello", guests::run::HELLO).await;
    assert_eq!(push_script(&client, "show", &from("hello"), &[]).await.status, 200);
    assert_eq!(shown(&client, "script", &["x"]).await.0, ["show", "x"]);
    push_script(&client, "hello", &from("show"), &[]).await.error(422, "invalid_base");
    oracle::still_answers(&mut daemon).await;
}

#[tokio::test]
async fn push_with_a_program_and_a_base_or_with_neither_is_rejected() {
    let (_daemon, client) = with_runtime().await;
    let both: &[(&str, &[u8])] = &[("module", guests::run::HELLO), ("manifest", FROM.as_bytes())];
    let message = push(&client, "new", both).await.error(422, "program_and_base");
    assert!(message.contains("show"), "{message}");
    push(&client, "new", &[("files", &archive(&[("f", b"1")]))]).await.error(400, "bad_request");
    client.get("/v1/handlers/new").send().await.error(404, "unknown_handler");
}

#[tokio::test]
async fn policy_of_the_base_stays_within_the_ceiling() {
    let daemon = Setup::new(CAPSTAN).config("[policy]\nmemory = \"1MiB\"\n[manifests]\nexcess = \"refuse\"").start();
    let client = daemon.client();
    client.push("show", guests::run::ARGS_AND_ENV).await;
    let manifest = format!("{FROM}[policy]\nmemory = \"8MiB\"");
    push_script(&client, "script", &manifest, &[]).await.error(403, "policy_denied");
    assert_eq!(push_script(&client, "script", FROM, &[]).await.status, 201);
}
