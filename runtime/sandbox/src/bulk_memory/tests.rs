//! What is cut does what it did: it leaves the same memories and ends in the same trap, whatever the places and the length.

use wasmparser::{Validator, WasmFeatures};
use wasmtime::{Config, Engine, Instance, Memory, Module, Store, Trap, Val, ValType};

use super::*;

/// Bytes of a piece here: small, so that a small memory has many.
const SMALL: u32 = 16;
/// Places and lengths: none, one, about a piece, several, about the end of a page and of two, and about the last there is.
const NUMBERS: [u32; 13] = [0, 1, 15, 16, 17, 40, 0xffe0, 0xffff, 0x1_0000, 0x1_0001, 0x2_0000, 0xffff_fff0, u32::MAX];

/// A module that exports a function of one stroke, with memories of these types.
fn module(memories: [&str; 2], stroke: &str, parameters: &str) -> Vec<u8> {
    let [first, second] = memories;
    let text = format!(
        r#"(module
          (memory (export "first") {first}) (memory (export "second") {second})
          (data $long "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") (data $short "0123")
          (func (export "do") (param {parameters})
            (local.get 0) (local.get 1) (local.get 2) ({stroke})))"#
    );
    wat::parse_str(text).unwrap()
}

fn engine() -> Engine {
    let mut config = Config::new();
    config.wasm_memory64(true).wasm_multi_memory(true).memory_reservation(1 << 20).memory_guard_size(1 << 16);
    Engine::new(&config).unwrap()
}

/// An instance of a module, to be called again and again.
struct Subject {
    store: Store<()>,
    instance: Instance,
    /// What the memories hold before each call.
    patterns: [Vec<u8>; 2],
}

impl Subject {
    fn new(engine: &Engine, wasm: &[u8]) -> Self {
        let mut store = Store::new(engine, ());
        let instance = Instance::new(&mut store, &Module::new(engine, wasm).unwrap(), &[]).unwrap();
        let patterns =
            [7, 11].map(|factor| (0..2_u32 << 16).map(|place| u8::try_from(place * factor % 251).unwrap()).collect());
        Self { store, instance, patterns }
    }

    /// The trap of a call, if any, and what the memories are then.
    fn call(&mut self, arguments: [u32; 3]) -> (Option<Trap>, [Vec<u8>; 2]) {
        let memories: [Memory; 2] =
            ["first", "second"].map(|name| self.instance.get_memory(&mut self.store, name).unwrap());
        for (memory, pattern) in memories.into_iter().zip(&self.patterns) {
            let bytes = memory.data_mut(&mut self.store);
            bytes.copy_from_slice(&pattern[..bytes.len()]);
        }
        let function = self.instance.get_func(&mut self.store, "do").unwrap();
        let types = function.ty(&self.store);
        let arguments: Vec<_> = types.params().zip(arguments).map(|(ty, number)| value(&ty, number)).collect();
        let called = function.call(&mut self.store, &arguments, &mut []);
        let trap = called.err().map(|error| *error.downcast_ref().unwrap());
        (trap, memories.map(|memory| memory.data(&self.store).to_vec()))
    }
}

/// The number; for wide addresses the last one is the last of those.
fn value(ty: &ValType, number: u32) -> Val {
    match ty {
        ValType::I64 if number == u32::MAX => Val::I64(-1),
        ValType::I64 => Val::I64(number.into()),
        _ => Val::I32(number.cast_signed()),
    }
}

/// Cuts a module and calls it as it was and as it is, with everything.
#[track_caller]
fn check(memories: [&str; 2], stroke: &str, parameters: &str) {
    let engine = engine();
    let wasm = module(memories, stroke, parameters);
    let cut = cut_into(&wasm, SMALL).unwrap();
    assert!(matches!(cut, Cow::Owned(_)), "{stroke} was not cut");
    let (mut before, mut after) = (Subject::new(&engine, &wasm), Subject::new(&engine, &cut));
    for to in NUMBERS {
        for what in NUMBERS {
            for length in NUMBERS {
                let arguments = [to, what, length];
                assert!(before.call(arguments) == after.call(arguments), "{stroke} {arguments:?} in {memories:?}");
            }
        }
    }
}

#[test]
fn filling_is_the_same() {
    check(["1", "1"], "memory.fill 0", "i32 i32 i32");
    check(["1", "i64 2"], "memory.fill 1", "i64 i32 i64");
}

#[test]
fn copying_is_the_same_upwards_downwards_and_between_two() {
    check(["1", "2"], "memory.copy 0 0", "i32 i32 i32");
    check(["i64 1", "1"], "memory.copy 0 0", "i64 i64 i64");
    check(["1", "2"], "memory.copy 1 0", "i32 i32 i32");
    check(["1", "i64 2"], "memory.copy 0 1", "i32 i64 i32");
    check(["1", "i64 2"], "memory.copy 1 0", "i64 i32 i32");
}

#[test]
fn filling_from_a_segment_is_the_same() {
    check(["1", "1"], "memory.init 0 $long", "i32 i32 i32");
    check(["1", "i64 2"], "memory.init 1 $long", "i64 i32 i32");
}

#[test]
fn a_segment_that_was_dropped_is_as_empty() {
    let text = format!(
        r#"(module (memory 1) (data $d "{}")
          (func (export "do") (data.drop $d) (memory.init $d (i32.const 0) (i32.const 0) (i32.const 64))))"#,
        "x".repeat(64)
    );
    let wasm = cut_into(&wat::parse_str(text).unwrap(), SMALL).unwrap().into_owned();
    let engine = engine();
    let mut store = Store::new(&engine, ());
    let instance = Instance::new(&mut store, &Module::new(&engine, wasm).unwrap(), &[]).unwrap();
    let ended = instance.get_typed_func::<(), ()>(&mut store, "do").unwrap().call(&mut store, ());
    assert_eq!(ended.unwrap_err().downcast_ref(), Some(&Trap::MemoryOutOfBounds));
}

#[test]
fn what_is_short_or_has_no_stroke_stays_as_it_was() {
    for body in [
        "(memory.fill (i32.const 0) (i32.const 1) (i32.const 16))",
        "(memory.copy (i32.const 0) (i32.const 1) (i32.const 0))",
        "(memory.init $short (i32.const 0) (i32.const 0) (local.get 0))",
        "(i32.store8 (local.get 0) (i32.const 0))",
    ] {
        let text = format!(r#"(module (memory 1) (data $short "0123456789") (func (param i32) {body}))"#);
        let wasm = wat::parse_str(text).unwrap();
        assert!(matches!(cut_into(&wasm, SMALL).unwrap(), Cow::Borrowed(same) if same == wasm), "{body}");
    }
    assert!(cut_into(b"\0asm\x01\0\0\0\x01", SMALL).is_err());
}

#[test]
fn a_length_that_is_no_piece_is_long() {
    for length in ["(i32.const 17)", "(i32.const -1)", "(i32.add (i32.const 1) (i32.const 1))"] {
        let text = format!("(module (memory 1) (func (memory.fill (i32.const 0) (i32.const 1) {length})))");
        assert!(matches!(cut_into(&wat::parse_str(text).unwrap(), SMALL).unwrap(), Cow::Owned(_)), "{length}");
    }
}

/// A module that has something in each section that has indices of functions or types, before and behind its strokes.
const WHOLE: &str = r#"
  (type $pair (func (param i32 i32)))
  (import "env" "seen" (func $seen (param i32)))
  (import "env" "memory" (memory 1))
  (table 4 funcref) (elem (i32.const 0) $seen $first $last)
  (global $g (mut i32) (i32.const 5))
  (export "last" (func $last)) (start $first)
  (data (i32.const 3) "some")
  (func $first (memory.fill (i32.const 0) (i32.const 0) (global.get $g)) (call $seen (i32.const 1)))
  (func $middle (type $pair) (block (br_if 0 (local.get 0)) (memory.copy (local.get 0) (local.get 1) (global.get $g))
    (memory.fill (local.get 0) (local.get 1) (global.get $g))))
  (func $last (call_indirect (type $pair) (i32.const 1) (i32.const 2) (i32.const 3)))
  (@custom "note" "kept")"#;

/// Every name of a section and every function body that has no stroke, in their order.
fn kept(wasm: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let changed = [1, 3, 10];
    let sections = outermost(wasm).filter_map(|payload| payload.unwrap().as_section());
    sections.filter(|(id, _)| !changed.contains(id)).map(|(id, range)| (id, wasm[range].to_vec())).collect()
}

#[test]
fn all_else_is_the_same_to_the_byte_and_all_of_it_is_valid() {
    let wasm = wat::parse_str(format!("(module {WHOLE})")).unwrap();
    let cut = cut_into(&wasm, SMALL).unwrap();
    Validator::new_with_features(WasmFeatures::all()).validate_all(&cut).unwrap();
    assert_eq!(kept(&wasm), kept(&cut));
    assert!(kept(&cut).iter().any(|(id, data)| *id == 0 && data.ends_with(b"kept")));
    // It is cut once: what the new functions do is short, or is the rest.
    assert!(cut.len() > wasm.len());
}

#[test]
fn the_modules_in_a_component_are_cut_wherever_they_are() {
    let nested = format!(
        r#"(component
          (core module {WHOLE})
          (component (core module (memory 1) (func (param i32)
            (memory.fill (local.get 0) (local.get 0) (local.get 0)))))
          (core module (memory 1)))"#
    );
    let wasm = wat::parse_str(nested).unwrap();
    let cut = cut_into(&wasm, SMALL).unwrap();
    Validator::new_with_features(WasmFeatures::all()).validate_all(&cut).unwrap();
    let bodies = |wasm: &[u8]| {
        let payloads = Parser::new(0).parse_all(wasm);
        payloads.filter(|payload| matches!(payload, Ok(Payload::CodeSectionEntry(_)))).count()
    };
    assert_eq!(bodies(&wasm) + 3, bodies(&cut));
    let without = wat::parse_str("(component (core module (memory 1)))").unwrap();
    assert!(matches!(cut_into(&without, SMALL).unwrap(), Cow::Borrowed(_)));
}
