//! The builtins that print what the daemon knows: `commands`, `version` and `info`.

use std::sync::Arc;

use capstan_core::outcome::Outcome;
use capstan_engine::handler::Call;
use capstan_listen::listenbuffer::GateState;
use capstan_sandbox::WASMTIME_VERSION;
use serde_json::json;

use super::output::{WRONG_USAGE, print};
use super::state::DaemonState;

/// The version of this daemon.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Prints the names of all handlers, one per line. With `--json`, prints the same object as `GET /handlers`.
pub(super) async fn commands(daemon: Arc<DaemonState>, mut call: Call) -> Outcome {
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

/// Prints the versions of the daemon, the API and wasmtime, and the platform.
pub(super) async fn version(mut call: Call) -> Outcome {
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

/// Prints the same object as `GET /info`.
pub(super) async fn info(daemon: Arc<DaemonState>, mut call: Call) -> Outcome {
    let DaemonState { engine, gate, info, .. } = &*daemon;
    let counts = engine.counts();
    let state = match gate.state() {
        _ if engine.is_shutting_down() => "draining",
        GateState::Open => "running",
        GateState::Shut(_) | GateState::Failed(_) => "starting",
    };
    let held_at_opening = daemon.held_at_opening.get().copied().flatten();
    let ceiling = engine.ceiling();
    let mut limits = json!(ceiling.limits);
    limits["runs"] = info.runs.into();
    limits["runs_ceiling"] = info.runs_ceiling.into();
    limits["stack"] = info.stack.into();
    limits["features"] = json!(ceiling.features);
    let json = json!({
        "version": VERSION,
        "wasmtime": WASMTIME_VERSION,
        "state": state,
        "started": format!("{:.9}", info.started),
        "pid": std::process::id(),
        "data": info.data,
        "connections": {"held": daemon.api.waiting(), "held_at_opening": held_at_opening},
        "handlers": counts.handlers,
        "jobs": {"running": counts.running, "queued": counts.queued, "total": counts.started},
        "limits": limits,
        "compile": {
            "timeout": info.compile.timeout.as_secs_f64(),
            "memory": info.compile.memory,
            "upload": info.upload,
        },
        "confinement": {
            "mode": info.confine,
            "daemon": info.confined,
            "compiler": daemon.confined_compiler.get(),
        },
        "log_lines_dropped": (info.log_lines_dropped)(),
    });
    print(&mut call.stdout, &format!("{json}\n")).await
}
