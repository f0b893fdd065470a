//! Converts an error of wasmtime to an [`Outcome`]: who caused the end of a run, and its stable name.

use capstan_core::outcome::Outcome;
use wasmtime::component::ResourceTableError;
use wasmtime::{Error, FrameInfo, GcHeapOutOfMemory, PoolConcurrencyLimitError, Trap, WasmBacktrace};
use wasmtime_wasi::I32Exit;

use super::disk::Disk;
use super::host::Host;
use super::limiter::Limiter;
use super::stdio::CapReached;

/// Returns the outcome of a run that ended with `error`. `uncaught` describes the exception, if it was one.
pub(super) fn outcome(error: &Error, uncaught: Option<String>, limiter: &Limiter) -> Outcome {
    if let Some(I32Exit(code)) = error.downcast_ref() {
        return Outcome::Exited { code: exit_code(*code) };
    }
    if let Some(CapReached { stream, limit }) = error.downcast_ref() {
        return Outcome::OutputCap { stream: *stream, limit: *limit };
    }
    if error.is::<PoolConcurrencyLimitError>() {
        return Outcome::Refused { why: format!("no slot is free for another run: {error}") };
    }
    // A guest that was denied memory rarely reports it: most allocators abort.
    if let Some(limit) = limiter.denied() {
        return Outcome::MemoryDenied { limit };
    }
    let (trap, message) = match error.downcast_ref::<Trap>() {
        _ if uncaught.is_some() => ("uncaught_exception", uncaught.unwrap_or_default()),
        Some(trap) => (trap_name(*trap), trap.to_string().trim_start_matches("wasm trap: ").to_owned()),
        None if matches!(error.downcast_ref(), Some(ResourceTableError::Full)) => {
            ("handles_exhausted", "all handles are in use".to_owned())
        }
        // The heap has 32-bit addresses, whatever the memory limit is.
        None if error.is::<GcHeapOutOfMemory<()>>() => ("heap_exhausted", error.root_cause().to_string()),
        None => ("host_call", error.root_cause().to_string()),
    };
    Outcome::Trapped { trap: trap.to_owned(), message, backtrace: backtrace(error) }
}

/// Returns the memory limit as the outcome if the guest was denied memory and then failed; otherwise returns `outcome`. Runtimes of languages
/// report it in their own words, and exit.
pub(super) fn or_memory_limit(outcome: Outcome, limiter: &Limiter) -> Outcome {
    match (&outcome, limiter.denied()) {
        (Outcome::Exited { code: 1.. }, Some(limit)) => Outcome::MemoryDenied { limit },
        _ => outcome,
    }
}

/// Returns the disk cap as the outcome if the guest was denied space on its mounts and then failed; otherwise returns `outcome`. A guest
/// reports the cap in its own words at most.
pub(super) fn or_disk_cap(outcome: Outcome, host: &Host) -> Outcome {
    match host.disk.as_ref().and_then(Disk::denied) {
        Some(denied)
            if !outcome.is_success() && matches!(outcome, Outcome::Exited { .. } | Outcome::Trapped { .. }) =>
        {
            denied.clone()
        }
        _ => outcome,
    }
}

/// Converts to the eight bits of an exit code; what does not fit is 255. A kernel would truncate, so that 256 would count as success.
fn exit_code(code: i32) -> u8 {
    u8::try_from(code).unwrap_or(u8::MAX)
}

/// Returns the stable name of a trap.
fn trap_name(trap: Trap) -> &'static str {
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
        Trap::NullReference => "null_reference",
        Trap::ArrayOutOfBounds => "array_out_of_bounds",
        Trap::AllocationTooLarge => "allocation_too_large",
        Trap::CastFailure => "cast_failure",
        Trap::AtomicWaitNonSharedMemory => "atomic_wait",
        Trap::AsyncDeadlock => "deadlock",
        _ => "other",
    }
}

/// Returns one line for each frame, innermost first: the demangled function name and the offset in the module.
fn backtrace(error: &Error) -> Vec<String> {
    let Some(trace) = error.downcast_ref::<WasmBacktrace>() else { return Vec::new() };
    let demangled: Vec<_> = trace.to_string().lines().filter_map(parse_frame).collect();
    // The names of functions come from the guest, and may contain line breaks and escape sequences.
    let is_plain =
        demangled.len() == trace.frames().len() && !demangled.iter().any(|name| name.contains(char::is_control));
    if is_plain { demangled } else { trace.frames().iter().map(escaped_frame).collect() }
}

/// Returns the line of a frame with the name that the guest gave the function, escaped.
fn escaped_frame(frame: &FrameInfo) -> String {
    let index = || format!("<wasm function {}>", frame.func_index());
    let name = frame.func_name().map_or_else(index, |name| name.escape_debug().to_string());
    frame.module_offset().map_or_else(|| name.clone(), |offset| format!("{name} ({offset:#x})"))
}

/// Returns the line of a frame from a line of wasmtime's text, or `None` for other lines. wasmtime demangles only in its text, whose frames
/// have the form `  0:  0x32 - module!function`, between a headline and source lines.
fn parse_frame(line: &str) -> Option<String> {
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
    fn parse_frame_reads_text_of_wasmtime() {
        assert_eq!(parse_frame("    0:     0x32 - <unknown>!inner"), Some("inner (0x32)".to_owned()));
        assert_eq!(
            parse_frame("    1:  0x3c - app!core::ops::<impl Sub - x>"),
            Some("app!core::ops::<impl Sub - x> (0x3c)".to_owned())
        );
        assert_eq!(parse_frame("    0: <unknown>!down"), Some("down".to_owned()));
        assert_eq!(parse_frame("error while executing at wasm backtrace:"), None);
    }

    #[test]
    fn exit_code_outside_eight_bits_is_255() {
        let limiter = Limiter::new(0, std::sync::Arc::default());
        for (code, byte) in [(0, 0), (1, 1), (126, 126), (255, 255), (256, 255), (-1, 255)] {
            assert_eq!(outcome(&I32Exit(code).into(), None, &limiter), Outcome::Exited { code: byte });
        }
    }
}
