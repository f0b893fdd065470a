//! Programs that use WebAssembly features which they do not need, so that any guest can run in any profile.

use crate::modules::{CODE, DROP, END, FUNCTION, MEMORY, TYPE};

/// The version in the header of a module. That of a component is another.
const MODULE_VERSION: [u8; 4] = [1, 0, 0, 0];
/// The section of a component with a module.
const CORE_MODULE: u8 = 1;
/// The tag section, which is between those of memories and globals.
const TAG: u8 = 13;
/// The number of the section with the count of data segments, which is before that of code.
const DATA_COUNT: u8 = 12;

/// Returns `wasm` with unused items added to it, or to each module of a component, so that it uses each of `features`. It does the same as
/// before.
///
/// # Panics
/// If a feature is not one of modules.
pub fn using(wasm: &[u8], features: &[&str]) -> Vec<u8> {
    let mut sections = sections_of(wasm);
    if wasm[4..8] == MODULE_VERSION {
        add_uses(&mut sections, features);
    } else {
        for (_, module) in sections.iter_mut().filter(|(id, _)| *id == CORE_MODULE) {
            *module = using(module, features);
        }
    }
    let mut out = wasm[..8].to_vec();
    for (id, content) in sections {
        out.push(id);
        out.extend(leb(content.len()));
        out.extend(content);
    }
    out
}

fn add_uses(sections: &mut Sections, features: &[&str]) {
    // A function without parameters and results.
    let ty = add(sections, TYPE, &[0x60, 0, 0]);
    for feature in features {
        match *feature {
            "exceptions" => drop(add(sections, TAG, &[&[0], &leb(ty)[..]].concat())),
            "gc" => drop(add(sections, TYPE, &[0x5f, 0])),
            "atomics" => add_function(sections, ty, &[0xfe, 3, 0]),
            "wide-arithmetic" => {
                let add128 = [&[0x42, 0].repeat(4)[..], &[0xfc, 0x13, DROP, DROP]].concat();
                add_function(sections, ty, &add128);
            }
            "multi-memory" => add_memory(sections, &[0, 0]),
            "memory64" => add_memory(sections, &[4, 0]),
            "custom-page-sizes" => add_memory(sections, &[8, 0, 0]),
            other => panic!("{other} is not a feature of modules"),
        }
    }
}

/// The sections in order: their numbers and contents.
type Sections = Vec<(u8, Vec<u8>)>;

fn sections_of(wasm: &[u8]) -> Sections {
    let (mut sections, mut rest) = (Vec::new(), &wasm[8..]);
    while let [id, after @ ..] = rest {
        let (size, content) = read_leb(after);
        sections.push((*id, content[..size].to_vec()));
        rest = &content[size..];
    }
    sections
}

/// Returns what orders the sections of a module. Their numbers do so, with two exceptions.
fn rank(id: u8) -> u16 {
    let rank = |id: u8| 2 * u16::from(id);
    match id {
        TAG => rank(MEMORY) + 1,
        DATA_COUNT => rank(CODE) - 1,
        id => rank(id),
    }
}

/// Adds an item to the section `id`, which it creates if there is none. Returns the index of the item among those of the section.
fn add(sections: &mut Sections, id: u8, item: &[u8]) -> usize {
    let position = sections.iter().position(|(other, _)| *other == id).unwrap_or_else(|| {
        let is_before = |other: u8| rank(other) < rank(id);
        let position = sections.iter().rposition(|(other, _)| *other != 0 && is_before(*other));
        let position = position.map_or(0, |last| last + 1);
        sections.insert(position, (id, vec![0]));
        position
    });
    let (count, items) = read_leb(&sections[position].1);
    sections[position].1 = [&leb(count + 1)[..], items, item].concat();
    count
}

fn add_function(sections: &mut Sections, ty: usize, instructions: &[u8]) {
    add(sections, FUNCTION, &leb(ty));
    let body = [&[0], instructions, &[END]].concat();
    add(sections, CODE, &[&leb(body.len())[..], &body].concat());
}

/// Adds a memory of this type. Adds an empty one before it if there is none, so that no instruction finds a memory that was not there.
fn add_memory(sections: &mut Sections, ty: &[u8]) {
    if sections.iter().all(|(id, _)| *id != MEMORY) {
        add(sections, MEMORY, &[0, 0]);
    }
    add(sections, MEMORY, ty);
}

fn leb(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = u8::try_from(value & 0x7f).expect("seven bits");
        value >>= 7;
        if value == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}

/// Returns a number and what follows it.
fn read_leb(bytes: &[u8]) -> (usize, &[u8]) {
    let length = bytes.iter().position(|byte| byte & 0x80 == 0).expect("the module is valid") + 1;
    let value = bytes[..length].iter().rev().fold(0, |value, byte| value << 7 | usize::from(byte & 0x7f));
    (value, &bytes[length..])
}
