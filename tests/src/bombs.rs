//! Programs that are small to upload but expensive to compile, each in a different way.

use crate::modules::{self, ADD, CONST_0, DROP, END, I64, command, leb128, module, section, vector};

/// A bomb, and the stable error code of its rejection. `None` means that it compiles within the limits and runs to a normal end.
#[derive(Debug)]
pub struct Bomb {
    pub name: &'static str,
    pub wasm: Vec<u8>,
    pub code: Option<&'static str>,
}

/// Returns all bombs.
pub fn all() -> Vec<Bomb> {
    let bomb = |name, wasm, code| Bomb { name, wasm, code };
    vec![
        bomb("a function of 349,000 additions", modules::slow_to_compile(1, 349_000), Some("compile_limit")),
        bomb("300,000 ifs in two functions", ifs(2, 150_000), Some("compile_limit")),
        bomb("20,000 functions of 50,000 locals each", locals(20_000), Some("compile_limit")),
        bomb("200,000 empty functions", modules::many_functions(200_000), Some("compile_limit")),
        bomb("1,000,000 empty functions", modules::many_functions(1_000_000), Some("module_too_complex")),
        bomb("1,000,000 types", types(1_000_000), Some("module_too_complex")),
        bomb("a table of 1,000,000 branches", branches(1, 1_000_000), Some("invalid_module")),
        bomb("a name of 100,001 bytes", name(100_001), Some("invalid_module")),
        bomb("blocks 100,000 deep", nested(&[0x02, 0x40], 100_000), None),
        bomb("ifs 100,000 deep", nested(&[CONST_0[0], CONST_0[1], 0x04, 0x40], 100_000), None),
        bomb("ten tables of 65,000 branches", branches(10, 65_000), None),
        bomb("200 functions of 50,000 locals each", locals(200), None),
        bomb("20 functions of 1,000 parameters and results", parameters(20), None),
        bomb("30,000 values that live at a time", live_values(30_000), None),
        bomb("100,000 data segments", data_segments(100_000), None),
        bomb("90,000 exports", exports(90_000), None),
        bomb("100,000 globals", globals(100_000), None),
        bomb("a name of 100,000 bytes", name(100_000), None),
        bomb("a custom section of 20 MiB", modules::padded(&command(&[EMPTY.to_vec()]), 20 << 20), None),
    ]
}

/// The body of a function that does nothing.
const EMPTY: [u8; 2] = [0, END];

/// Returns a command whose `_start` calls the first of `functions` functions. Each has 1,000 parameters and 1,000 results and calls itself.
pub fn parameters(functions: usize) -> Vec<u8> {
    let values = [leb128(1000), vec![I64; 1000]].concat();
    let types = [&[2, 0x60, 0, 0, 0x60][..], &values, &values].concat();
    let gets: Vec<u8> = (0..1000).flat_map(|local| [vec![0x20], leb128(local)].concat()).collect();
    let itself = |function: usize| [vec![0], gets.clone(), vec![0x10], leb128(function), vec![END]].concat();
    let start = [vec![0], [0x42, 0].repeat(1000), vec![0x10, 1], vec![DROP; 1000], vec![END]].concat();
    let bodies = std::iter::once(start).chain((1..=functions).map(itself));
    let of_type = |function: usize| vec![u8::from(function > 0)];
    module(&[
        (modules::TYPE, types),
        (modules::FUNCTION, vector((0..=functions).map(of_type))),
        (modules::MEMORY, modules::ONE_PAGE.to_vec()),
        (modules::EXPORT, modules::COMMAND.to_vec()),
        (modules::CODE, vector(bodies.map(modules::sized))),
    ])
}

fn ifs(functions: usize, count: usize) -> Vec<u8> {
    let each = [CONST_0[0], CONST_0[1], 0x04, 0x40, END];
    command(&vec![[vec![0], each.repeat(count), vec![END]].concat(); functions])
}

/// Returns a function of `depth` nested constructs that start with the bytes `open`.
fn nested(open: &[u8], depth: usize) -> Vec<u8> {
    command(&[[vec![0], open.repeat(depth), vec![END; depth + 1]].concat()])
}

fn branches(functions: usize, count: usize) -> Vec<u8> {
    let body = [&[0][..], &CONST_0, &[0x0e], &leb128(count), &vec![0; count + 1], &[END]].concat();
    command(&vec![body; functions])
}

/// Returns a command of functions with 50,000 locals each: 8 bytes to upload and milliseconds to compile per function.
pub fn locals(functions: usize) -> Vec<u8> {
    command(&vec![[vec![1], leb128(50_000), vec![I64, END]].concat(); functions])
}

/// Returns a function that keeps the results of `count` calls alive before it adds them up.
fn live_values(count: usize) -> Vec<u8> {
    const I32: u8 = 0x7f;
    let locals = |instruction: &[u8]| -> Vec<u8> {
        (0..count).flat_map(|local| [instruction, &leb128(local)].concat()).collect()
    };
    let (set, get) = (locals(&[0x10, 1, 0x21]), locals(&[0x20]));
    let body = [vec![1], leb128(count), vec![I32], set, get, vec![ADD; count - 1], vec![DROP, END]].concat();
    module(&[
        (modules::TYPE, vec![2, 0x60, 0, 0, 0x60, 0, 1, I32]),
        (modules::FUNCTION, vec![2, 0, 1]),
        (modules::MEMORY, modules::ONE_PAGE.to_vec()),
        (modules::EXPORT, modules::COMMAND.to_vec()),
        (modules::CODE, vector([body, [&[0][..], &CONST_0, &[END]].concat()].map(modules::sized))),
    ])
}

fn types(count: usize) -> Vec<u8> {
    module(&[(modules::TYPE, vector(vec![vec![0x60, 0, 0]; count]))])
}

fn data_segments(count: usize) -> Vec<u8> {
    let mut wasm = command(&[EMPTY.to_vec()]);
    section(&mut wasm, modules::DATA, &vector(vec![[&[0][..], &CONST_0, &[END, 0]].concat(); count]));
    wasm
}

fn exports(count: usize) -> Vec<u8> {
    exporting((0..count).map(|number| format!("{number}")))
}

fn name(length: usize) -> Vec<u8> {
    exporting(["n".repeat(length)])
}

/// Returns a command whose only function is exported under further names.
fn exporting(names: impl IntoIterator<Item = String>) -> Vec<u8> {
    let named = ["_start".to_owned()].into_iter().chain(names);
    let mut exports: Vec<_> = named.map(|name| [leb128(name.len()), name.into_bytes(), vec![0, 0]].concat()).collect();
    exports.push(b"\x06memory\x02\0".to_vec());
    module(&[
        (modules::TYPE, modules::NO_VALUES.to_vec()),
        (modules::FUNCTION, vec![1, 0]),
        (modules::MEMORY, modules::ONE_PAGE.to_vec()),
        (modules::EXPORT, vector(exports)),
        (modules::CODE, vector([modules::sized(EMPTY.to_vec())])),
    ])
}

fn globals(count: usize) -> Vec<u8> {
    module(&[
        (modules::TYPE, modules::NO_VALUES.to_vec()),
        (modules::FUNCTION, vec![1, 0]),
        (modules::MEMORY, modules::ONE_PAGE.to_vec()),
        (modules::GLOBAL, vector(vec![[&[0x7f, 1][..], &CONST_0, &[END]].concat(); count])),
        (modules::EXPORT, modules::COMMAND.to_vec()),
        (modules::CODE, vector([modules::sized(EMPTY.to_vec())])),
    ])
}
