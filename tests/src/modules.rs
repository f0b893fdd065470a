//! Programs too large to keep as files, written here byte by byte.

const HEADER: &[u8] = b"\0asm\x01\0\0\0";
const TYPE: u8 = 1;
const FUNCTION: u8 = 3;
const MEMORY: u8 = 5;
const EXPORT: u8 = 7;
const CODE: u8 = 10;

/// A command of some functions of `additions` times `i32.const 1; i32.add` each, which is 3 bytes: small to send, and slow to compile.
pub fn slow_to_compile(functions: usize, additions: usize) -> Vec<u8> {
    let mut body = vec![0, 0x41, 0];
    for _ in 0..additions {
        body.extend([0x41, 1, 0x6a]);
    }
    body.extend([0x1a, 0x0b]);
    command(&vec![body; functions])
}

/// A command with this many functions, all but the first empty.
pub fn many_functions(count: usize) -> Vec<u8> {
    command(&vec![vec![0, 0x0b]; count])
}

/// `wasm`, with a custom section added that makes it exactly `size` bytes long.
///
/// # Panics
/// If it is longer already, or too near.
pub fn padded(wasm: &[u8], size: usize) -> Vec<u8> {
    // Id, a length that is always written in five bytes, the length of the name, the name.
    let head = 1 + 5 + 1 + 3;
    let padding = size.checked_sub(wasm.len() + head).expect("there is room for a custom section");
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

/// A module of functions without parameters and results, the first of which is `_start`, and of one memory.
fn command(bodies: &[Vec<u8>]) -> Vec<u8> {
    let mut wasm = HEADER.to_vec();
    section(&mut wasm, TYPE, &[1, 0x60, 0, 0]);
    let mut functions = leb128(bodies.len());
    functions.resize(functions.len() + bodies.len(), 0);
    section(&mut wasm, FUNCTION, &functions);
    section(&mut wasm, MEMORY, &[1, 0, 1]);
    section(&mut wasm, EXPORT, b"\x02\x06_start\0\0\x06memory\x02\0");
    let mut code = leb128(bodies.len());
    for body in bodies {
        code.extend(leb128(body.len()));
        code.extend(body);
    }
    section(&mut wasm, CODE, &code);
    wasm
}

fn section(wasm: &mut Vec<u8>, id: u8, content: &[u8]) {
    wasm.push(id);
    wasm.extend(leb128(content.len()));
    wasm.extend(content);
}

fn leb128(mut value: usize) -> Vec<u8> {
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
