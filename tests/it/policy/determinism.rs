//! Deterministic runs: fuel, fixed clocks and seeded random numbers. Also output that is truncated instead of ending the run.

use capstan_tests::frames::Framed;
use capstan_tests::{Client, Daemon, guests};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::{CAPSTAN, PROBES, configured, oracle, push_probes, serving};

/// Starts a daemon with both probes and a guest that computes forever.
async fn daemon_with_probes() -> (Daemon, Client) {
    let daemon = Daemon::start(CAPSTAN);
    let client = daemon.client();
    push_probes(&client).await;
    client.push("spin", guests::limits::LOOP_IN_START).await;
    (daemon, client)
}

async fn run_handler(client: &Client, probe: &str, args: &[&str], policy: &Value, stdin: &[u8]) -> Framed {
    let call = args.iter().fold(client.run(probe), |call, arg| call.arg(arg));
    call.query("policy", &policy.to_string()).body(stdin.to_vec()).framed().send().await.frames()
}

fn fuel(framed: &Framed) -> u64 {
    framed.last["usage"]["fuel"].as_u64().unwrap_or_else(|| panic!("no fuel in {}", framed.last))
}

/// Runs `work` while other guests compute forever.
async fn under_load<T>(client: &Client, work: impl AsyncFnOnce() -> T) -> T {
    let mut spinners = JoinSet::new();
    for _ in 0..4 {
        spinners.spawn(client.run("spin").query("timeout", "10m").framed().send());
    }
    capstan_tests::eventually("4 spinners", async || (client.running().await >= 4).then_some(())).await;
    work().await
}

#[tokio::test]
async fn deterministic_runs_print_the_same() {
    let (mut daemon, client) = daemon_with_probes().await;
    let policy = json!({"clock": "fixed", "random": "seeded", "fuel": 100_000_000});
    for probe in PROBES {
        let first = run_handler(&client, probe, &["senses"], &policy, b"").await;
        first.assert_outcome("exited", 0);
        let text = String::from_utf8(first.stdout.clone()).unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!((lines[0], lines[2]), ("946684800.000000000", "3000000"), "{probe}: {text}");
        let again = async || {
            for _ in 0..5 {
                let next = run_handler(&client, probe, &["senses"], &policy, b"").await;
                assert_eq!(next.stdout, first.stdout, "{probe}");
                assert_eq!((next.outcome(), fuel(&next)), (first.outcome(), fuel(&first)), "{probe}");
            }
        };
        again().await;
        under_load(&client, again).await;
        let other = json!({"clock": "2026-01-01T00:00:00.5Z", "random": {"seed": 1}});
        let other = run_handler(&client, probe, &["senses"], &other, b"").await;
        let other = String::from_utf8(other.stdout).unwrap();
        assert!(other.starts_with("1767225600.500000000\n"), "{probe}: {other}");
        assert_ne!(other.lines().nth(1), Some(lines[1]), "{probe}: another seed must result in another order");
    }
    oracle::still_answers(&mut daemon).await;
}

/// Input arrives in pieces of different sizes and output is read at different speeds. Neither may affect the fuel.
#[tokio::test]
async fn fuel_is_the_same_alone_and_under_load() {
    let (_daemon, client) = daemon_with_probes().await;
    let (policy, input) = (json!({"fuel": 10_000_000_000_u64, "random": "seeded"}), vec![b'x'; 300_000]);
    for probe in PROBES {
        for command in ["sum", "cat"] {
            let run = async || run_handler(&client, probe, &[command], &policy, &input).await;
            let first = run().await;
            first.assert_outcome("exited", 0);
            let again = async || {
                for _ in 0..10 {
                    let next = run().await;
                    assert!(next.stdout == first.stdout, "{probe} {command}");
                    assert_eq!(fuel(&next), fuel(&first), "{probe} {command}");
                }
            };
            again().await;
            under_load(&client, again).await;
        }
    }
}

#[tokio::test]
async fn fuel_does_not_depend_on_how_stdin_arrives() {
    let (_daemon, client) = daemon_with_probes().await;
    let policy = json!({"fuel": 10_000_000_000_u64, "random": "seeded"}).to_string();
    for probe in PROBES {
        let at_once = client.run(probe).arg("sum").query("policy", &policy).framed().body("x".repeat(100_000));
        let at_once = at_once.send().await.frames();
        let (call, feed) = client.run(probe).arg("sum").query("policy", &policy).framed().streaming_body();
        let mut exchange = call.open().await;
        for _ in 0..100 {
            assert!(feed.send("x".repeat(1000)).await);
        }
        drop(feed);
        let pieces = capstan_tests::frames::demultiplex(&exchange.read_at_least(usize::MAX).await);
        assert_eq!(pieces.stdout, at_once.stdout, "{probe}");
        assert_eq!(fuel(&pieces), fuel(&at_once), "{probe}");
    }
}

#[tokio::test]
async fn spent_fuel_ends_the_run_at_the_same_place() {
    let (mut daemon, client) = daemon_with_probes().await;
    let policy = json!({"fuel": 5_000_000, "random": "seeded"});
    for probe in PROBES {
        let first = run_handler(&client, probe, &["lines", "100000"], &policy, b"").await;
        first.assert_outcome("fuel_spent", 137);
        assert_eq!(first.outcome()["limit"], 5_000_000);
        assert_eq!(fuel(&first), 5_000_000, "{probe}: all fuel must be spent");
        assert!(first.stdout.len() > 1000, "{probe}: {} bytes", first.stdout.len());
        for _ in 0..5 {
            let next = run_handler(&client, probe, &["lines", "100000"], &policy, b"").await;
            assert!(next.stdout == first.stdout, "{probe}: {} and {}", next.stdout.len(), first.stdout.len());
        }
    }
    oracle::still_answers(&mut daemon).await;
}

#[tokio::test]
async fn metered_guest_still_obeys_timeout_and_cpu_limit() {
    let (mut daemon, client) = daemon_with_probes().await;
    let policy = json!({"fuel": u64::MAX, "timeout": "300ms"});
    let framed = run_handler(&client, "spin", &[], &policy, b"").await;
    framed.assert_outcome("timed_out", 124);
    run_handler(&client, "spin", &[], &json!({"fuel": u64::MAX, "cpu": "100ms"}), b"")
        .await
        .assert_outcome("cpu_spent", 137);
    run_handler(&client, "spin", &[], &json!({"fuel": 1000}), b"").await.assert_outcome("fuel_spent", 137);
    oracle::still_answers(&mut daemon).await;
    assert_eq!(client.running().await, 0);
}

#[tokio::test]
async fn operator_fuel_limit_is_a_ceiling_and_survives_a_restart() {
    let (daemon, client) = configured("[policy]\nfuel = 1000", "spin", guests::limits::LOOP_IN_START).await;
    for policy in [json!({}), json!({"fuel": 1_000_000})] {
        let framed = run_handler(&client, "spin", &[], &policy, b"").await;
        framed.assert_outcome("fuel_spent", 137);
        assert_eq!(framed.outcome()["limit"], 1000);
    }
    let setup = daemon.setup();
    drop(daemon);
    let daemon = setup.start();
    run_handler(&daemon.client(), "spin", &[], &json!({"fuel": 500}), b"").await.assert_outcome("fuel_spent", 137);
    let info = daemon.client().get("/v1/info").send().await.json();
    assert_eq!((&info["limits"]["fuel"], &info["limits"]["stack"]), (&json!(1000), &json!(512 << 10)));
}

#[tokio::test]
async fn coarse_clock_returns_whole_milliseconds_and_cannot_be_overridden() {
    let (_daemon, client) = configured("[policy]\nclock = \"coarse\"", "probe.p1", &guests::compiled("probe.p1")).await;
    client.push("probe.p2", guests::compiled("probe.p2")).await;
    for (probe, policy) in PROBES.into_iter().flat_map(|probe| [(probe, json!({})), (probe, json!({"clock": "real"}))])
    {
        let reported = run_handler(&client, probe, &["senses"], &policy, b"").await;
        let reported = String::from_utf8(reported.stdout).unwrap();
        let lines: Vec<_> = reported.lines().collect();
        assert!(lines[0].ends_with("000000") && lines[2].ends_with("000000"), "{probe}: {reported}");
    }
    let requested = json!({"handler": "probe.p1", "policy": {"clock": "real"}}).to_string();
    let checked = client.post("/v1/policy/check").body(requested).send().await.json();
    assert_eq!((&checked["policy"]["clock"], &checked["findings"][0]["key"]), (&json!("coarse"), &json!("clock")));
}

#[tokio::test]
async fn runs_differ_by_default() {
    let (_daemon, client) = daemon_with_probes().await;
    for probe in PROBES {
        let first = run_handler(&client, probe, &["senses"], &json!({}), b"").await;
        let second = run_handler(&client, probe, &["senses"], &json!({}), b"").await;
        assert!(first.stdout != second.stdout, "{probe}");
        assert_eq!(first.last["usage"].get("fuel"), None, "{}", first.last);
    }
}

#[tokio::test]
async fn output_over_the_limit_is_truncated_on_request() {
    let (mut daemon, client) = daemon_with_probes().await;
    let policy = json!({"stdout": 1000, "stderr": 10, "output": "truncate"});
    for probe in PROBES {
        let framed = run_handler(&client, probe, &["lines", "100000"], &policy, b"").await;
        framed.assert_outcome("exited", 0);
        let usage = &framed.last["usage"];
        assert_eq!((framed.stdout.len(), &usage["stdout_bytes"]), (1000, &json!(1000)), "{probe}");
        assert_eq!(usage["stdout_truncated"], 1_088_890 - 1000, "{probe}: {usage}");
        assert_eq!(usage.get("stderr_truncated"), None, "{probe}: {usage}");
        let framed = run_handler(&client, probe, &["stderr", "0123456789abcdef"], &policy, b"").await;
        framed.assert_outcome("exited", 0);
        assert_eq!((&framed.stderr[..], &framed.last["usage"]["stderr_truncated"]), (&b"0123456789"[..], &json!(7)));
    }
    oracle::still_answers(&mut daemon).await;
}

#[tokio::test]
async fn truncated_flood_still_obeys_other_limits() {
    let (_daemon, client) = serving("flood", guests::limits::FLOOD_STDOUT).await;
    // A limit on processor time, because the guest uses that however busy the machine is.
    let policy = json!({"stdout": 1000, "output": "truncate", "cpu": "200ms"});
    let framed = run_handler(&client, "flood", &[], &policy, b"").await;
    framed.assert_outcome("cpu_spent", 137);
    assert_eq!(framed.stdout.len(), 1000);
}
