//! `wasi:logging`: lines of the stderr of the job.

use wasmtime::component::{ComponentType, Lift, Linker, Lower, WasmStr};
use wasmtime::{Result, StoreContextMut};
use wasmtime_wasi::p2::StreamError;

use crate::host::Host;

const INTERFACES: [&str; 2] = ["wasi:logging/logging", "wasi:logging/logging@0.1.0-draft"];
/// Bytes of one message. The rest is cut.
const MAX_MESSAGE: usize = 64 << 10;
/// Bytes of a context. The rest is cut.
const MAX_CONTEXT: usize = 1024;

#[derive(Clone, Copy, ComponentType, Lift, Lower)]
#[allow(dead_code, reason = "the guests make them")]
#[component(enum)]
#[repr(u8)]
enum Level {
    #[component(name = "trace")]
    Trace,
    #[component(name = "debug")]
    Debug,
    #[component(name = "info")]
    Info,
    #[component(name = "warn")]
    Warn,
    #[component(name = "error")]
    Error,
    #[component(name = "critical")]
    Critical,
}

impl Level {
    fn name(self) -> &'static str {
        match self {
            Self::Trace => "TRACE",
            Self::Debug => "DEBUG",
            Self::Info => "INFO",
            Self::Warn => "WARN",
            Self::Error => "ERROR",
            Self::Critical => "CRITICAL",
        }
    }
}

/// Adds the interface, in both of its names, to `linker`.
pub(super) fn add_to_linker(linker: &mut Linker<Host>) -> Result<()> {
    for name in INTERFACES {
        linker.instance(name)?.func_wrap_async(
            "log",
            |store: StoreContextMut<'_, Host>, (level, context, message): (Level, WasmStr, WasmStr)| {
                Box::new(async move {
                    let line = line(level, &context.to_str(&store)?, &message.to_str(&store)?);
                    let stderr = store.data().stderr.clone();
                    match stderr.write_bytes(line.into()).await {
                        // A message that nobody reads is no fault of the guest.
                        Ok(()) | Err(StreamError::Closed | StreamError::LastOperationFailed(_)) => Ok(()),
                        Err(StreamError::Trap(error)) => Err(error),
                    }
                })
            },
        )?;
    }
    Ok(())
}

/// Returns the line of a message: `LEVEL context: message`. Further lines of the message stay lines.
fn line(level: Level, context: &str, message: &str) -> String {
    let (context, message) = (cut(context, MAX_CONTEXT), cut(message, MAX_MESSAGE).trim_end_matches('\n'));
    match context {
        "" => format!("{} {message}\n", level.name()),
        context => format!("{} {}: {message}\n", level.name(), context.replace(['\n', '\r'], " ")),
    }
}

fn cut(text: &str, max: usize) -> &str {
    &text[..text.floor_char_boundary(max)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_has_level_context_and_message() {
        assert_eq!(line(Level::Warn, "", "low\n"), "WARN low\n");
        assert_eq!(line(Level::Critical, "a\nb", "x\ny"), "CRITICAL a b: x\ny\n");
        assert_eq!(line(Level::Info, "c", &"ä".repeat(MAX_MESSAGE)).len(), "INFO c: \n".len() + MAX_MESSAGE);
    }
}
