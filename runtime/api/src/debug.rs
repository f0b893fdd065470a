//! What a daemon in debug mode says of its own process. Without `--debug` nothing of it is served.

mod capture;
#[cfg(feature = "profiling")]
mod flamegraph;
mod guest;
#[cfg(feature = "profiling")]
mod heap;
#[cfg(feature = "profiling")]
mod profile;
mod tasks;
#[cfg(not(feature = "profiling"))]
mod without_profiling;

use std::sync::Arc;

use hyper::{Response, StatusCode};
use serde_json::{Map, json};
use tokio::sync::Semaphore;

pub(super) use self::guest::profile as guest_profile;
#[cfg(feature = "profiling")]
pub(super) use self::heap::heap;
#[cfg(feature = "profiling")]
pub(super) use self::profile::profile;
pub(super) use self::tasks::tasks;
#[cfg(not(feature = "profiling"))]
pub(super) use self::without_profiling::{heap, profile};
use super::Api;
use super::body::{self, Body};
use super::error::Error;
use super::query::Parameters;
use super::request::Request;

/// Numbers that the kernel has of this process.
pub type ProcessNumbers = fn() -> Vec<(&'static str, u64)>;

const TEXT: &str = "text/plain; charset=utf-8";

/// What debug mode has besides.
#[derive(Debug)]
pub(super) struct Debug {
    process: ProcessNumbers,
    /// The one profile that is taken at a time.
    profiling: Arc<Semaphore>,
}

impl Debug {
    pub(super) fn new(process: ProcessNumbers) -> Self {
        Self { process, profiling: Arc::new(Semaphore::new(1)) }
    }
}

/// `GET /debug/vars`: numbers of the process and of the engine.
pub(super) async fn vars(api: Arc<Api>, request: Request) -> Result<Response<Body>, Error> {
    Parameters::of(&request, &[], &[])?;
    let numbers = (debug(&api)?.process)();
    let process: Map<_, _> = numbers.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
    let counts = api.engine.counts();
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

/// `GET /debug/cmdline`: the words that the daemon was called with, NUL between them.
pub(super) async fn cmdline(_api: Arc<Api>, request: Request) -> Result<Response<Body>, Error> {
    Parameters::of(&request, &[], &[])?;
    Ok(body::typed(StatusCode::OK, TEXT, body::whole(command_line().join("\0"))))
}

/// `GET /debug/pprof/`: what there is.
pub(super) async fn index(_api: Arc<Api>, request: Request) -> Result<Response<Body>, Error> {
    Parameters::of(&request, &[], &[])?;
    Ok(body::typed(StatusCode::OK, TEXT, body::whole(INDEX)))
}

const INDEX: &str = "\
/debug/cmdline                                    the words that the daemon was called with, NUL between them
/debug/jobs/{id}/profile?seconds=30               what the guest of a job computes, for the Firefox profiler, JSON
/debug/pprof/heap?seconds=30                      what is allocated and still held at the end, for pprof
/debug/pprof/heap?seconds=30&format=flamegraph    the same as a picture, SVG
/debug/pprof/profile?seconds=30                   where processor time goes, for pprof
/debug/pprof/profile?seconds=30&format=flamegraph the same as a picture, SVG
/debug/tasks                                      what goes on: jobs, connections, threads, JSON
/debug/vars                                       numbers of the process and of the engine, JSON
";

fn command_line() -> Vec<String> {
    std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect()
}

fn debug(api: &Api) -> Result<&Debug, Error> {
    api.debug.as_ref().ok_or_else(|| Error::not_found("the daemon is not in debug mode"))
}
