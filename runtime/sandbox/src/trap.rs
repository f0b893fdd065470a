//! From what the library reports to an `Outcome`: whose doing the end of a call was, and what to call it.

use capstan_core::outcome::Outcome;
use wasmtime::component::ResourceTableError;
use wasmtime::{Error, FrameInfo, PoolConcurrencyLimitError, Trap, WasmBacktrace};
use wasmtime_wasi::I32Exit;

use super::disk::Disk;
use super::host::Host;
use super::limiter::Limiter;
use super::stdio::CapReached;

/// The outcome of a call that ended with `error`.
pub(super) fn outcome(error: &Error, limiter: &Limiter) -> Outcome {
    if let Some(I32Exit(code)) = error.downcast_ref() {
        return Outcome::Exited { code: exit_code(*code) };
    }
    if let Some(CapReached { stream, limit }) = error.downcast_ref() {
        return Outcome::OutputCap { stream: *stream, limit: *limit };
    }
    if error.is::<PoolConcurrencyLimitError>() {
        return Outcome::Refused { why: format!("no room for another run: {error}") };
    }
    // A guest that was denied memory seldom says so: most allocators abort.
    if let Some(limit) = limiter.denied() {
        return Outcome::MemoryDenied { limit };
    }
    let (trap, message) = match error.downcast_ref::<Trap>() {
        Some(trap) => (token(*trap), trap.to_string().trim_start_matches("wasm trap: ").to_owned()),
        None if matches!(error.downcast_ref(), Some(ResourceTableError::Full)) => {
            ("handles_exhausted", "no handle is left".to_owned())
        }
        None => ("host_call", error.root_cause().to_string()),
    };
    Outcome::Trapped { trap: trap.to_owned(), message, backtrace: backtrace(error) }
}

/// The same outcome, or that there was no room on the mounts, where the guest was denied some and did not end well: it says so in words
/// of its own at most.
pub(super) fn for_want_of_room(outcome: Outcome, host: &Host) -> Outcome {
    match host.disk.as_ref().and_then(Disk::denied) {
        Some(denied)
            if !outcome.is_success() && matches!(outcome, Outcome::Exited { .. } | Outcome::Trapped { .. }) =>
        {
            denied.clone()
        }
        _ => outcome,
    }
}

/// What does not fit in the eight bits of an exit code is 255. A kernel would cut it off, and 256 would pass for success.
fn exit_code(code: i32) -> u8 {
    u8::try_from(code).unwrap_or(u8::MAX)
}

/// The stable token of a trap.
fn token(trap: Trap) -> &'static str {
    match trap {
        Trap::StackOverflow => "stack_overflow",
        Trap::MemoryOutOfBounds => "memory_out_of_bounds",
        Trap::HeapMisaligned => "heap_misaligned",
        Trap::TableOutOfBounds => "table_out_of_bounds",
        Trap::IndirectCallToNull => "indirect_call_to_null",
        Trap::BadSignature => "bad_signature",
        Trap::IntegerOverflow => "integer_overflow",
        Trap::IntegerDivisionByZero => "integer_division_by_zero",
        Trap::BadConversionToInteger => "bad_conversion_to_integer",
        Trap::UnreachableCodeReached => "unreachable",
        _ => "other",
    }
}

/// One line a frame, innermost first: the demangled function and where in the module it stood.
fn backtrace(error: &Error) -> Vec<String> {
    let Some(trace) = error.downcast_ref::<WasmBacktrace>() else { return Vec::new() };
    let demangled: Vec<_> = trace.to_string().lines().filter_map(frame).collect();
    // A guest names its functions, and may make lines and escape sequences of them.
    let is_plain =
        demangled.len() == trace.frames().len() && !demangled.iter().any(|name| name.contains(char::is_control));
    if is_plain { demangled } else { trace.frames().iter().map(escaped).collect() }
}

/// A frame by the name that the guest gave the function, in characters that are only shown.
fn escaped(frame: &FrameInfo) -> String {
    let index = || format!("<wasm function {}>", frame.func_index());
    let name = frame.func_name().map_or_else(index, |name| name.escape_debug().to_string());
    frame.module_offset().map_or_else(|| name.clone(), |offset| format!("{name} ({offset:#x})"))
}

/// The library alone can demangle, and it writes `  0:  0x32 - module!function`, with a headline and lines of source between.
fn frame(line: &str) -> Option<String> {
    let (number, rest) = line.trim().split_once(':')?;
    number.parse::<u32>().ok()?;
    let name = |name: &str| name.trim_start_matches("<unknown>!").to_owned();
    Some(match rest.trim().split_once(" - ") {
        Some((offset, function)) => format!("{} ({offset})", name(function)),
        None => name(rest.trim()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_read_from_the_librarys_text() {
        assert_eq!(frame("    0:     0x32 - <unknown>!inner"), Some("inner (0x32)".to_owned()));
        assert_eq!(
            frame("    1:  0x3c - app!core::ops::<impl Sub - x>"),
            Some("app!core::ops::<impl Sub - x> (0x3c)".to_owned())
        );
        assert_eq!(frame("    0: <unknown>!down"), Some("down".to_owned()));
        assert_eq!(frame("error while executing at wasm backtrace:"), None);
    }

    #[test]
    fn exit_codes_are_exact_and_what_is_none_is_no_success() {
        let limiter = Limiter::new(0, std::sync::Arc::default());
        for (code, byte) in [(0, 0), (1, 1), (126, 126), (255, 255), (256, 255), (-1, 255)] {
            assert_eq!(outcome(&I32Exit(code).into(), &limiter), Outcome::Exited { code: byte });
        }
    }
}
