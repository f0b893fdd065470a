//! Malicious guests: each run ends with the right outcome and leaves nothing behind. `docs/hostile.md` lists the guests.

mod confinement;
mod descriptors_exhausted;
mod every_profile;
mod profiles;
mod uploads;

use std::time::{Duration, Instant};

use capstan_tests::frames::Framed;
use capstan_tests::{Call, Client, Daemon, bombs, foreach_guest, guests, modules};
use serde_json::{Value, json};

use crate::jobs::api::{submit, wait_for_end};
use crate::oracle::Oracle;
use crate::{configured, serving};

foreach_guest!(hostile, tested);

/// The tolerance for deadlines on a busy machine. A deadline that is not enforced is missed by an hour.
const SLACK: Duration = Duration::from_secs(10);

/// Output limits that are reached quickly, and are smaller than the part of the output that a job log keeps.
const CAPS: &str = "[policy]\nstdout = \"512KiB\"\nstderr = \"64KiB\"";

/// A daemon with a malicious guest, and the state of the daemon before the guest ran.
struct Hostile {
    daemon: Daemon,
    client: Client,
    oracle: Oracle,
}

impl Hostile {
    /// Starts the daemon with a configuration file of this text.
    async fn with_config(toml: &str, wasm: &[u8]) -> Self {
        let (mut daemon, client) = configured(toml, "guest", wasm).await;
        let oracle = Oracle::before(&mut daemon).await;
        Self { daemon, client, oracle }
    }

    fn call(&self) -> Call {
        self.client.run("guest").framed()
    }

    /// Checks that the daemon is unharmed.
    async fn assert_unharmed(mut self) {
        self.oracle.after(&mut self.daemon).await;
    }
}

/// Runs a guest with an argument, checks that the daemon is unharmed, and returns the result.
async fn result_of(wasm: &[u8], arg: &str) -> Framed {
    let hostile = Hostile::with_config("", wasm).await;
    let framed = hostile.call().arg(arg).query("timeout", "20s").send().await.frames();
    hostile.assert_unharmed().await;
    framed
}

/// Runs a guest that must trap with this trap code.
async fn assert_traps(wasm: &[u8], trap: &str) {
    let framed = result_of(wasm, "").await;
    framed.assert_outcome("trapped", 134);
    assert_eq!(framed.outcome()["trap"], trap, "{}", framed.last);
}

/// Runs a guest that only its deadline stops.
async fn assert_times_out(wasm: &[u8]) -> Framed {
    let hostile = Hostile::with_config("", wasm).await;
    let began = Instant::now();
    let framed = hostile.call().query("timeout", "500ms").send().await.frames();
    assert!(began.elapsed() < SLACK, "it took {:?}", began.elapsed());
    framed.assert_outcome("timed_out", 124);
    hostile.assert_unharmed().await;
    framed
}

#[tokio::test]
async fn recurse_over_host_calls() {
    assert_traps(guests::hostile::RECURSE_OVER_HOST_CALLS, "stack_overflow").await;
}

#[tokio::test]
async fn recurse_in_start_function() {
    assert_traps(guests::hostile::RECURSE_IN_START_FUNCTION, "stack_overflow").await;
}

#[tokio::test]
async fn recursion_with_a_thousand_parameters_overflows_the_stack() {
    assert_traps(&bombs::parameters(1), "stack_overflow").await;
}

#[tokio::test]
async fn too_many_tables() {
    let (mut daemon, client) = serving("other", guests::run::HELLO).await;
    let oracle = Oracle::before(&mut daemon).await;
    let reply = client.put("/v1/handlers/guest", guests::hostile::TOO_MANY_TABLES).send().await;
    let message = reply.error(422, "module_too_complex");
    assert!(message.contains("100"), "{message}");
    oracle.after(&mut daemon).await;
}

#[tokio::test]
async fn element_segment_out_of_bounds() {
    assert_traps(guests::hostile::ELEMENT_SEGMENT_OUT_OF_BOUNDS, "table_out_of_bounds").await;
}

#[tokio::test]
async fn every_trap() {
    let hostile = Hostile::with_config("", guests::hostile::EVERY_TRAP).await;
    for (digit, trap) in [
        "unreachable",
        "integer_division_by_zero",
        "integer_overflow",
        "bad_conversion_to_integer",
        "memory_out_of_bounds",
        "table_out_of_bounds",
        "indirect_call_to_null",
        "bad_signature",
        "stack_overflow",
    ]
    .iter()
    .enumerate()
    {
        let framed = hostile.call().arg(&digit.to_string()).send().await.frames();
        framed.assert_outcome("trapped", 134);
        assert_eq!(framed.outcome()["trap"], *trap, "{digit}: {}", framed.last);
    }
    hostile.assert_unharmed().await;
}

#[tokio::test]
async fn flood_of_every_byte() {
    let hostile = Hostile::with_config(CAPS, guests::hostile::FLOOD_OF_EVERY_BYTE).await;
    let in_order = |bytes: &[u8]| bytes.windows(2).all(|two| two[1] == two[0].wrapping_add(1));
    let framed = hostile.call().send().await.frames();
    framed.assert_outcome("output_cap", 137);
    assert_eq!(framed.stdout.len(), 512 << 10, "stdout must stop exactly at the limit");
    assert!(framed.stdout[0] == 0 && in_order(&framed.stdout), "the output differs from what the guest printed");

    let id = submit(&hostile.client, &json!({"handler": "guest"})).await;
    assert_eq!(wait_for_end(&hostile.client, &id).await["outcome"]["kind"], "output_cap");
    let logs = hostile.client.get(&format!("/v1/jobs/{id}/logs")).send().await;
    assert!(!logs.body.is_empty() && in_order(&logs.body), "the log differs from what the guest printed");

    let control = |character: char| character.is_control() && character != '\n';
    assert!(!hostile.daemon.log().contains(control), "the daemon's log contains control characters");
    hostile.assert_unharmed().await;
}

#[tokio::test]
async fn flood_both_streams() {
    let hostile = Hostile::with_config(CAPS, guests::hostile::FLOOD_BOTH_STREAMS).await;
    let framed = hostile.call().send().await.frames();
    framed.assert_outcome("output_cap", 137);
    assert_eq!((&framed.outcome()["stream"], framed.stderr.len()), (&json!("stderr"), 64 << 10));
    assert!(framed.stdout.len() <= (64 << 10) + 1024, "{} bytes of stdout", framed.stdout.len());
    assert!(framed.stdout.iter().all(|byte| *byte == b'o') && framed.stderr.iter().all(|byte| *byte == b'e'));
    hostile.assert_unharmed().await;
}

#[tokio::test]
async fn ten_million_writes() {
    let hostile = Hostile::with_config("", guests::hostile::TEN_MILLION_WRITES).await;
    let framed = hostile.call().query("timeout", "5s").send().await.frames();
    match framed.kind() {
        "exited" => assert_eq!(framed.stdout.len(), 10_000_000),
        "timed_out" => assert!(framed.stdout.len() > 10_000, "only {} writes in 5 s", framed.stdout.len()),
        other => panic!("{other} is not an expected outcome: {}", framed.last),
    }
    assert!(framed.stdout.iter().all(|byte| *byte == b'.'));
    hostile.assert_unharmed().await;
}

#[tokio::test]
async fn zero_subscriptions() {
    // The number of EINVAL in preview 1.
    result_of(guests::hostile::ZERO_SUBSCRIPTIONS, "").await.assert_outcome("exited", 28);
}

#[tokio::test]
async fn ten_thousand_sleeps() {
    // Each sleep takes at least the timer resolution of the host, one millisecond, so all together take at least ten seconds.
    let framed = assert_times_out(guests::hostile::TEN_THOUSAND_SLEEPS).await;
    let seconds = framed.last["usage"]["cpu_seconds"].as_f64().unwrap();
    assert!(seconds < 0.25, "sleeping for half a second used {seconds} s of processor time");
}

#[tokio::test]
async fn wait_for_odd_clock_times() {
    result_of(guests::hostile::WAIT_FOR_ODD_CLOCK_TIMES, "").await.assert_outcome("exited", 0);
}

#[tokio::test]
async fn read_unknown_clock() {
    assert_traps(guests::hostile::READ_UNKNOWN_CLOCK, "host_call").await;
}

#[tokio::test]
async fn random_forever() {
    assert_times_out(guests::hostile::RANDOM_FOREVER).await;
}

#[tokio::test]
async fn out_of_bounds_pointers() {
    let hostile = Hostile::with_config("", guests::hostile::OUT_OF_BOUNDS_POINTERS).await;
    // Too many buffers are rejected with EINVAL, and too many subscriptions with ENOMEM. Memory that the guest does not have is a trap.
    let codes = [None, Some(28), None, None, None, None, Some(48), None];
    for (digit, code) in codes.into_iter().enumerate() {
        let framed = hostile.call().arg(&digit.to_string()).query("timeout", "20s").send().await.frames();
        if let Some(code) = code {
            assert_eq!(framed.outcome(), &json!({"kind": "exited", "code": code}), "{digit}");
        } else {
            framed.assert_outcome("trapped", 134);
            assert_eq!(framed.outcome()["trap"], "host_call", "{digit}: {}", framed.last);
        }
    }
    hostile.assert_unharmed().await;
}

#[tokio::test]
async fn juggle_descriptors() {
    assert_times_out(guests::hostile::JUGGLE_DESCRIPTORS).await;
}

#[tokio::test]
async fn take_stdout_forever() {
    assert_traps(guests::hostile::TAKE_STDOUT_FOREVER, "handles_exhausted").await;
}

#[tokio::test]
async fn subscribe_forever() {
    assert_traps(guests::hostile::SUBSCRIBE_FOREVER, "handles_exhausted").await;
}

#[tokio::test]
async fn measure_below_a_millisecond() {
    let hostile = Hostile::with_config("", guests::hostile::MEASURE_BELOW_A_MILLISECOND).await;
    let run =
        async |clock: &str| hostile.call().query("policy", &json!({"clock": clock}).to_string()).send().await.frames();
    run("coarse").await.assert_outcome("exited", 0);
    // With a precise clock the guest can measure it.
    run("real").await.assert_outcome("exited", 1);
    hostile.assert_unharmed().await;
}

#[tokio::test]
async fn forge_log_lines() {
    let hostile = Hostile::with_config("", guests::hostile::FORGE_LOG_LINES).await;
    let forged = "x)\r\n2026-01-01T00:00:00.000000Z  INFO capstan_engine::job: -job forged(x) = OK (0)";
    let job = json!({"handler": "guest", "args": [forged, "\u{1b}[2Jforged", "\u{85}forged\u{9b}2J"]});
    let id = submit(&hostile.client, &job).await;
    let reported = wait_for_end(&hostile.client, &id).await;
    assert_eq!(reported["outcome"], json!({"kind": "exited", "code": 1}));
    assert_eq!(reported["args"], job["args"], "the arguments must be unchanged");
    let error = reported["error"].as_str().unwrap();
    assert!(error.contains("forged") && !error.contains(char::is_control), "{error:?}");
    let logs = hostile.client.get(&format!("/v1/jobs/{id}/logs?stdout=true&stderr=false")).send().await;
    assert!(logs.body.starts_with(b"\x1b[2J\r2026-01-01T") && logs.body.ends_with(b"forged\0line"), "{logs:?}");

    hostile.daemon.until_logged(&["-job guest(x)\\r\\n2026"]).await;
    assert_no_forged_log_lines(&hostile.daemon, &id);
    hostile.assert_unharmed().await;
}

#[tokio::test]
async fn forge_function_names() {
    let hostile = Hostile::with_config("", guests::hostile::FORGE_FUNCTION_NAMES).await;
    let framed = hostile.call().send().await.frames();
    framed.assert_outcome("trapped", 134);
    let innermost = framed.outcome()["backtrace"][0].as_str().unwrap();
    assert!(innermost.contains("forged"), "{innermost:?}");
    assert!(!innermost.contains(char::is_control), "{innermost:?} contains control characters");
    assert_no_forged_log_lines(&hostile.daemon, framed.last["job"].as_str().unwrap());
    hostile.assert_unharmed().await;
}

/// Checks that no line in the daemon's log looks like one of another job, and that the log contains no control characters.
fn assert_no_forged_log_lines(daemon: &Daemon, job: &str) {
    let log = daemon.log();
    for line in log.lines().filter(|line| line.contains("forged")) {
        assert!(line.contains(job), "a line that looks like one of another job: {line:?}");
    }
    assert!(!log.contains(|character: char| character.is_control() && character != '\n'), "{log:?}");
}

/// Data that a run leaves in memory, tables, globals and stack must not be visible to the next run in the same slots. There is one stack slot,
/// there are memory slots for two runs, and three programs take turns.
#[tokio::test]
async fn leftover_data() {
    let hostile = Hostile::with_config("[limits]\nruns = 1", guests::hostile::LEFTOVER_DATA).await;
    let size = guests::hostile::LEFTOVER_DATA.len();
    for (name, longer) in [("second", 100), ("third", 200)] {
        hostile.client.push(name, modules::padded(guests::hostile::LEFTOVER_DATA, size + longer)).await;
    }
    let programs = ["guest", "second", "third"];
    for turn in 0..12 {
        let leaving = programs[turn % 3];
        let left = hostile.client.run(leaving).framed().send().await.frames();
        left.assert_outcome("trapped", 134);
        assert_eq!(left.outcome()["trap"], "stack_overflow", "{}", left.last);
        // Neither the same program nor the others find anything.
        for looking in [leaving, programs[(turn + 1) % 3], programs[(turn + 2) % 3]] {
            let looked = hostile.client.run(looking).arg("look").framed().send().await.frames();
            assert_eq!(looked.outcome(), &json!({"kind": "exited", "code": 0}), "{looking} after {leaving}");
        }
    }
    hostile.assert_unharmed().await;
}

#[tokio::test]
async fn extreme_arguments_and_variables_are_rejected_or_reach_the_guest() {
    let hostile = Hostile::with_config("", guests::run::HELLO).await;
    let post = async |job: Value| hostile.client.post("/v1/jobs").body(job.to_string()).send().await;
    let mebibyte = "x".repeat(1 << 20);
    for (job, status, code) in [
        (json!({"handler": "guest", "env": {"K": mebibyte}}), 413, "too_large"),
        (json!({"handler": "guest", "args": [mebibyte]}), 413, "too_large"),
        (json!({"handler": "guest", "args": vec!["0123456789"; 100_000]}), 413, "too_large"),
        (json!({"handler": "guest", "args": ["a\0b"]}), 400, "invalid_arg"),
        (json!({"handler": "guest", "env": {"K=": "v"}}), 400, "bad_request"),
        (json!({"handler": "guest", "env": {"": "v"}}), 400, "bad_request"),
        (json!({"handler": "guest", "env": {"K": "a\0b"}}), 400, "bad_request"),
    ] {
        post(job).await.error(status, code);
    }
    let begun = hostile.client.get("/v1/jobs?handler=guest").send().await.json();
    assert_eq!(begun["jobs"], json!([]), "a rejected request must not create a job");

    for args in [vec!["a"; 100_000], vec![""; 1_000_000]] {
        let job = post(json!({"handler": "guest", "args": args})).await;
        assert_eq!(job.status, 202, "{} arguments: {job:?}", args.len());
        let reported = wait_for_end(&hostile.client, job.json()["id"].as_str().unwrap()).await;
        assert_eq!(reported["outcome"], json!({"kind": "exited", "code": 0}), "{} arguments", args.len());
    }
    hostile.assert_unharmed().await;
}
