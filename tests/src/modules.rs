//! Programs that are too large to keep as files, built byte by byte.

const HEADER: &[u8] = b"\0asm\x01\0\0\0";

// Section numbers.
pub(crate) const TYPE: u8 = 1;
pub(crate) const FUNCTION: u8 = 3;
pub(crate) const MEMORY: u8 = 5;
pub(crate) const GLOBAL: u8 = 6;
pub(crate) const EXPORT: u8 = 7;
pub(crate) const CODE: u8 = 10;
pub(crate) const DATA: u8 = 11;

// Instructions, and a value type.
pub(crate) const CONST_0: [u8; 2] = [0x41, 0];
pub(crate) const ADD: u8 = 0x6a;
pub(crate) const DROP: u8 = 0x1a;
pub(crate) const END: u8 = 0x0b;
pub(crate) const I64: u8 = 0x7e;

/// A type section with one type: functions without parameters and results.
pub(crate) const NO_VALUES: &[u8] = &[1, 0x60, 0, 0];
/// A memory section with one memory of one page.
pub(crate) const ONE_PAGE: &[u8] = &[1, 0, 1];
/// An export section that exports the first function as `_start`, and the memory.
pub(crate) const COMMAND: &[u8] = b"\x02\x06_start\0\0\x06memory\x02\0";

/// Returns a command of `functions` functions with `additions` times `i32.const 1; i32.add` each: 3 bytes to upload, and slow to compile.
pub fn slow_to_compile(functions: usize, additions: usize) -> Vec<u8> {
    let body = [&[0][..], &CONST_0, &[0x41, 1, ADD].repeat(additions), &[DROP, END]].concat();
    command(&vec![body; functions])
}

/// Returns a command with `count` empty functions.
pub fn many_functions(count: usize) -> Vec<u8> {
    command(&vec![vec![0, END]; count])
}

/// Returns `wasm` with a custom section added, so that it is exactly `size` bytes long.
///
/// # Panics
/// If `wasm` is longer than that, or too close to it.
pub fn padded(wasm: &[u8], size: usize) -> Vec<u8> {
    // Id, a length always encoded in five bytes, the length of the name, the name.
    let head = 1 + 5 + 1 + 3;
    let padding = size.checked_sub(wasm.len() + head).expect("there is space for a custom section");
    let mut padded = wasm.to_vec();
    padded.push(0);
    let mut length = padding + 4;
    for more in [0x80, 0x80, 0x80, 0x80, 0] {
        padded.push(low_bits(length) | more);
        length >>= 7;
    }
    padded.extend(b"\x03pad");
    padded.resize(size, 0);
    padded
}

/// Returns a module with one memory and functions without parameters and results. The first function is `_start`.
pub(crate) fn command(bodies: &[Vec<u8>]) -> Vec<u8> {
    module(&[
        (TYPE, NO_VALUES.to_vec()),
        (FUNCTION, vector(vec![vec![0]; bodies.len()])),
        (MEMORY, ONE_PAGE.to_vec()),
        (EXPORT, COMMAND.to_vec()),
        (CODE, vector(bodies.iter().cloned().map(sized))),
    ])
}

/// Returns a module with these sections.
pub(crate) fn module(sections: &[(u8, Vec<u8>)]) -> Vec<u8> {
    let mut wasm = HEADER.to_vec();
    for (id, content) in sections {
        section(&mut wasm, *id, content);
    }
    wasm
}

/// Encodes a vector: the number of items, then the items.
pub(crate) fn vector(items: impl IntoIterator<Item = Vec<u8>>) -> Vec<u8> {
    let items: Vec<_> = items.into_iter().collect();
    [leb128(items.len()), items.concat()].concat()
}

/// Encodes a function body: its length, then its bytes.
pub(crate) fn sized(body: Vec<u8>) -> Vec<u8> {
    [leb128(body.len()), body].concat()
}

pub(crate) fn section(wasm: &mut Vec<u8>, id: u8, content: &[u8]) {
    wasm.push(id);
    wasm.extend(leb128(content.len()));
    wasm.extend(content);
}

pub(crate) fn leb128(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = low_bits(value);
        value >>= 7;
        if value == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}

#[expect(clippy::cast_possible_truncation, reason = "seven bits are left")]
fn low_bits(value: usize) -> u8 {
    (value & 0x7f) as u8
}
