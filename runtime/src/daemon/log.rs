//! The log: lines to stderr, by a writer that never makes a job wait.
//!
//! Where lines come faster than they are taken, lines are dropped and counted; `info` tells how many.

use std::io::{BufWriter, IsTerminal as _};
use std::sync::OnceLock;

use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;

/// Lines that wait to be written.
const LINES: usize = 16 << 10;

/// Bytes that are written at a time where lines come fast; the writer flushes whenever no line waits.
const BUFFER: usize = 64 << 10;

static DROPPED: OnceLock<ErrorCounter> = OnceLock::new();

/// Begins to log. `filter`, in the manner of `RUST_LOG`, wins over `debug`. What waits is written when the guard is dropped.
pub(super) fn start(debug: bool, filter: Option<&str>) -> WorkerGuard {
    let (writer, guard) = NonBlockingBuilder::default()
        .lossy(true)
        .buffered_lines_limit(LINES)
        .thread_name("log")
        .finish(BufWriter::with_capacity(BUFFER, std::io::stderr()));
    let _ = DROPPED.set(writer.error_counter());
    let filter = EnvFilter::new(filter.unwrap_or(if debug { "debug" } else { "info" }));
    let subscriber = tracing_subscriber::fmt()
        .with_writer(writer)
        .with_ansi(std::io::stderr().is_terminal())
        .with_env_filter(filter)
        .finish();
    // A process that logs already, as tests may, goes on as it does.
    let _ = tracing::subscriber::set_global_default(subscriber);
    guard
}

/// Lines that were dropped.
pub(super) fn dropped() -> u64 {
    DROPPED.get().map_or(0, |counter| counter.dropped_lines() as u64)
}
