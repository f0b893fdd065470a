//! [`detect`]: what kind of program bytes are, from the first of them.

use capstan_engine::handler::Kind;
use wasmtime::Engine;

use super::LoadError;

/// Returns whether `wasm` is a module or a component, by its first eight bytes.
///
/// # Errors
/// [`LoadError::Precompiled`], [`LoadError::TextFormat`] or [`LoadError::NotWasm`] if it is neither.
pub(super) fn detect(wasm: &[u8]) -> Result<Kind, LoadError> {
    if Engine::detect_precompiled(wasm).is_some() || wasm.starts_with(b"\x7fELF") {
        return Err(LoadError::Precompiled);
    }
    match wasm {
        [] => Err(LoadError::NotWasm("the file is empty".to_owned())),
        [b'\0', b'a', b's', b'm', 1, 0, 0, 0, ..] => Ok(Kind::Module),
        [b'\0', b'a', b's', b'm', _, 0, 1, 0, ..] => Ok(Kind::Component),
        [b'\0', b'a', b's', b'm', version @ ..] => {
            Err(LoadError::NotWasm(format!("unknown version [{}]", hex(version))))
        }
        _ if is_text(wasm) => Err(LoadError::TextFormat),
        other => Err(LoadError::NotWasm(format!("the file starts with [{}] instead of [00 61 73 6d]", hex(other)))),
    }
}

/// Returns the first four bytes in hexadecimal.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().take(4).map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ")
}

/// Returns whether `wasm` looks like the text format: it starts with `(module`, `(component` or a comment after white space.
fn is_text(wasm: &[u8]) -> bool {
    let start = wasm.trim_ascii_start();
    start.starts_with(b"(module")
        || start.starts_with(b"(component")
        || start.starts_with(b";;")
        || start.starts_with(b"(;")
}
