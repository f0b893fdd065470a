//! How far a run exceeds its limits: its use at the end, minus the limit.

use capstan_tests::frames::Framed;
use capstan_tests::{Client, Setup, guests};
use serde_json::{Value, json};
use tokio::runtime::Builder;

/// The number of runs of each case.
const RUNS: usize = 60;
/// The limit on the time of a run, in milliseconds.
const LIMIT: u64 = 50;

/// A limit, and how to read the use from the usage report.
struct Case {
    name: String,
    wasm: Vec<u8>,
    policy: Value,
    used: fn(&Framed) -> f64,
    limit: f64,
    unit: &'static str,
}

pub(crate) fn measure(binary: &str) {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let daemon = Setup::new(binary).config("[policy]\nmemory = \"1GiB\"\n").start();
    let client = daemon.client();
    println!("overshoot of {RUNS} runs each, one at a time          median   maximum");
    for case in cases() {
        let mut overshoots: Vec<f64> = runtime.block_on(measure_case(&client, &case));
        overshoots.sort_by(f64::total_cmp);
        let Case { name, unit, .. } = case;
        println!(
            "{name:<48} {:>9.2} {:>9.2} {unit}",
            overshoots[overshoots.len() / 2],
            overshoots[overshoots.len() - 1]
        );
    }
    println!();
}

fn cases() -> Vec<Case> {
    // Until the guest has stopped. Releasing its memory is a separate case.
    let timeout = |name: String, wasm: Vec<u8>| Case {
        name,
        wasm,
        policy: json!({"timeout": format!("{LIMIT}ms"), "memory": "1GiB"}),
        used: |framed| (seconds(framed, "run") - seconds(framed, "release")) * 1000.0,
        limit: LIMIT as f64,
        unit: "ms",
    };
    let bytes = |name: &str, wasm: &[u8], key: &str, used| Case {
        name: name.to_owned(),
        wasm: wasm.to_vec(),
        policy: json!({key: 1_000_000}),
        used,
        limit: 1_000_000.0,
        unit: "bytes",
    };
    let mut cases = vec![
        timeout("deadline, computing".into(), guests::limits::LOOP_IN_START.to_vec()),
        timeout("deadline, in a host call that waits".into(), guests::limits::SLEEP_FOR_EVER.to_vec()),
    ];
    cases.extend(
        [16, 64, 256, 1024].map(|mebibytes| {
            timeout(format!("deadline, filling {mebibytes} MiB in one instruction"), filling(mebibytes))
        }),
    );
    let bulk_instructions = [("copying 256 MiB", COPYING), ("filling a table of 8 MiB", FILLING_A_TABLE)];
    cases
        .extend(bulk_instructions.map(|(what, text)| {
            timeout(format!("deadline, {what} in one instruction"), wat::parse_str(text).unwrap())
        }));
    cases.push(Case {
        policy: json!({"timeout": "1s"}),
        used: |framed| seconds(framed, "release") * 1000.0,
        limit: 0.0,
        ..timeout("releasing 256 MiB, after the stop".into(), filling(256))
    });
    cases.push(Case {
        policy: json!({"cpu": format!("{LIMIT}ms")}),
        used: |framed| seconds(framed, "cpu") * 1000.0,
        ..timeout("processor time, computing".into(), guests::limits::LOOP_IN_START.to_vec())
    });
    cases.push(bytes("memory", guests::limits::GROW_MEMORY_AND_SURVIVE, "memory", |framed| {
        framed.last["usage"]["memory_peak"].as_f64().unwrap().max(1_000_000.0)
    }));
    cases.push(bytes("stdout", guests::limits::FLOOD_STDOUT, "stdout", |framed| framed.stdout.len() as f64));
    cases.push(bytes("stderr", guests::limits::FLOOD_STDERR, "stderr", |framed| framed.stderr.len() as f64));
    cases
}

/// A program that copies one half of its memory to the other in a loop.
const COPYING: &str = r#"(module (memory (export "memory") 8192) (func (export "_start")
  (loop $l (memory.copy (i32.const 0) (i32.const 0x10000000) (i32.const 0x10000000)) (br $l))))"#;

/// A program that fills the largest possible table in a loop.
const FILLING_A_TABLE: &str = r#"(module (memory (export "memory") 0) (table $t 0 funcref) (elem declare func $f) (func $f)
  (func (export "_start") (drop (table.grow $t (ref.null func) (i32.const 0x100000)))
    (loop $l (table.fill $t (i32.const 0) (ref.func $f) (i32.const 0x100000)) (br $l))))"#;

/// Returns a program that fills its memory in a loop.
fn filling(mebibytes: u32) -> Vec<u8> {
    let (pages, bytes) = (mebibytes * 16, u64::from(mebibytes) << 20);
    wat::parse_str(format!(
        "(module (memory (export \"memory\") {pages}) (func (export \"_start\")
           (loop $l (memory.fill (i32.const 0) (i32.const 1) (i32.const {bytes})) (br $l))))"
    ))
    .unwrap()
}

/// Returns a time from the usage report.
fn seconds(framed: &Framed, name: &str) -> f64 {
    framed.last["usage"][format!("{name}_seconds")].as_f64().unwrap()
}

/// Returns by how much each run of a case exceeds its limit.
async fn measure_case(client: &Client, case: &Case) -> Vec<f64> {
    client.push("guest", case.wasm.clone()).await;
    let mut overshoots = Vec::new();
    for _ in 0..RUNS {
        let call = client.run("guest").framed().query("policy", &case.policy.to_string());
        overshoots.push((case.used)(&call.send().await.frames()) - case.limit);
    }
    overshoots
}
