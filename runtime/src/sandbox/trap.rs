//! From what the library reports to an `Outcome`: whose doing the end of a call was, and what to call it.

use wasmtime::component::ResourceTableError;
use wasmtime::{Error, PoolConcurrencyLimitError, Trap, WasmBacktrace};
use wasmtime_wasi::I32Exit;

use super::limiter::Limiter;
use super::stdio::CapReached;
use crate::outcome::Outcome;

/// The outcome of a call that ended with `error`.
pub(super) fn outcome(error: &Error, limiter: &Limiter) -> Outcome {
    if let Some(I32Exit(code)) = error.downcast_ref() {
        return Outcome::Exited { code: low_byte(*code) };
    }
    if let Some(CapReached { stream, limit }) = error.downcast_ref() {
        return Outcome::OutputCap { stream: *stream, limit: *limit };
    }
    if error.is::<PoolConcurrencyLimitError>() {
        return Outcome::Refused { why: format!("no room for another run: {error}") };
    }
    // A guest that was denied memory seldom says so: most allocators abort.
    if limiter.denied() {
        return Outcome::MemoryDenied { limit: limiter.limit() };
    }
    let (trap, message) = match error.downcast_ref::<Trap>() {
        Some(trap) => (token(*trap), trap.to_string()),
        None if error.is::<ResourceTableError>() => ("handles_exhausted", "no handle is left".to_owned()),
        None => ("host_call", error.root_cause().to_string()),
    };
    Outcome::Trapped { trap: trap.to_owned(), message, backtrace: backtrace(error) }
}

/// A process has eight bits for its exit code; the kernel cuts the rest off, and so does Capstan.
fn low_byte(code: i32) -> u8 {
    code.to_le_bytes()[0]
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

/// One line a frame, innermost first: offset, module and demangled function.
fn backtrace(error: &Error) -> Vec<String> {
    let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() else { return Vec::new() };
    let text = backtrace.to_string();
    text.lines().map(str::trim).filter(|line| line.starts_with(|first: char| first.is_ascii_digit())).map(Into::into).collect()
}
