//! Guests that mean harm: each has an outcome that tells what it did, and none leaves anything behind. `docs/hostile.md` lists them.

mod confinement;
mod descriptors_exhausted;
mod uploads;

use std::time::{Duration, Instant};

use capstan_tests::frames::Framed;
use capstan_tests::{Call, Client, Daemon, bombs, foreach_guest, guests, modules};
use serde_json::{Value, json};

use crate::jobs::api::{ended, submit};
use crate::oracle::Oracle;
use crate::{configured, serving};

foreach_guest!(hostile, tested);

/// By how much a run may miss its deadline on a busy machine; one that is not held misses it by an hour.
const SLACK: Duration = Duration::from_secs(10);

/// Caps on output that are soon reached, and less than what the log of a job keeps.
const CAPS: &str = "[policy]\nstdout = \"512KiB\"\nstderr = \"64KiB\"";

/// A daemon with a guest that means harm, and what it was before that ran.
struct Hostile {
    daemon: Daemon,
    client: Client,
    oracle: Oracle,
}

impl Hostile {
    /// With a configuration file of this text.
    async fn under(toml: &str, wasm: &[u8]) -> Self {
        let (mut daemon, client) = configured(toml, "guest", wasm).await;
        let oracle = Oracle::before(&mut daemon).await;
        Self { daemon, client, oracle }
    }

    fn call(&self) -> Call {
        self.client.run("guest").framed()
    }

    /// Checks that the daemon took no harm.
    async fn harms_nobody(mut self) {
        self.oracle.after(&mut self.daemon).await;
    }
}

/// How a run of this guest with this argument ends, once it is known that it did no harm.
async fn end_of(wasm: &[u8], arg: &str) -> Framed {
    let hostile = Hostile::under("", wasm).await;
    let framed = hostile.call().arg(arg).query("timeout", "20s").send().await.frames();
    hostile.harms_nobody().await;
    framed
}

/// Runs a guest that must trap like this.
async fn traps(wasm: &[u8], trap: &str) {
    let framed = end_of(wasm, "").await;
    framed.ended("trapped", 134);
    assert_eq!(framed.outcome()["trap"], trap, "{}", framed.last);
}

/// Runs a guest that only its deadline can end.
async fn times_out(wasm: &[u8]) -> Framed {
    let hostile = Hostile::under("", wasm).await;
    let began = Instant::now();
    let framed = hostile.call().query("timeout", "500ms").send().await.frames();
    assert!(began.elapsed() < SLACK, "it took {:?}", began.elapsed());
    framed.ended("timed_out", 124);
    hostile.harms_nobody().await;
    framed
}

#[tokio::test]
async fn recurse_over_host_calls() {
    traps(guests::hostile::RECURSE_OVER_HOST_CALLS, "stack_overflow").await;
}

#[tokio::test]
async fn recurse_in_start_function() {
    traps(guests::hostile::RECURSE_IN_START_FUNCTION, "stack_overflow").await;
}

#[tokio::test]
async fn recursion_with_a_thousand_parameters_ends_at_the_same_stack() {
    traps(&bombs::parameters(1), "stack_overflow").await;
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
async fn element_segment() {
    traps(guests::hostile::ELEMENT_SEGMENT, "table_out_of_bounds").await;
}

#[tokio::test]
async fn every_trap() {
    let hostile = Hostile::under("", guests::hostile::EVERY_TRAP).await;
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
        framed.ended("trapped", 134);
        assert_eq!(framed.outcome()["trap"], *trap, "{digit}: {}", framed.last);
    }
    hostile.harms_nobody().await;
}

#[tokio::test]
async fn flood_of_every_byte() {
    let hostile = Hostile::under(CAPS, guests::hostile::FLOOD_OF_EVERY_BYTE).await;
    let in_order = |bytes: &[u8]| bytes.windows(2).all(|two| two[1] == two[0].wrapping_add(1));
    let framed = hostile.call().send().await.frames();
    framed.ended("output_cap", 137);
    assert_eq!(framed.stdout.len(), 512 << 10, "to the byte");
    assert!(framed.stdout[0] == 0 && in_order(&framed.stdout), "not the bytes that were printed");

    let id = submit(&hostile.client, &json!({"handler": "guest"})).await;
    assert_eq!(ended(&hostile.client, &id).await["outcome"]["kind"], "output_cap");
    let logs = hostile.client.get(&format!("/v1/jobs/{id}/logs")).send().await;
    assert!(!logs.body.is_empty() && in_order(&logs.body), "not the bytes that were printed");

    let control = |character: char| character.is_control() && character != '\n';
    assert!(!hostile.daemon.log().contains(control), "the daemon's log has control characters");
    hostile.harms_nobody().await;
}

#[tokio::test]
async fn flood_both() {
    let hostile = Hostile::under(CAPS, guests::hostile::FLOOD_BOTH).await;
    let framed = hostile.call().send().await.frames();
    framed.ended("output_cap", 137);
    assert_eq!((&framed.outcome()["stream"], framed.stderr.len()), (&json!("stderr"), 64 << 10));
    assert!(framed.stdout.len() <= (64 << 10) + 1024, "{} bytes of stdout", framed.stdout.len());
    assert!(framed.stdout.iter().all(|byte| *byte == b'o') && framed.stderr.iter().all(|byte| *byte == b'e'));
    hostile.harms_nobody().await;
}

#[tokio::test]
async fn ten_million_writes() {
    let hostile = Hostile::under("", guests::hostile::TEN_MILLION_WRITES).await;
    let framed = hostile.call().query("timeout", "5s").send().await.frames();
    match framed.kind() {
        "exited" => assert_eq!(framed.stdout.len(), 10_000_000),
        "timed_out" => assert!(framed.stdout.len() > 10_000, "only {} writes in 5 s", framed.stdout.len()),
        other => panic!("{other} is not how it ends: {}", framed.last),
    }
    assert!(framed.stdout.iter().all(|byte| *byte == b'.'));
    hostile.harms_nobody().await;
}

#[tokio::test]
async fn zero_subscriptions() {
    // The number of EINVAL in preview 1.
    end_of(guests::hostile::ZERO_SUBSCRIPTIONS, "").await.ended("exited", 28);
}

#[tokio::test]
async fn ten_thousand_sleeps() {
    // None is shorter than the millisecond of the host's timers, so that all take ten seconds at least.
    let framed = times_out(guests::hostile::TEN_THOUSAND_SLEEPS).await;
    let seconds = framed.last["usage"]["cpu_seconds"].as_f64().unwrap();
    assert!(seconds < 0.25, "it took {seconds} s of a processor to sleep for half a second");
}

#[tokio::test]
async fn odd_clocks() {
    end_of(guests::hostile::ODD_CLOCKS, "").await.ended("exited", 0);
}

#[tokio::test]
async fn no_such_clock() {
    traps(guests::hostile::NO_SUCH_CLOCK, "host_call").await;
}

#[tokio::test]
async fn random_for_ever() {
    times_out(guests::hostile::RANDOM_FOR_EVER).await;
}

#[tokio::test]
async fn wild_pointers() {
    let hostile = Hostile::under("", guests::hostile::WILD_POINTERS).await;
    // What is only too much is refused with ENOMEM; what lies nowhere, or may never be asked for, is a trap.
    let too_much = json!({"kind": "exited", "code": 48});
    for (digit, is_too_much) in [true, true, false, false, true, false, true, false].into_iter().enumerate() {
        let framed = hostile.call().arg(&digit.to_string()).query("timeout", "20s").send().await.frames();
        if is_too_much {
            assert_eq!(framed.outcome(), &too_much, "{digit}");
        } else {
            framed.ended("trapped", 134);
            assert_eq!(framed.outcome()["trap"], "host_call", "{digit}: {}", framed.last);
        }
    }
    hostile.harms_nobody().await;
}

#[tokio::test]
async fn juggle_descriptors() {
    times_out(guests::hostile::JUGGLE_DESCRIPTORS).await;
}

#[tokio::test]
async fn take_stdout_for_ever() {
    traps(guests::hostile::TAKE_STDOUT_FOR_EVER, "handles_exhausted").await;
}

#[tokio::test]
async fn subscribe_for_ever() {
    traps(guests::hostile::SUBSCRIBE_FOR_EVER, "handles_exhausted").await;
}

#[tokio::test]
async fn tell_time_apart() {
    let hostile = Hostile::under("", guests::hostile::TELL_TIME_APART).await;
    let run =
        async |clock: &str| hostile.call().query("policy", &json!({"clock": clock}).to_string()).send().await.frames();
    run("coarse").await.ended("exited", 0);
    // It can tell where it may.
    run("real").await.ended("exited", 1);
    hostile.harms_nobody().await;
}

#[tokio::test]
async fn forge_log_lines() {
    let hostile = Hostile::under("", guests::hostile::FORGE_LOG_LINES).await;
    let forged = "x)\r\n2026-01-01T00:00:00.000000Z  INFO capstan::job: -job forged(x) = OK (0)";
    let job = json!({"handler": "guest", "args": [forged, "\u{1b}[2Jforged", "\u{85}forged\u{9b}2J"]});
    let id = submit(&hostile.client, &job).await;
    let told = ended(&hostile.client, &id).await;
    assert_eq!(told["outcome"], json!({"kind": "exited", "code": 1}));
    assert_eq!(told["args"], job["args"], "as they were given");
    let error = told["error"].as_str().unwrap();
    assert!(error.contains("forged") && !error.contains(char::is_control), "{error:?}");
    let logs = hostile.client.get(&format!("/v1/jobs/{id}/logs?stdout=true&stderr=false")).send().await;
    assert!(logs.body.starts_with(b"\x1b[2J\r2026-01-01T") && logs.body.ends_with(b"forged\0line"), "{logs:?}");

    hostile.daemon.until_logged(&["-job guest(x)\\r\\n2026"]).await;
    assert_one_line_each(&hostile.daemon, &id);
    hostile.harms_nobody().await;
}

#[tokio::test]
async fn forge_function_names() {
    let hostile = Hostile::under("", guests::hostile::FORGE_FUNCTION_NAMES).await;
    let framed = hostile.call().send().await.frames();
    framed.ended("trapped", 134);
    let innermost = framed.outcome()["backtrace"][0].as_str().unwrap();
    assert!(innermost.contains("forged"), "{innermost:?}");
    assert!(!innermost.contains(char::is_control), "{innermost:?} does more to a terminal than to be shown");
    assert_one_line_each(&hostile.daemon, framed.last["job"].as_str().unwrap());
    hostile.harms_nobody().await;
}

/// Checks that nothing that was forged looks like a line of its own in the daemon's log, or does more to a terminal than to be shown.
fn assert_one_line_each(daemon: &Daemon, job: &str) {
    let log = daemon.log();
    for line in log.lines().filter(|line| line.contains("forged")) {
        assert!(line.contains(job), "a line that looks like another job's: {line:?}");
    }
    assert!(!log.contains(|character: char| character.is_control() && character != '\n'), "{log:?}");
}

/// What a run leaves in memory, tables, globals and stack, the next one in the same slots must not find. There is a stack for one run and
/// memories for two, and three programs that take turns.
#[tokio::test]
async fn leftovers() {
    let hostile = Hostile::under("[limits]\nruns = 1", guests::hostile::LEFTOVERS).await;
    let size = guests::hostile::LEFTOVERS.len();
    for (name, longer) in [("second", 100), ("third", 200)] {
        hostile.client.push(name, modules::padded(guests::hostile::LEFTOVERS, size + longer)).await;
    }
    let programs = ["guest", "second", "third"];
    for turn in 0..12 {
        let leaving = programs[turn % 3];
        let left = hostile.client.run(leaving).framed().send().await.frames();
        left.ended("trapped", 134);
        assert_eq!(left.outcome()["trap"], "stack_overflow", "{}", left.last);
        // Each of them finds nothing of it, and neither do those who look after it.
        for looking in [leaving, programs[(turn + 1) % 3], programs[(turn + 2) % 3]] {
            let looked = hostile.client.run(looking).arg("look").framed().send().await.frames();
            assert_eq!(looked.outcome(), &json!({"kind": "exited", "code": 0}), "{looking} after {leaving}");
        }
    }
    hostile.harms_nobody().await;
}

#[tokio::test]
async fn extremes_of_arguments_and_variables_are_refused_or_reach_the_guest() {
    let hostile = Hostile::under("", guests::run::HELLO).await;
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
    assert_eq!(begun["jobs"], json!([]), "what is refused makes no job");

    for args in [vec!["a"; 100_000], vec![""; 1_000_000]] {
        let job = post(json!({"handler": "guest", "args": args})).await;
        assert_eq!(job.status, 202, "{} arguments: {job:?}", args.len());
        let told = ended(&hostile.client, job.json()["id"].as_str().unwrap()).await;
        assert_eq!(told["outcome"], json!({"kind": "exited", "code": 0}), "{} arguments", args.len());
    }
    hostile.harms_nobody().await;
}
