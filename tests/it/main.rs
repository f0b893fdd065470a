//! The integration tests: the real daemon with real guests, over its sockets, and the invariants of the source tree.
//!
//! The modules named `handlers`, `run`, `limits`, `disk`, `escapes`, `features`, `hostile` and `profiles` are suites: for each guest
//! `tests/guests/<suite>_<case>.wat` the module contains the test `<case>`, or the tests do not compile.

#![expect(clippy::unwrap_used, reason = "a test reports by panicking")]
#![expect(clippy::disallowed_methods, reason = "tests create files for the daemon and read the source tree")]

/// Fails to compile unless the module that calls `foreach_guest!(suite, tested)` has a test with the name of the guest.
macro_rules! tested {
    ($guest:ident) => {
        const _: fn() = $guest;
    };
}

mod composed;
mod debug;
mod durability;
mod files;
mod fuzz;
mod guest_http;
mod handlers;
mod hostile;
mod http;
mod invoke;
mod jobs;
mod keyvalue;
mod languages;
mod metrics;
mod network;
mod oracle;
mod p3;
mod parity;
mod policy;
mod run;
mod schedules;
mod snapshots;
mod startup;
mod tidy;
mod tls;
mod webhooks;

use capstan_tests::{Client, Daemon, Setup, guests};

/// The binary under test. Cargo builds it before it runs these tests.
const CAPSTAN: &str = env!("CARGO_BIN_EXE_capstan");

/// The guest `probe`, for preview 1 and for 0.2.
const PROBES: [&str; 2] = ["probe.p1", "probe.p2"];

/// Pushes both probes under their own names.
async fn push_probes(client: &Client) {
    for probe in PROBES {
        client.push(probe, guests::compiled(probe)).await;
    }
}

/// Starts a daemon with one handler.
async fn serving(handler: &str, wasm: &[u8]) -> (Daemon, Client) {
    configured("", handler, wasm).await
}

/// Like [`serving`], with a configuration file of this text.
async fn configured(toml: &str, handler: &str, wasm: &[u8]) -> (Daemon, Client) {
    let daemon = Setup::new(CAPSTAN).config(toml).start();
    let client = daemon.client();
    client.push(handler, wasm.to_vec()).await;
    (daemon, client)
}
