//! Name resolution: in process with resolvers of the tests, and with the command, which uses the system resolver.

use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use capstan_core::limits::Limits;
use capstan_core::manifest::Manifest;
use capstan_core::outcome::Outcome;
use capstan_core::policy::{Ceiling, PolicyRequest, Rule};
use capstan_core::stream;
use capstan_engine::engine::{Config, Engine};
use capstan_engine::job::{JobEnd, JobOptions};
use capstan_engine::tasks::Tasks;
use capstan_sandbox::{CompileLimits, Metering, Resolve, Resolver, Sandbox};
use capstan_tests::{Cli, eventually, guests, within};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;

use super::server::Server;
use crate::CAPSTAN;

/// A resolver that returns one list of addresses after the other, and the last one repeatedly.
#[derive(Debug)]
struct ScriptedResolver(Mutex<Vec<Vec<IpAddr>>>);

#[async_trait::async_trait]
impl Resolve for ScriptedResolver {
    async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        assert_eq!(name, "rebinds.example", "names are normalized, and only names with a rule are looked up");
        let mut answers = self.0.lock().unwrap();
        Ok(if answers.len() > 1 { answers.remove(0) } else { answers[0].clone() })
    }
}

/// A resolver that never responds and counts the lookups.
#[derive(Debug)]
struct SilentResolver(Arc<AtomicU64>);

#[async_trait::async_trait]
impl Resolve for SilentResolver {
    async fn resolve(&self, _: &str) -> io::Result<Vec<IpAddr>> {
        self.0.fetch_add(1, Ordering::Relaxed);
        std::future::pending().await
    }
}

/// Creates an engine with the probe whose resolver returns `answers` and whose operator allows `rules`.
async fn engine(answers: &[&[&str]], rules: &[&str]) -> Engine {
    let answers = answers.iter().map(|answer| answer.iter().map(|address| address.parse().unwrap()).collect());
    engine_with_resolver(ScriptedResolver(Mutex::new(answers.collect())), rules).await
}

/// Like [`engine`], with any resolver.
async fn engine_with_resolver(resolver: impl Resolve, rules: &[&str]) -> Engine {
    let config = capstan_sandbox::Config {
        ceiling: Limits::default(),
        runs: 1,
        stack: capstan_sandbox::DEFAULT_STACK,
        compile: CompileLimits::default(),
        compiler: CAPSTAN.into(),
        confine: capstan_confinement::Mode::default(),
        artifacts: None,
        tasks: Tasks::default(),
        resolver: Resolver::new(resolver),
        roots: capstan_sandbox::TrustedRoots::default(),
    };
    let sandbox = Sandbox::new(config).unwrap();
    let probe = guests::compiled("probe.p2").into();
    let probe = sandbox.load(probe, Manifest::default(), Metering::Off).await.unwrap();
    let ceiling = Ceiling { network: read(rules), ..Ceiling::default() };
    let engine = Engine::new(Config { ceiling, runs: 1, queue: 0 });
    engine.register("probe", probe).unwrap();
    engine
}

fn read(rules: &[&str]) -> Vec<Rule> {
    rules.iter().map(|rule| rule.parse().unwrap()).collect()
}

/// Runs the probe with everything that the operator allows. Returns its output and how it ended.
async fn run(engine: &Engine, asked: PolicyRequest, args: &[&str]) -> (String, JobEnd) {
    let (sink, mut source) = stream::pipe(1 << 16);
    let asked = PolicyRequest { network: Some(engine.ceiling().network.clone()), ..asked };
    let job = engine
        .job("probe")
        .unwrap()
        .args(args.iter().copied())
        .options(JobOptions { policy: asked, ..JobOptions::default() });
    let job = job.stdout(sink).build().unwrap();
    job.start().unwrap();
    let mut text = String::new();
    within("the end of the output", source.read_to_string(&mut text)).await.unwrap();
    (text, JobEnd::clone(&*job.wait().await))
}

#[tokio::test]
async fn only_names_with_a_rule_are_looked_up() {
    let engine = engine(&[&["93.184.216.34", "2606:2800::1"]], &["*.example:443", "10.0.0.0/8"]).await;
    let resolved = async |name: &str| run(&engine, PolicyRequest::EMPTY, &["resolve", name]).await.0;
    assert_eq!(resolved("rebinds.example").await, "93.184.216.34\n2606:2800::1\n");
    assert_eq!(resolved("Rebinds.EXAMPLE.").await, "93.184.216.34\n2606:2800::1\n");
    for (name, reported) in [
        ("example", "access-denied"),
        ("rebinds.example.org", "access-denied"),
        ("93.184.216.34", "access-denied"),
        ("[::1]", "access-denied"),
        ("2130706433", "invalid-argument"),
        ("127.1", "invalid-argument"),
        ("bücher.example", "invalid-argument"),
        ("a b.example", "invalid-argument"),
        ("", "invalid-argument"),
    ] {
        assert_eq!(resolved(name).await, format!("error: {reported}\n"), "{name}");
    }
    assert_eq!(resolved("10.1.2.3").await, "10.1.2.3\n", "an allowed address resolves to itself");
}

#[tokio::test]
async fn name_that_resolves_to_this_machine_is_denied() {
    let server = Server::tcp("secret").await;
    let port = server.address.port().to_string();
    for answer in [&["127.0.0.1"][..], &["::ffff:127.0.0.1"], &["10.0.0.1", "169.254.169.254", "127.0.0.1"]] {
        let engine = engine(&[answer], &["rebinds.example", "0.0.0.0/0"]).await;
        let (text, end) = run(&engine, PolicyRequest::EMPTY, &["tcp", "rebinds.example", &port, "x"]).await;
        assert_eq!((text.as_str(), end.outcome), ("error: access-denied\n", Outcome::Exited { code: 1 }), "{answer:?}");
        let denied = &end.usage.network.unwrap().denied;
        assert_eq!(denied.len(), answer.len(), "{denied:?}");
        assert!(
            denied.iter().all(|denied| denied.reason.contains("need a rule that names them by address")),
            "{denied:?}"
        );
    }
    // The name first resolves to a remote host and then to this machine.
    let engine = engine(&[&["93.184.216.34"], &["127.0.0.1"]], &["rebinds.example:1-65535"]).await;
    let (text, _) = run(&engine, PolicyRequest::EMPTY, &["resolve", "rebinds.example"]).await;
    assert_eq!(text, "93.184.216.34\n");
    let (text, _) = run(&engine, PolicyRequest::EMPTY, &["tcp", "rebinds.example", &port, "x"]).await;
    assert_eq!((text.as_str(), server.connections()), ("error: access-denied\n", 0));
    // If the operator allows this machine too, the name reaches it.
    let engine = self::engine(&[&["127.0.0.1"]], &["rebinds.example", &server.address.to_string()]).await;
    assert_eq!(run(&engine, PolicyRequest::EMPTY, &["tcp", "rebinds.example", &port, "x"]).await.0, "secret");
}

#[tokio::test]
async fn lookup_without_a_response_ends_at_the_deadline() {
    let asked = Arc::new(AtomicU64::new(0));
    let engine = engine_with_resolver(SilentResolver(asked.clone()), &["rebinds.example"]).await;
    // On a busy machine the guest may time out before it starts the lookup.
    eventually("a run that times out during the lookup", async || {
        let asking = PolicyRequest { timeout: Some(Duration::from_millis(200)), ..PolicyRequest::EMPTY };
        let (text, end) = run(&engine, asking, &["resolve", "rebinds.example"]).await;
        assert_eq!((text.as_str(), end.outcome.kind()), ("", "timed_out"));
        (asked.load(Ordering::Relaxed) > 0).then_some(())
    })
    .await;
    let (text, _) = run(&engine, PolicyRequest::EMPTY, &["name"]).await;
    assert_eq!(text, "probe\n", "the only slot must be free");
}

#[test]
fn rules_in_the_documentation_are_valid() {
    let page = std::fs::read_to_string(guests::root().join("docs/network.md")).unwrap();
    let (_, table) = page.split_once("| rule | grants |").unwrap();
    let rules = table.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let rules: Vec<_> = rules.take_while(|rule| *rule != "connections").collect();
    assert!(rules.len() >= 6, "{rules:?}");
    for rule in rules {
        assert_eq!(rule.parse::<Rule>().unwrap().to_string(), rule, "the rule must be printed unchanged");
    }
}

#[tokio::test]
async fn flags_of_a_run_in_process_allow_network_access() {
    let server = Server::tcp("hello\n").await;
    let (address, port) = (server.address.to_string(), server.address.port().to_string());
    let probe = guests::compiled_path("probe.p2");
    let run = async |flags: &[&str], args: &[&str]| {
        let cli = Cli::new(CAPSTAN)
            .env("RUST_BACKTRACE", "1")
            .args(["run", "--outcome", "outcome.json"])
            .args(flags)
            .args([&probe])
            .args(args);
        cli.run().await
    };
    let granted = run(&["--allow-net", &address], &["tcp", "127.0.0.1", &port, "x"]).await.assert_exit_code(0);
    assert_eq!(granted.text(), "hello\n");
    let outcome: Value = serde_json::from_slice(&granted.read("outcome.json")).unwrap();
    assert_eq!(outcome["usage"]["network"]["peers"][0]["received_bytes"], json!(6));
    run(&[], &["connect", &address]).await.assert_exit_code(1);
    run(&["--allow-net", "0.0.0.0/0", "--allow-net", "*"], &["connect", &address]).await.assert_exit_code(1);
    let capped = run(&["--allow-net", &address, "--traffic", "3B"], &["receive", &address]).await.assert_exit_code(137);
    assert_eq!(
        capped.text(),
        "3\nerror: the cap on traffic is reached\n",
        "the error must not reveal more about the host"
    );
    run(&["--allow-net", &address, "--connections", "0"], &["connect", &address]).await.assert_exit_code(137);
    let wrong = run(&["--allow-net", "10.0.0.1/8"], &["name"]).await;
    assert!(wrong.assert_exit_code(125).stderr.contains("the network is 10.0.0.0/8"));
}
