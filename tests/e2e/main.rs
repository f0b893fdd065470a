//! The end-to-end tests: the real command as a user calls it, with a real daemon or in process.

#![expect(clippy::disallowed_methods, reason = "tests make the files and folders that the command reads")]
#![expect(clippy::unwrap_used, reason = "a test reports by panicking")]

mod attach;
mod cache;
mod commands;
mod detached;
mod dir_paths;
mod examples;
mod form;
mod handlers;
mod in_process;
mod inspect_file;
mod interrupt;
mod invoke;
mod jobs;
mod logs_and_events;
mod mounts;
mod path_calls;
mod prebuilt;
mod program_name;
mod routes;
mod run_flags;
mod schedules;
mod schema;
mod scripts;
mod stdin;
mod store_commands;
mod systemd_units;
mod templates;
mod through_daemon;

use capstan_tests::{Cli, Daemon};

/// The binary under test. Cargo builds it before it runs these tests.
const CAPSTAN: &str = env!("CARGO_BIN_EXE_capstan");

/// Returns the command without the address of a daemon.
fn command() -> Cli {
    Cli::new(CAPSTAN)
}

/// Returns the command with the address of `daemon`.
fn command_for(daemon: &Daemon) -> Cli {
    Cli::for_daemon(CAPSTAN, daemon)
}

/// Starts a daemon with one handler.
async fn serving(handler: &str, wasm: &[u8]) -> Daemon {
    let daemon = Daemon::start(CAPSTAN);
    daemon.client().push(handler, wasm.to_vec()).await;
    daemon
}

/// Submits a detached run with empty stdin and returns the id of the job.
async fn submit(daemon: &Daemon, args: &[&str]) -> String {
    let submitted = command_for(daemon).args(["run", "-d"]).args(args).run().await.assert_exit_code(0);
    submitted.text().trim().to_owned()
}
