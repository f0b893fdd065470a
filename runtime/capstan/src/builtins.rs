//! The handlers that are part of the daemon, run as jobs like any other.
//!
//! Two of them are its life: `serveapi` binds and serves until the daemon stops, `acceptconnections` opens the gate. Only the daemon
//! starts those. The others answer what is asked of the daemon, and may be run by anyone.

mod metrics;

use std::io;
use std::sync::{Arc, OnceLock};

use capstan_api::Api;
use capstan_confinement::{ConfinementReport, Mode};
use capstan_core::outcome::Outcome;
use capstan_engine::engine::Engine;
use capstan_engine::handler::{Call, Handler, Native};
use capstan_listen::listenbuffer::{Gate, GateState};
use capstan_listen::listener::{self, BindError, Host, Inherited, Listener};
use capstan_listen::tls;
use capstan_sandbox::{CompileLimits, Sandbox, WASMTIME_VERSION};
use serde_json::json;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};

/// The version of this daemon.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Exit code of a builtin that was asked for what it never does; any other failure is 1.
const WRONG_USAGE: u8 = 125;

/// What builtins work on.
#[derive(Debug)]
pub(crate) struct Daemon {
    pub(crate) engine: Engine,
    pub(crate) gate: Gate,
    pub(crate) api: Arc<Api>,
    /// Set before the gate opens.
    pub(crate) sandbox: OnceLock<Sandbox>,
    pub(crate) listening: listener::Options,
    /// How TCP is secured; not at all where it is none.
    pub(crate) tls: Option<Arc<tls::Server>>,
    /// What was passed to the daemon to listen on.
    pub(crate) inherited: Inherited,
    /// Connections that waited when the gate opened, where the kernel tells.
    pub(crate) held_at_opening: OnceLock<Option<usize>>,
    /// What compilers give up, once that was asked.
    pub(crate) confined_compiler: OnceLock<ConfinementReport>,
    pub(crate) facts: Facts,
}

/// What `info` tells that does not change.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    pub(crate) data: String,
    pub(crate) runs: usize,
    /// The most runs that this machine allows.
    pub(crate) runs_ceiling: usize,
    /// Bytes of a guest's stack.
    pub(crate) stack: usize,
    pub(crate) compile: CompileLimits,
    pub(crate) upload: u64,
    /// What was to be given up at the start, and what was.
    pub(crate) confine: Mode,
    pub(crate) confined: ConfinementReport,
    pub(crate) started: jiff::Timestamp,
    /// Lines of the log that were dropped because nobody took them fast enough.
    pub(crate) log_lines_dropped: fn() -> u64,
}

/// All builtins, for [`Engine::install`].
pub(crate) fn bundle(daemon: &Arc<Daemon>) -> Vec<(&'static str, Arc<dyn Handler>)> {
    let with = |work: fn(Arc<Daemon>, Call) -> Work| {
        let daemon = daemon.clone();
        move |call| work(daemon.clone(), call)
    };
    vec![
        (
            "commands",
            Native::query("Prints the names of all handlers", with(|daemon, call| Box::pin(commands(daemon, call))))
                .with_usage("commands [--json]"),
        ),
        ("version", Native::query("Prints the versions, as JSON", with(|_, call| Box::pin(version(call))))),
        (
            "info",
            Native::query("Prints the state of the daemon, as JSON", with(|daemon, call| Box::pin(info(daemon, call)))),
        ),
        (
            "metrics",
            Native::query(
                "Prints what is counted, for Prometheus",
                with(|daemon, call| Box::pin(metrics(daemon, call))),
            ),
        ),
        (
            "serveapi",
            Native::service("Serves the API on addresses", with(|daemon, call| Box::pin(serve_api(daemon, call)))),
        ),
        (
            "acceptconnections",
            Native::service("Opens the gate to the API", with(|daemon, _| Box::pin(accept_connections(daemon)))),
        ),
    ]
}

type Work = std::pin::Pin<Box<dyn Future<Output = Outcome> + Send>>;

/// The names, one a line; with `--json` what `GET /handlers` tells of them.
async fn commands(daemon: Arc<Daemon>, mut call: Call) -> Outcome {
    let handlers = daemon.engine.handlers();
    let text: String = match call.args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => handlers.iter().map(|handler| format!("{}\n", handler.name())).collect(),
        ["--json"] => {
            let handlers: Vec<_> = handlers.iter().map(AsRef::as_ref).collect();
            format!("{}\n", json!({"handlers": handlers}))
        }
        _ => return call.fail(WRONG_USAGE, "usage: commands [--json]").await,
    };
    print(&mut call.stdout, &text).await
}

async fn version(mut call: Call) -> Outcome {
    let json = json!({
        "version": VERSION,
        "api_version": capstan_api::MAX_VERSION.to_string(),
        "min_api_version": capstan_api::MIN_VERSION.to_string(),
        "wasmtime": WASMTIME_VERSION,
        "os": std::env::consts::OS,
        "arch": std::env::consts::ARCH,
    });
    print(&mut call.stdout, &format!("{json}\n")).await
}

async fn info(daemon: Arc<Daemon>, mut call: Call) -> Outcome {
    let Daemon { engine, gate, facts, .. } = &*daemon;
    let counts = engine.counts();
    let state = match gate.state() {
        _ if engine.is_shutting_down() => "draining",
        GateState::Open => "running",
        GateState::Shut(_) | GateState::Failed(_) => "starting",
    };
    let held_at_opening = daemon.held_at_opening.get().copied().flatten();
    let ceiling = engine.ceiling();
    let mut limits = json!(ceiling.limits);
    limits["runs"] = facts.runs.into();
    limits["runs_ceiling"] = facts.runs_ceiling.into();
    limits["stack"] = facts.stack.into();
    limits["features"] = json!(ceiling.features);
    let json = json!({
        "version": VERSION,
        "wasmtime": WASMTIME_VERSION,
        "state": state,
        "started": format!("{:.9}", facts.started),
        "pid": std::process::id(),
        "data": facts.data,
        "connections": {"held": daemon.api.waiting(), "held_at_opening": held_at_opening},
        "handlers": counts.handlers,
        "jobs": {"running": counts.running, "queued": counts.queued, "total": counts.started},
        "limits": limits,
        "compile": {
            "timeout": facts.compile.timeout.as_secs_f64(),
            "memory": facts.compile.memory,
            "upload": facts.upload,
        },
        "confinement": {
            "mode": facts.confine,
            "daemon": facts.confined,
            "compiler": daemon.confined_compiler.get(),
        },
        "log_lines_dropped": (facts.log_lines_dropped)(),
    });
    print(&mut call.stdout, &format!("{json}\n")).await
}

async fn metrics(daemon: Arc<Daemon>, mut call: Call) -> Outcome {
    print(&mut call.stdout, &metrics::page(&daemon)).await
}

/// Binds its arguments, all or none, prints each with its real port, closes its output, and serves until it is stopped.
async fn serve_api(daemon: Arc<Daemon>, mut call: Call) -> Outcome {
    let listeners = match bind(&call.args, &daemon).await {
        Ok(listeners) => listeners,
        Err((why, code)) => {
            return call.fail(code, why).await;
        }
    };
    daemon.engine.set_own_ports(listeners.iter().filter_map(Listener::tcp_port).collect());
    let bound: String = listeners.iter().map(|listener| format!("{}\n", listener.address())).collect();
    print(&mut call.stdout, &bound).await;
    let Call { stop, stdout, stderr, .. } = call;
    drop((stdout, stderr));
    capstan_api::serve(daemon.api.clone(), listeners, stop.requested()).await;
    Outcome::SUCCESS
}

async fn bind(hosts: &[String], daemon: &Daemon) -> Result<Vec<Listener>, (String, u8)> {
    let hosts = hosts.iter().map(|text| text.parse()).collect::<Result<Vec<Host>, _>>();
    let hosts = hosts.map_err(|error| (error.to_string(), WRONG_USAGE))?;
    listener::bind(&hosts, daemon.listening, daemon.tls.as_ref(), &daemon.inherited).await.map_err(|error| {
        let code = if matches!(error, BindError::Exposed(_)) { WRONG_USAGE } else { 1 };
        (error.to_string(), code)
    })
}

/// Opens the gate, before it is waited for as well as after, and as often as is asked.
async fn accept_connections(daemon: Arc<Daemon>) -> Outcome {
    let held = daemon.api.waiting();
    if !daemon.gate.open() {
        return Outcome::Exited { code: 1 };
    }
    if daemon.held_at_opening.set(held).is_ok() {
        tracing::info!(held, "the gate is open");
    }
    Outcome::SUCCESS
}

async fn print(stream: &mut (impl AsyncWrite + Unpin), text: &str) -> Outcome {
    match stream.write_all(text.as_bytes()).await {
        Ok(()) => Outcome::SUCCESS,
        // As of a process whose reader is gone.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Outcome::Exited { code: 1 },
        Err(error) => Outcome::HostError { message: error.to_string() },
    }
}

#[cfg(test)]
mod tests;
