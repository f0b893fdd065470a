//! The log of the daemon: lines on stderr, written so that no job waits for the reader.
//!
//! If the reader is too slow, lines are dropped and counted. `info` reports their number.

mod buffer;
mod format;

use std::io::{self, IsTerminal as _};
use std::sync::OnceLock;

use tracing_subscriber::EnvFilter;

pub(super) use self::buffer::{FlushGuard, LogBuffer};
use self::format::LineFormat;

static BUFFER: OnceLock<LogBuffer> = OnceLock::new();

/// Starts logging. `filter` has the syntax of `RUST_LOG` and overrides `debug`. Dropping the guard writes the remaining lines.
///
/// # Errors
/// The thread that writes the log cannot be started.
pub(super) fn init(debug: bool, filter: Option<&str>) -> io::Result<FlushGuard> {
    let (buffer, guard) = LogBuffer::start(io::stderr())?;
    let _ = BUFFER.set(buffer.clone());
    // The libraries log each host call of a guest at level `info`, which costs a short run a fifth of its time.
    let filter = EnvFilter::new(filter.unwrap_or(if debug { "warn,capstan=debug" } else { "warn,capstan=info" }));
    let subscriber = tracing_subscriber::fmt()
        .with_writer(buffer)
        .with_ansi(io::stderr().is_terminal())
        .event_format(LineFormat::default())
        .with_env_filter(filter)
        .finish();
    // This fails if the process logs already, as in tests.
    let _ = tracing::subscriber::set_global_default(subscriber);
    Ok(guard)
}

/// Returns the number of dropped lines.
pub(super) fn dropped_lines() -> u64 {
    BUFFER.get().map_or(0, LogBuffer::dropped_lines)
}
