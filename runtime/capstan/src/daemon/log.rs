//! The log: lines to stderr, by a writer that never makes a job wait.
//!
//! Where lines come faster than they are taken, lines are dropped and counted; `info` tells how many.

mod lines;

use std::io::{self, IsTerminal as _};
use std::sync::OnceLock;

use tracing_subscriber::EnvFilter;

use self::lines::Lines;
pub(super) use self::lines::Writing;

static LINES: OnceLock<Lines> = OnceLock::new();

/// Begins to log. `filter`, in the manner of `RUST_LOG`, wins over `debug`. What waits is written when the guard is dropped.
pub(super) fn start(debug: bool, filter: Option<&str>) -> io::Result<Writing> {
    let (lines, writing) = Lines::start(io::stderr())?;
    let _ = LINES.set(lines.clone());
    // The libraries speak of each host call of a guest at `info` already, which costs a short run a fifth of its time.
    let filter = EnvFilter::new(filter.unwrap_or(if debug { "warn,capstan=debug" } else { "warn,capstan=info" }));
    let subscriber = tracing_subscriber::fmt()
        .with_writer(lines)
        .with_ansi(io::stderr().is_terminal())
        .with_env_filter(filter)
        .finish();
    // A process that logs already, as tests may, goes on as it does.
    let _ = tracing::subscriber::set_global_default(subscriber);
    Ok(writing)
}

/// Lines that were dropped.
pub(super) fn dropped() -> u64 {
    LINES.get().map_or(0, Lines::dropped)
}
