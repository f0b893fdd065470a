//! Debug mode: what the daemon says of its own process, and only then.

use std::time::{Duration, Instant};

use capstan_tests::{Client, Daemon, Setup, eventually, guests};
use rustix::process::Signal;
use serde_json::json;

use crate::jobs_api::submit;
use crate::{CAPSTAN, oracle, serving};

const PATHS: [&str; 5] =
    ["/debug/vars", "/debug/tasks", "/debug/cmdline", "/debug/pprof/", "/debug/pprof/profile?seconds=1"];

/// A daemon in debug mode, with a job that computes and never ends.
async fn computing() -> (Daemon, Client) {
    let daemon = Setup::new(CAPSTAN).config("grace = \"200ms\"").arg("--debug").start();
    let client = daemon.client();
    client.push("spin", guests::limits::LOOP_IN_START).await;
    submit(&client, &json!({"handler": "spin"})).await;
    eventually("the job to run", async || (client.running().await == 1).then_some(())).await;
    (daemon, client)
}

#[tokio::test]
async fn without_debug_mode_there_is_nothing() {
    let (_daemon, client) = serving("hello", guests::run::HELLO).await;
    for path in PATHS {
        client.get(path).send().await.error(404, "not_found");
    }
}

#[tokio::test]
async fn the_process_tells_of_itself() {
    let (daemon, client) = computing().await;
    let vars = client.get("/debug/vars").send().await.json();
    assert_eq!(vars["pid"], daemon.pid());
    assert_eq!(vars["engine"]["running"], 1);
    let number = |name: &str| vars["process"][name].as_u64().unwrap_or_else(|| panic!("no {name} in {vars}"));
    assert!(number("memory_bytes") > 1 << 20 && number("memory_peak_bytes") >= number("memory_bytes"));
    assert!(number("threads") > 2 && number("address_space_bytes") > number("memory_bytes"));
    let tasks = client.get("/debug/tasks").send().await.json();
    let mut ages = Vec::new();
    let mut names: Vec<_> = Vec::new();
    for task in tasks["tasks"].as_array().unwrap() {
        ages.push(task["age_seconds"].as_f64().unwrap());
        names.push((task["owner"].as_str().unwrap(), task["name"].as_str().unwrap()));
    }
    assert!(ages.is_sorted_by(|one, other| one >= other) && ages.iter().all(|age| *age >= 0.0), "{tasks}");
    // The one that asks is there too.
    let connection =
        names.iter().rposition(|name| name.0 == "api" && name.1.starts_with("connection at tcp://127.0.0.1"));
    let spin = names.iter().position(|name| *name == ("engine", "spin")).unwrap_or_else(|| panic!("{tasks}"));
    assert!(connection.is_some_and(|connection| connection > spin), "{tasks}");
    assert_eq!(tasks["tasks"][spin]["state"], "running");
    assert!(names.contains(&("engine", "serveapi")), "{tasks}");
    let words = client.get("/debug/cmdline").send().await;
    let words: Vec<_> = words.text().split('\0').collect();
    assert_eq!(vars["cmdline"], json!(words));
    assert!(words[0].ends_with("capstan") && words[1] == "daemon" && words.contains(&"--debug"), "{words:?}");
    let index = client.get("/debug/pprof/").send().await;
    for path in ["/debug/vars", "/debug/tasks", "/debug/cmdline", "/debug/pprof/profile?seconds=30&format=flamegraph"] {
        assert!(index.text().contains(path), "{index:?}");
    }
}

#[tokio::test]
async fn they_are_routes_like_others_but_have_no_version() {
    let (_daemon, client) = computing().await;
    for path in ["/v1/debug/vars", "/debug", "/debug/", "/debug/pprof/heap", "/debug/nothing"] {
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
        client.get(&format!("/debug/pprof/profile?{query}")).send().await.error(400, "bad_request");
    }
    client.get("/debug/vars?x=1").send().await.error(400, "bad_request");
}

#[tokio::test]
async fn a_profile_tells_what_computes_while_work_goes_on() {
    let (mut daemon, client) = computing().await;
    client.push("hello", guests::run::HELLO).await;
    let drawing = client.get("/debug/pprof/profile?seconds=2&format=flamegraph").open().await;
    assert_eq!((drawing.status, drawing.header("content-type")), (200, Some("image/svg+xml")));
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(1) {
        client.run("hello").send().await.ended("exited", 0);
    }
    let picture = drawing.finish().await;
    assert!(!picture.cut);
    assert!(picture.text().contains("<svg"), "{}", picture.text());

    // Guests compute when nobody else wants to, and on a busy machine that may take a while.
    eventually("the thread that guests compute on to be at the bottom of a stack", async || {
        let picture = client.get("/debug/pprof/profile?seconds=1&format=flamegraph").send().await;
        picture.text().contains("<title>guest (").then_some(())
    })
    .await;
    eventually("a profile to tell of the sandbox", async || {
        let profile = client.get("/debug/pprof/profile?seconds=1").send().await;
        assert_eq!(profile.header("content-type"), Some("application/octet-stream"));
        let has = |text: &str| profile.body.windows(text.len()).any(|window| window == text.as_bytes());
        assert!(has("samples") && has("nanoseconds"), "{} bytes without units", profile.body.len());
        has("capstan::sandbox").then_some(())
    })
    .await;
    oracle::still_answers(&mut daemon).await;
}

#[tokio::test]
async fn one_profile_is_taken_at_a_time_and_ends_with_its_client() {
    let (mut daemon, client) = computing().await;
    let first = client.get("/debug/pprof/profile?seconds=300").open().await;
    assert_eq!(first.status, 200);
    client.get("/debug/pprof/profile?seconds=1").send().await.error(409, "conflict");
    drop(first);
    let next = eventually("the next profile to be taken", async || {
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
