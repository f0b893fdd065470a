//! The integration tests: the real daemon, over its sockets, with real guests; and the invariants of the tree.
//!
//! The modules `handlers`, `run`, `limits`, `disk`, `escapes`, `features` and `hostile` are suites: each guest `tests/guests/<suite>_<case>.wat` has the
//! test `<case>` there, or this does not compile.

#![expect(clippy::unwrap_used, reason = "a test reports by panicking")]
#![expect(clippy::disallowed_methods, reason = "tests make the files that a daemon shall find, and read the tree")]

/// Fails to compile unless a guest has a test of its name in the module that says `foreach_guest!(suite, tested)`.
macro_rules! tested {
    ($guest:ident) => {
        const _: fn() = $guest;
    };
}

mod attach;
mod boot;
mod callers;
mod cancelled;
mod completion_order;
mod confine;
mod debug;
mod determinism;
mod disk;
mod escapes;
mod events;
mod exhausted;
mod features;
mod folder;
mod fuzz;
mod gate;
mod handlers;
mod history;
mod hostile;
mod hostile_files;
mod hostile_uploads;
mod http;
mod http2;
mod jobs;
mod jobs_api;
mod kept;
mod lanes;
mod limits;
mod listeners;
mod logs;
mod malformed;
mod metrics;
mod network;
mod oracle;
mod pages;
mod parity;
mod policy;
mod reload;
mod run;
mod secrets;
mod shutdown;
mod sinks;
mod slow;
mod smuggling;
mod stream;
mod supervised;
mod tidy;
mod tls;
mod upload;
mod wasi;
mod websocket;

use capstan_tests::{Client, Daemon, Setup, guests};

/// The binary under test, which cargo builds before it runs these.
const CAPSTAN: &str = env!("CARGO_BIN_EXE_capstan");

/// The guest `probe`, for preview 1 and for 0.2.
const PROBES: [&str; 2] = ["probe.p1", "probe.p2"];

/// Pushes both probes, under their own names.
async fn push_probes(client: &Client) {
    for probe in PROBES {
        client.push(probe, guests::compiled(probe)).await;
    }
}

/// A daemon with one handler pushed, and a client of it.
async fn serving(handler: &str, wasm: &[u8]) -> (Daemon, Client) {
    configured("", handler, wasm).await
}

/// As [`serving`], with a configuration file of this text.
async fn configured(toml: &str, handler: &str, wasm: &[u8]) -> (Daemon, Client) {
    let daemon = Setup::new(CAPSTAN).config(toml).start();
    let client = daemon.client();
    client.push(handler, wasm.to_vec()).await;
    (daemon, client)
}
