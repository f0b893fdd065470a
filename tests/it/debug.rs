//! Debug mode: the `/debug` routes expose the state of the daemon process, and exist only in debug mode.

use std::time::{Duration, Instant};

use capstan_tests::{Address, Client, Daemon, Setup, WebSocket, eventually, guests};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::jobs::api::{submit, wait_for_end};
use crate::{CAPSTAN, oracle, serving};

const PATHS: [&str; 7] = [
    "/debug/vars",
    "/debug/tasks",
    "/debug/cmdline",
    "/debug/pprof/",
    "/debug/pprof/profile?seconds=1",
    "/debug/pprof/heap?seconds=1",
    "/debug/jobs/00000000000000000000000000000000/profile",
];

/// Starts a daemon in debug mode with a job that computes forever.
async fn daemon_with_spinning_job() -> (Daemon, Client) {
    let daemon = Setup::new(CAPSTAN).config("grace = \"200ms\"").arg("--debug").start();
    let client = daemon.client();
    client.push("spin", guests::limits::LOOP_IN_START).await;
    submit(&client, &json!({"handler": "spin"})).await;
    eventually("the job to run", async || (client.running().await == 1).then_some(())).await;
    (daemon, client)
}

#[tokio::test]
async fn debug_routes_are_not_found_without_debug_mode() {
    let (_daemon, client) = serving("hello", guests::run::HELLO).await;
    for path in PATHS {
        client.get(path).send().await.error(404, "not_found");
    }
}

#[tokio::test]
async fn debug_vars_describe_the_process() {
    let (daemon, client) = daemon_with_spinning_job().await;
    let vars = client.get("/debug/vars").send().await.json();
    assert_eq!(vars["pid"], daemon.pid());
    assert_eq!(vars["engine"]["running"], 1);
    let number = |name: &str| vars["process"][name].as_u64().unwrap_or_else(|| panic!("no {name} in {vars}"));
    assert!(number("memory_bytes") > 1 << 20 && number("memory_peak_bytes") >= number("memory_bytes"));
    assert!(number("threads") > 2 && number("address_space_bytes") > number("memory_bytes"));
    let words = client.get("/debug/cmdline").send().await;
    let words: Vec<_> = words.text().split('\0').collect();
    assert_eq!(vars["cmdline"], json!(words));
    assert!(words[0].ends_with("capstan") && words[1] == "daemon" && words.contains(&"--debug"), "{words:?}");
    let index = client.get("/debug/pprof/").send().await;
    for path in [
        "/debug/vars",
        "/debug/tasks",
        "/debug/cmdline",
        "/debug/jobs/{id}/profile?seconds=30",
        "/debug/pprof/heap?seconds=30",
        "/debug/pprof/profile?seconds=30&format=flamegraph",
    ] {
        assert!(index.text().contains(path), "{index:?}");
    }
}

#[tokio::test]
async fn debug_routes_check_host_and_query_and_have_no_version() {
    let (_daemon, client) = daemon_with_spinning_job().await;
    for path in ["/v1/debug/vars", "/debug", "/debug/", "/debug/pprof/block", "/debug/jobs/", "/debug/nothing"] {
        client.get(path).send().await.error(404, "not_found");
    }
    client.put("/debug/vars", "x").send().await.error(405, "method_not_allowed");
    for path in PATHS {
        client.get(path).header("host", "evil.example").send().await.error(403, "host_not_allowed");
        client.get(path).header("origin", "http://evil.example").send().await.error(403, "host_not_allowed");
    }
    for query in [
        "seconds=0",
        "seconds=301",
        "seconds=-1",
        "seconds=1.5",
        "seconds=",
        "seconds=1&seconds=1",
        "format=xml",
        "hz=1",
    ] {
        for profile in ["profile", "heap"] {
            client.get(&format!("/debug/pprof/{profile}?{query}")).send().await.error(400, "bad_request");
        }
    }
    client.get("/debug/vars?x=1").send().await.error(400, "bad_request");
}

#[tokio::test]
async fn cpu_profile_shows_guests_and_sandbox_while_jobs_run() {
    let (mut daemon, client) = daemon_with_spinning_job().await;
    client.push("hello", guests::run::HELLO).await;
    let drawing = client.get("/debug/pprof/profile?seconds=2&format=flamegraph").open().await;
    assert_eq!((drawing.status, drawing.header("content-type")), (200, Some("image/svg+xml")));
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(1) {
        client.run("hello").send().await.assert_outcome("exited", 0);
    }
    let picture = drawing.finish().await;
    assert!(!picture.cut);
    assert!(picture.text().contains("<svg"), "{}", picture.text());

    // Guests run at low priority, so on a busy machine only a long profile contains them.
    let mut lengths = [1, 2, 4, 8, 16].into_iter().cycle();
    let mut longer = move |rest: &str| {
        let seconds = lengths.next().expect("the iterator is infinite");
        client.get(&format!("/debug/pprof/profile?seconds={seconds}{rest}"))
    };
    eventually("a stack that starts at a guest thread", async || {
        let picture = longer("&format=flamegraph").send().await;
        picture.text().contains("<title>guest (").then_some(())
    })
    .await;
    eventually("a profile that contains the sandbox", async || {
        let profile = longer("").send().await;
        assert_eq!(profile.header("content-type"), Some("application/octet-stream"));
        let has = |text: &str| profile.body.windows(text.len()).any(|window| window == text.as_bytes());
        assert!(has("samples") && has("nanoseconds"), "{} bytes without units", profile.body.len());
        has("capstan_sandbox").then_some(())
    })
    .await;
    oracle::still_answers(&mut daemon).await;
}

#[tokio::test]
async fn debug_tasks_lists_tasks_by_owner_name_and_age() {
    let (daemon, client) = daemon_with_spinning_job().await;
    let id = submit(&client, &json!({"handler": "spin"})).await;
    let _attached = WebSocket::connect(&Address::Tcp(daemon.addr()), &format!("/jobs/{id}/attach?stdin=0")).await;
    let _events = client.get("/events").open().await;
    let _follower = client.get(&format!("/jobs/{id}/logs?follow=1")).open().await;
    let tasks = client.get("/debug/tasks").send().await.json();
    let mut ages = Vec::new();
    let mut names: Vec<_> = Vec::new();
    for task in tasks["tasks"].as_array().unwrap() {
        ages.push(task["age_seconds"].as_f64().unwrap());
        names.push((task["owner"].as_str().unwrap(), task["name"].as_str().unwrap()));
    }
    assert!(ages.is_sorted_by(|one, other| one >= other) && ages.iter().all(|age| *age >= 0.0), "{tasks}");
    // The requesting connection is listed too.
    let connection =
        names.iter().rposition(|name| name.0 == "api" && name.1.starts_with("connection at tcp://127.0.0.1"));
    let spin = names.iter().position(|name| *name == ("engine", "spin")).unwrap_or_else(|| panic!("{tasks}"));
    assert!(connection.is_some_and(|connection| connection > spin), "{tasks}");
    assert_eq!(tasks["tasks"][spin]["state"], "running");
    for (owner, name) in [
        ("engine", "serveapi"),
        ("daemon", "writer of the log"),
        ("daemon", "watcher of signals"),
        ("sandbox", "ticker of the epoch"),
        ("sandbox", "guest threads"),
        ("api", "listener at tcp://"),
        ("api", "listener at unix://"),
        ("api", "follower of events"),
        ("api", "follower of a job's log"),
        ("api", "over a WebSocket"),
        ("api", &id),
    ] {
        let is_listed = names.iter().any(|task| task.0 == owner && task.1.contains(name));
        assert!(is_listed, "{owner}: {name} is not in {tasks}");
    }
}

#[tokio::test]
async fn heap_profile_shows_who_holds_allocations() {
    let (mut daemon, client) = daemon_with_spinning_job().await;
    client.push("flood", guests::limits::FLOOD_STDOUT).await;
    eventually("a profile that shows who holds the output of jobs", async || {
        let drawing = client.get("/debug/pprof/heap?seconds=2&format=flamegraph").open().await;
        assert_eq!((drawing.status, drawing.header("content-type")), (200, Some("image/svg+xml")));
        // Only one profile is taken at a time, of any kind.
        client.get("/debug/pprof/heap?seconds=1").send().await.error(409, "conflict");
        client.get("/debug/pprof/profile?seconds=1").send().await.error(409, "conflict");
        // Each job keeps 1 MiB of what it printed.
        for _ in 0..24 {
            let id = submit(&client, &json!({"handler": "flood", "policy": {"stdout": 4 << 20}})).await;
            wait_for_end(&client, &id).await;
        }
        let picture = drawing.finish().await;
        assert!(picture.text().contains("<svg"), "{}", picture.text());
        picture.text().contains("capstan_sandbox::stdio").then_some(())
    })
    .await;
    let profile = client.get("/debug/pprof/heap?seconds=1").send().await;
    assert_eq!(profile.header("content-type"), Some("application/octet-stream"));
    assert!(profile.body.starts_with(b"\x1f\x8b"), "pprof is compressed");
    oracle::still_answers(&mut daemon).await;
}

#[tokio::test]
async fn heap_profile_without_allocator_support_is_rejected() {
    // Behaves like an allocator that was built without the setting that enables profiles.
    let daemon = Setup::new(CAPSTAN).env("_RJEM_MALLOC_CONF", "prof:false").arg("--debug").start();
    let refused = daemon.client().get("/debug/pprof/heap?seconds=1").send().await;
    assert!(refused.text().contains("JEMALLOC_SYS_WITH_MALLOC_CONF"), "{refused:?}");
    refused.error(501, "heap_profile_unavailable");
}

/// Computes forever without host calls, some calls deep, in a function whose name was mangled by the Rust compiler.
const NAMED: &str = r#"(module $deep_thought
  (memory (export "memory") 1)
  (global $calls (mut i32) (i32.const 0))
  (func $_ZN4deep7thought6answer17h0123456789abcdefE
    (loop $on
      (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
      (br $on)))
  (func $plain_caller (call $_ZN4deep7thought6answer17h0123456789abcdefE))
  (func $start (export "_start") (call $plain_caller)))"#;

/// Two functions that call themselves and each other at random, 10,000 calls deep, so that almost all sampled stacks differ.
const DEEP: &str = r#"(module
  (memory (export "memory") 1)
  (global $dice (mut i32) (i32.const 1))
  (func $roll (param $face i32) (result i32)
    (global.set $dice (i32.add (i32.mul (global.get $dice) (i32.const 1103515245)) (i32.const 12345)))
    (i32.and (global.get $dice) (local.get $face)))
  (func $even (param $left i32)
    (if (i32.eqz (local.get $left)) (then (return)))
    (if (call $roll (i32.const 0x40000000))
      (then (call $even (i32.sub (local.get $left) (i32.const 1))))
      (else (call $odd (i32.sub (local.get $left) (i32.const 1)))))
    (global.set $dice (i32.add (global.get $dice) (i32.const 1))))
  (func $odd (param $left i32)
    (if (i32.eqz (local.get $left)) (then (return)))
    (if (call $roll (i32.const 0x20000000))
      (then (call $even (i32.sub (local.get $left) (i32.const 1))))
      (else (call $odd (i32.sub (local.get $left) (i32.const 1)))))
    (global.set $dice (i32.add (global.get $dice) (i32.const 3))))
  (func (export "_start") (loop $on (call $even (i32.const 10000)) (br $on))))"#;

#[tokio::test]
async fn job_profile_of_a_deep_stack_uses_bounded_memory() {
    let (mut daemon, client) = daemon_with_spinning_job().await;
    client.push("deep", wat::parse_str(DEEP).unwrap()).await;
    let id = submit(&client, &json!({"handler": "deep"})).await;
    let before = daemon.peak_memory();
    let profile = eventually("a profile", async || {
        let profile = client.get(&format!("/debug/jobs/{id}/profile?seconds=12")).send().await;
        (profile.status == 200).then_some(profile)
    })
    .await;
    assert!(profile.json()["threads"].is_array());
    let grown = daemon.peak_memory() - before;
    assert!(grown < 512 << 20, "a profile took {grown} bytes of memory");
    oracle::still_answers(&mut daemon).await;
}

/// Returns the names of the functions in a profile, or nothing if it has no samples.
fn sampled(profile: &Value) -> Vec<&str> {
    let thread = &profile["threads"][0];
    if thread["samples"]["length"].as_u64().unwrap_or_default() == 0 {
        return Vec::new();
    }
    // Depending on the version of the format, strings are shared by all threads or belong to each thread.
    let strings = [&profile["shared"]["stringArray"], &thread["stringArray"]];
    let strings = strings.into_iter().find_map(Value::as_array).unwrap_or_else(|| panic!("no names in {profile}"));
    strings.iter().filter_map(Value::as_str).collect()
}

#[tokio::test]
async fn job_profile_names_the_functions_of_the_guest() {
    let (mut daemon, client) = daemon_with_spinning_job().await;
    client.push("named", wat::parse_str(NAMED).unwrap()).await;
    client.push("module", guests::compiled("probe.p1")).await;
    client.push("component", guests::compiled("probe.p2")).await;
    for (handler, names) in [
        ("named", &["deep::thought::answer", "plain_caller"][..]),
        ("module", &["probe::"]),
        ("component", &["probe::"]),
    ] {
        let id = submit(&client, &json!({"handler": handler, "args": ["spin"]})).await;
        let path = format!("/debug/jobs/{id}/profile?seconds=1");
        eventually(format!("a profile of {handler} with its functions"), async || {
            let profile = client.get(&path).send().await;
            if profile.status == 409 {
                // Its run has not started yet.
                return None;
            }
            assert_eq!((profile.status, profile.header("content-type")), (200, Some("application/json")));
            let profile = profile.json();
            let sampled = sampled(&profile);
            // On a busy machine a guest may not have been scheduled in that second.
            names.iter().all(|name| sampled.iter().any(|sampled| sampled.starts_with(name))).then_some(())
        })
        .await;
        assert_eq!(client.post(&format!("/jobs/{id}/kill")).send().await.status, 202);
    }
    oracle::still_answers(&mut daemon).await;
}

#[tokio::test]
async fn job_profile_is_exclusive_and_ends_with_job_or_client() {
    let (mut daemon, client) = daemon_with_spinning_job().await;
    client.push("sleep", guests::limits::SLEEP_FOR_EVER).await;
    let id = submit(&client, &json!({"handler": "sleep"})).await;
    let path = format!("/debug/jobs/{id}/profile");
    let taken = async || {
        eventually("a profile", async || {
            let taken = client.get(&format!("{path}?seconds=300")).open().await;
            (taken.status == 200).then_some(taken)
        })
        .await
    };
    let first = taken().await;
    client.get(&path).send().await.error(409, "conflict");
    drop(first);
    let second = taken().await;
    assert_eq!(client.post(&format!("/jobs/{id}/kill")).send().await.status, 202);
    // A guest that waits in a host call has no samples, but the response is still a profile.
    let profile = second.finish().await;
    assert!(!profile.cut);
    assert!(profile.json()["threads"].is_array(), "{profile:?}");
    wait_for_end(&client, &id).await;
    client.get(&path).send().await.error(409, "job_ended");

    client.get("/debug/jobs/00000000000000000000000000000000/profile").send().await.error(404, "unknown_job");
    client.get("/debug/jobs/nonsense/profile").send().await.error(404, "unknown_job");
    for query in ["seconds=0", "seconds=301", "format=flamegraph"] {
        client.get(&format!("{path}?{query}")).send().await.error(400, "bad_request");
    }
    let tasks = client.get("/debug/tasks").send().await.json();
    let service = tasks["tasks"].as_array().unwrap().iter().find(|task| task["name"] == "serveapi").unwrap();
    let native = format!("/debug/jobs/{}/profile", service["job"].as_str().unwrap());
    client.get(&native).send().await.error(409, "conflict");
    oracle::still_answers(&mut daemon).await;
}

#[tokio::test]
async fn cpu_profile_is_exclusive_and_ends_with_its_client() {
    let (mut daemon, client) = daemon_with_spinning_job().await;
    let first = client.get("/debug/pprof/profile?seconds=300").open().await;
    assert_eq!(first.status, 200);
    client.get("/debug/pprof/profile?seconds=1").send().await.error(409, "conflict");
    drop(first);
    let next = eventually("the next profile", async || {
        let next = client.get("/debug/pprof/profile?seconds=1").send().await;
        (next.status == 200).then_some(next)
    });
    assert!(!next.await.body.is_empty());
    let _taken = client.get("/debug/pprof/profile?seconds=300").open().await;
    let began = Instant::now();
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.wait_exit().await.code(), Some(0));
    assert!(began.elapsed() < Duration::from_secs(10), "it took {:?}", began.elapsed());
}
