//! The handlers that are part of the daemon, and run as jobs like all others.
//!
//! `serveapi` binds the listeners and serves the API until the daemon stops, and `acceptconnections` opens the gate. Only the daemon starts
//! these two. `webhook` delivers to a webhook, and only the queue starts it. Everybody may run the others, which print information about the
//! daemon.

mod metrics;
mod output;
mod queries;
mod services;
mod state;

use std::pin::Pin;
use std::sync::Arc;

use capstan_core::outcome::Outcome;
use capstan_engine::handler::{Call, Handler, Native};

use self::output::print;
pub(crate) use self::services::SERVE;
pub(crate) use self::state::{DaemonInfo, DaemonState};
use crate::webhooks;

/// The future of a builtin's run.
type Work = Pin<Box<dyn Future<Output = Outcome> + Send>>;

/// Returns all builtins with their names.
pub(crate) fn all(state: &Arc<DaemonState>) -> Vec<(&'static str, Arc<dyn Handler>)> {
    let with = |work: fn(Arc<DaemonState>, Call) -> Work| {
        let state = state.clone();
        move |call| work(state.clone(), call)
    };
    vec![
        (
            "commands",
            Native::query(
                "Prints the names of all handlers",
                with(|state, call| Box::pin(queries::commands(state, call))),
            )
            .with_usage("commands [--json]"),
        ),
        ("version", Native::query("Prints the versions, as JSON", with(|_, call| Box::pin(queries::version(call))))),
        (
            "info",
            Native::query(
                "Prints the state of the daemon, as JSON",
                with(|state, call| Box::pin(queries::info(state, call))),
            ),
        ),
        (
            "metrics",
            Native::query(
                "Prints the metrics, in the text format of Prometheus",
                with(|state, call| Box::pin(print_metrics(state, call))),
            ),
        ),
        (
            "serveapi",
            Native::service(
                "Serves the API on the given addresses",
                with(|state, call| Box::pin(services::serve_api(state, call))),
            ),
        ),
        (
            "acceptconnections",
            Native::service(
                "Opens the gate to the API",
                with(|state, _| Box::pin(services::accept_connections(state))),
            ),
        ),
        (
            webhooks::HANDLER,
            Native::work(
                "Delivers the end of a job to a webhook",
                with(|state, call| Box::pin(webhooks::deliver(state.webhooks.clone(), call))),
            )
            .with_usage("webhook NAME")
            .reserved(),
        ),
    ]
}

async fn print_metrics(state: Arc<DaemonState>, mut call: Call) -> Outcome {
    print(&mut call.stdout, &metrics::page(&state)).await
}

#[cfg(test)]
mod tests;
