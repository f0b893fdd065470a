//! How far beyond its limits a run gets: what it had used in the end, less what it was allowed.

use capstan_tests::frames::Framed;
use capstan_tests::{Client, Setup, guests};
use serde_json::{Value, json};
use tokio::runtime::Builder;

/// Runs of each kind.
const RUNS: usize = 60;
/// The limit on time, in milliseconds.
const LIMIT: u64 = 50;

/// What is limited, and by what the daemon tells how much it was.
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
    println!("overshoot of {RUNS} runs each, one after the other   median      most");
    for case in cases() {
        let mut over: Vec<f64> = runtime.block_on(overshoots(&client, &case));
        over.sort_by(f64::total_cmp);
        let Case { name, unit, .. } = case;
        println!("{name:<48} {:>9.2} {:>9.2} {unit}", over[over.len() / 2], over[over.len() - 1]);
    }
    println!();
}

fn cases() -> Vec<Case> {
    // Until the guest has stopped; what it takes to give its memory back is a case of its own.
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
        [16, 64, 256, 1024]
            .map(|mebibytes| timeout(format!("deadline, filling {mebibytes} MiB at a stroke"), filling(mebibytes))),
    );
    let strokes = [("copying 256 MiB", COPYING), ("filling a table of 8 MiB", FILLING_A_TABLE)];
    cases.extend(
        strokes.map(|(what, text)| timeout(format!("deadline, {what} at a stroke"), wat::parse_str(text).unwrap())),
    );
    cases.push(Case {
        policy: json!({"timeout": "1s"}),
        used: |framed| seconds(framed, "release") * 1000.0,
        limit: 0.0,
        ..timeout("giving 256 MiB back, after the stop".into(), filling(256))
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

/// A program that copies one half of its memory to the other, again and again.
const COPYING: &str = r#"(module (memory (export "memory") 8192) (func (export "_start")
  (loop $l (memory.copy (i32.const 0) (i32.const 0x10000000) (i32.const 0x10000000)) (br $l))))"#;

/// A program that makes the largest table that there may be, and writes it again and again.
const FILLING_A_TABLE: &str = r#"(module (memory (export "memory") 0) (table $t 0 funcref) (elem declare func $f) (func $f)
  (func (export "_start") (drop (table.grow $t (ref.null func) (i32.const 0x100000)))
    (loop $l (table.fill $t (i32.const 0) (ref.func $f) (i32.const 0x100000)) (br $l))))"#;

/// A program that writes all of its memory again and again.
fn filling(mebibytes: u32) -> Vec<u8> {
    let (pages, bytes) = (mebibytes * 16, u64::from(mebibytes) << 20);
    wat::parse_str(format!(
        "(module (memory (export \"memory\") {pages}) (func (export \"_start\")
           (loop $l (memory.fill (i32.const 0) (i32.const 1) (i32.const {bytes})) (br $l))))"
    ))
    .unwrap()
}

/// A time of the usage.
fn seconds(framed: &Framed, of: &str) -> f64 {
    framed.last["usage"][format!("{of}_seconds")].as_f64().unwrap()
}

async fn overshoots(client: &Client, case: &Case) -> Vec<f64> {
    client.push("guest", case.wasm.clone()).await;
    let mut over = Vec::new();
    for _ in 0..RUNS {
        let call = client.run("guest").framed().query("policy", &case.policy.to_string());
        over.push((case.used)(&call.send().await.frames()) - case.limit);
    }
    over
}
