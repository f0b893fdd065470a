//! `/debug/`: what a daemon in debug mode reports of its own process. These routes exist only with `--debug`.

mod capture;
#[cfg(feature = "profiling")]
mod flamegraph;
mod guest;
#[cfg(feature = "profiling")]
mod heap;
pub(crate) mod mode;
#[cfg(feature = "profiling")]
mod profile;
#[cfg(feature = "profiling")]
mod profiler;
mod tasks;
#[cfg(not(feature = "profiling"))]
mod without_profiling;

use std::sync::Arc;

use hyper::{Response, StatusCode};
use serde_json::{Map, json};

pub(super) use self::guest::profile as guest_profile;
#[cfg(feature = "profiling")]
pub(super) use self::heap::heap;
#[cfg(feature = "profiling")]
pub(super) use self::profile::profile;
pub(super) use self::tasks::tasks;
#[cfg(not(feature = "profiling"))]
pub(super) use self::without_profiling::{heap, profile};
use super::body::{self, Body};
use super::error::Error;
use super::query::Parameters;
use super::request::Request;
use super::state::ApiState;

const TEXT: &str = "text/plain; charset=utf-8";

/// `GET /debug/vars`: returns numbers of the process and of the engine.
pub(super) async fn vars(state: Arc<ApiState>, request: Request) -> Result<Response<Body>, Error> {
    Parameters::parse(&request, &[], &[])?;
    let numbers = (state.debug_mode()?.process_numbers)();
    let process: Map<_, _> = numbers.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
    let counts = state.engine.counts();
    let vars = json!({
        "cmdline": command_line(),
        "pid": std::process::id(),
        "process": process,
        "engine": {
            "running": counts.running.saturating_sub(counts.queued),
            "queued": counts.queued,
            "started": counts.started,
            "handlers": counts.handlers,
        },
    });
    Ok(body::json(StatusCode::OK, &vars))
}

/// `GET /debug/cmdline`: returns the arguments of the daemon, separated by NUL.
pub(super) async fn cmdline(_state: Arc<ApiState>, request: Request) -> Result<Response<Body>, Error> {
    Parameters::parse(&request, &[], &[])?;
    Ok(body::response(StatusCode::OK, TEXT, body::full(command_line().join("\0"))))
}

/// `GET /debug/pprof/`: lists the routes of debug mode.
pub(super) async fn index(_state: Arc<ApiState>, request: Request) -> Result<Response<Body>, Error> {
    Parameters::parse(&request, &[], &[])?;
    Ok(body::response(StatusCode::OK, TEXT, body::full(INDEX)))
}

const INDEX: &str = "\
/debug/cmdline                                    arguments of the daemon, separated by NUL
/debug/jobs/{id}/profile?seconds=30               CPU profile of the guest of a job, for the Firefox profiler, JSON
/debug/pprof/heap?seconds=30                      memory that was allocated and is still in use at the end, for pprof
/debug/pprof/heap?seconds=30&format=flamegraph    the same as a flame graph, SVG
/debug/pprof/profile?seconds=30                   CPU profile of the daemon, for pprof
/debug/pprof/profile?seconds=30&format=flamegraph the same as a flame graph, SVG
/debug/tasks                                      jobs, connections, threads and other tasks, JSON
/debug/vars                                       numbers of the process and of the engine, JSON
";

fn command_line() -> Vec<String> {
    std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect()
}
