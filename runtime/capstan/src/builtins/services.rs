//! The builtins that only the daemon starts: `serveapi` and `acceptconnections`.

use std::sync::Arc;

use capstan_core::outcome::Outcome;
use capstan_engine::handler::Call;
use capstan_listen::listener::{self, BindError, Host, Listener};

use super::output::{WRONG_USAGE, print};
use super::state::DaemonState;

/// Binds the hosts in its arguments, all or none, and prints their addresses with the real ports. It then closes its output, and serves the
/// API until the job is stopped.
pub(super) async fn serve_api(daemon: Arc<DaemonState>, mut call: Call) -> Outcome {
    let listeners = match bind(&call.args, &daemon).await {
        Ok(listeners) => listeners,
        Err((message, code)) => {
            return call.fail(code, message).await;
        }
    };
    daemon.engine.set_own_ports(listeners.iter().filter_map(Listener::tcp_port).collect());
    let addresses: String = listeners.iter().map(|listener| format!("{}\n", listener.address())).collect();
    print(&mut call.stdout, &addresses).await;
    let Call { stop, stdout, stderr, .. } = call;
    drop((stdout, stderr));
    capstan_api::serve(daemon.api.clone(), listeners, stop.requested()).await;
    Outcome::SUCCESS
}

/// Binds `hosts`. Returns the message and the exit code of a failure.
async fn bind(hosts: &[String], daemon: &DaemonState) -> Result<Vec<Listener>, (String, u8)> {
    let hosts = hosts.iter().map(|text| text.parse()).collect::<Result<Vec<Host>, _>>();
    let hosts = hosts.map_err(|error| (error.to_string(), WRONG_USAGE))?;
    listener::bind(&hosts, daemon.listening, daemon.tls.as_ref(), &daemon.inherited).await.map_err(|error| {
        let code = if matches!(error, BindError::Exposed(_)) { WRONG_USAGE } else { 1 };
        (error.to_string(), code)
    })
}

/// Opens the gate. It may run any number of times, and before `serveapi` too.
pub(super) async fn accept_connections(daemon: Arc<DaemonState>) -> Outcome {
    let held = daemon.api.waiting();
    if !daemon.gate.open() {
        return Outcome::Exited { code: 1 };
    }
    if daemon.held_at_opening.set(held).is_ok() {
        tracing::info!(held, "the gate is open");
    }
    Outcome::SUCCESS
}
