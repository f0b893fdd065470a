//! Handlers that answer HTTP requests themselves, at `/x/{handler}/…`.

mod answers;
mod cgi;
mod conformance;
mod connections;
mod failures;
mod hostile;
mod inbox;
mod outbound;
mod respond_async;
mod reuse;
mod routes;
mod samples;
mod toolchains;

use capstan_tests::{Client, Daemon, eventually, guests};

use crate::{configured, serving};

/// Starts a daemon with the guest `web`.
async fn web() -> (Daemon, Client) {
    serving("web", &guests::compiled("web")).await
}

/// Like [`web`], with a configuration file of this text.
async fn configured_web(toml: &str) -> (Daemon, Client) {
    configured(toml, "web", &guests::compiled("web")).await
}

/// Waits until `count` jobs run.
async fn until_running(client: &Client, count: u64) {
    eventually(format!("{count} running jobs"), async || (client.running().await == count).then_some(())).await;
}
