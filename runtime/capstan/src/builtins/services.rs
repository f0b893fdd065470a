//! The builtins that only the daemon starts: `serveapi` and `acceptconnections`.

use std::sync::Arc;

use capstan_api::Listeners;
use capstan_core::outcome::Outcome;
use capstan_engine::handler::Call;
use capstan_listen::listener::{self, BindError, Host, Listener, Options};

use super::output::{WRONG_USAGE, print};
use super::state::DaemonState;

/// The argument after which the hosts follow that serve claimed routes, and what starts their lines in the output.
pub(crate) const SERVE: &str = "--serve";

/// Binds the hosts in its arguments, all or none, and prints their addresses with the real ports. It then closes its output, and serves the
/// API, and after `--serve` the claimed routes, until the job is stopped.
pub(super) async fn serve_api(daemon: Arc<DaemonState>, mut call: Call) -> Outcome {
    let listeners = match bind(&call.args, &daemon).await {
        Ok(listeners) => listeners,
        Err((message, code)) => {
            return call.fail(code, message).await;
        }
    };
    let all = || listeners.api.iter().chain(&listeners.routes);
    daemon.engine.set_own_ports(all().filter_map(Listener::tcp_port).collect());
    let mut addresses: String = listeners.api.iter().map(|listener| format!("{}\n", listener.address())).collect();
    addresses.extend(listeners.routes.iter().map(|listener| format!("{SERVE} {}\n", listener.address())));
    print(&mut call.stdout, &addresses).await;
    let Call { stop, stdout, stderr, .. } = call;
    drop((stdout, stderr));
    capstan_api::serve(daemon.api.clone(), listeners, stop.requested()).await;
    Outcome::SUCCESS
}

/// Binds `hosts`. Returns the message and the exit code of a failure.
async fn bind(args: &[String], daemon: &DaemonState) -> Result<Listeners, (String, u8)> {
    let mut groups = args.splitn(2, |arg| arg == SERVE);
    let (api, routes) = (parse(groups.next())?, parse(groups.next())?);
    // Routes are for everybody who can connect.
    let public = Options { insecure_tcp: true, ..daemon.listening };
    let groups = [(&api[..], daemon.listening), (&routes[..], public)];
    let bound = listener::bind_groups(groups, daemon.tls.as_ref(), &daemon.inherited).await.map_err(|error| {
        let code = if matches!(error, BindError::Exposed(_)) { WRONG_USAGE } else { 1 };
        (error.to_string(), code)
    });
    bound.map(|[api, routes]| Listeners { api, routes })
}

fn parse(hosts: Option<&[String]>) -> Result<Vec<Host>, (String, u8)> {
    let hosts = hosts.unwrap_or_default().iter().map(|text| text.parse()).collect::<Result<Vec<Host>, _>>();
    hosts.map_err(|error| (error.to_string(), WRONG_USAGE))
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
