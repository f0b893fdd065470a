//! The end-to-end tests: the real command, as a user calls it, with a real daemon or in process.

#![expect(clippy::disallowed_methods, reason = "tests make the files and folders that the command shall find")]
#![expect(clippy::unwrap_used, reason = "a test reports by panicking")]

mod ask;
mod attach;
mod commands;
mod detached;
mod dir_paths;
mod examples;
mod follow;
mod in_process;
mod interrupt;
mod jobs;
mod mounts;
mod path_calls;
mod program_name;
mod sameness;
mod schema;
mod through_daemon;
mod units;

use capstan_tests::{Cli, Daemon};

/// The binary under test, which cargo builds before it runs these.
const CAPSTAN: &str = env!("CARGO_BIN_EXE_capstan");

/// The command without a daemon.
fn alone() -> Cli {
    Cli::new(CAPSTAN)
}

/// The command, told of this daemon.
fn told_of(daemon: &Daemon) -> Cli {
    Cli::of(CAPSTAN, daemon)
}

/// A daemon with one handler pushed.
async fn serving(handler: &str, wasm: &[u8]) -> Daemon {
    let daemon = Daemon::start(CAPSTAN);
    daemon.client().push(handler, wasm.to_vec()).await;
    daemon
}

/// Leaves a run to the daemon, with nothing on stdin; gives the id of the job.
async fn submit(daemon: &Daemon, args: &[&str]) -> String {
    let submitted = told_of(daemon).args(["run", "-d"]).args(args).run().await.exited(0);
    submitted.text().trim().to_owned()
}
