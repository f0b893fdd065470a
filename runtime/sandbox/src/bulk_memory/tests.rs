//! A split program behaves as before: it leaves the same memories and ends with the same trap, for all operands.

use wasmparser::{Validator, WasmFeatures};
use wasmtime::{Config, Engine, Instance, Memory, Module, Store, Trap, Val, ValType};

use super::*;

/// Bytes of a chunk in these tests, so that a small memory has many.
const SMALL_CHUNK: u32 = 16;
/// Addresses and lengths: 0, 1, about a chunk, several chunks, about the end of one page and of two, and about the highest number.
const NUMBERS: [u32; 13] = [0, 1, 15, 16, 17, 40, 0xffe0, 0xffff, 0x1_0000, 0x1_0001, 0x2_0000, 0xffff_fff0, u32::MAX];

/// Returns a module with memories of these types, which exports a function with one bulk memory instruction.
fn module(memories: [&str; 2], instruction: &str, parameters: &str) -> Vec<u8> {
    let [first, second] = memories;
    let text = format!(
        r#"(module
          (memory (export "first") {first}) (memory (export "second") {second})
          (data $long "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") (data $short "0123")
          (func (export "do") (param {parameters})
            (local.get 0) (local.get 1) (local.get 2) ({instruction})))"#
    );
    wat::parse_str(text).unwrap()
}

fn engine() -> Engine {
    let mut config = Config::new();
    config.wasm_memory64(true).wasm_multi_memory(true).memory_reservation(1 << 20).memory_guard_size(1 << 16);
    Engine::new(&config).unwrap()
}

/// An instance of a module, which can be called repeatedly.
struct Subject {
    store: Store<()>,
    instance: Instance,
    /// The content of the memories before each call.
    patterns: [Vec<u8>; 2],
}

impl Subject {
    fn new(engine: &Engine, wasm: &[u8]) -> Self {
        let mut store = Store::new(engine, ());
        let instance = Instance::new(&mut store, &Module::new(engine, wasm).unwrap(), &[]).unwrap();
        let patterns = [7, 11]
            .map(|factor| (0..2_u32 << 16).map(|address| u8::try_from(address * factor % 251).unwrap()).collect());
        Self { store, instance, patterns }
    }

    /// Calls the function. Returns the trap, if any, and the content of the memories afterwards.
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
        let result = function.call(&mut self.store, &arguments, &mut []);
        let trap = result.err().map(|error| *error.downcast_ref().unwrap());
        (trap, memories.map(|memory| memory.data(&self.store).to_vec()))
    }
}

/// Returns the number as a value of this type. The highest 32-bit number becomes the highest 64-bit number.
fn value(ty: &ValType, number: u32) -> Val {
    match ty {
        ValType::I64 if number == u32::MAX => Val::I64(-1),
        ValType::I64 => Val::I64(number.into()),
        _ => Val::I32(number.cast_signed()),
    }
}

/// Splits a module, and checks that the original and the split one behave the same with all operands.
#[track_caller]
fn assert_same(memories: [&str; 2], instruction: &str, parameters: &str) {
    let engine = engine();
    let wasm = module(memories, instruction, parameters);
    let split = split_into(&wasm, SMALL_CHUNK).unwrap();
    assert!(matches!(split, Cow::Owned(_)), "{instruction} was not split");
    let (mut before, mut after) = (Subject::new(&engine, &wasm), Subject::new(&engine, &split));
    for destination in NUMBERS {
        for source in NUMBERS {
            for length in NUMBERS {
                let arguments = [destination, source, length];
                assert!(before.call(arguments) == after.call(arguments), "{instruction} {arguments:?} in {memories:?}");
            }
        }
    }
}

#[test]
fn split_fill_behaves_as_before() {
    assert_same(["1", "1"], "memory.fill 0", "i32 i32 i32");
    assert_same(["1", "i64 2"], "memory.fill 1", "i64 i32 i64");
}

#[test]
fn split_copy_behaves_as_before_upwards_downwards_and_between_memories() {
    assert_same(["1", "2"], "memory.copy 0 0", "i32 i32 i32");
    assert_same(["i64 1", "1"], "memory.copy 0 0", "i64 i64 i64");
    assert_same(["1", "2"], "memory.copy 1 0", "i32 i32 i32");
    assert_same(["1", "i64 2"], "memory.copy 0 1", "i32 i64 i32");
    assert_same(["1", "i64 2"], "memory.copy 1 0", "i64 i32 i32");
}

#[test]
fn split_init_behaves_as_before() {
    assert_same(["1", "1"], "memory.init 0 $long", "i32 i32 i32");
    assert_same(["1", "i64 2"], "memory.init 1 $long", "i64 i32 i32");
}

#[test]
fn split_init_from_dropped_segment_traps() {
    let text = format!(
        r#"(module (memory 1) (data $d "{}")
          (func (export "do") (data.drop $d) (memory.init $d (i32.const 0) (i32.const 0) (i32.const 64))))"#,
        "x".repeat(64)
    );
    let wasm = split_into(&wat::parse_str(text).unwrap(), SMALL_CHUNK).unwrap().into_owned();
    let engine = engine();
    let mut store = Store::new(&engine, ());
    let instance = Instance::new(&mut store, &Module::new(&engine, wasm).unwrap(), &[]).unwrap();
    let result = instance.get_typed_func::<(), ()>(&mut store, "do").unwrap().call(&mut store, ());
    assert_eq!(result.unwrap_err().downcast_ref(), Some(&Trap::MemoryOutOfBounds));
}

#[test]
fn program_without_long_instruction_is_unchanged() {
    for body in [
        "(memory.fill (i32.const 0) (i32.const 1) (i32.const 16))",
        "(memory.copy (i32.const 0) (i32.const 1) (i32.const 0))",
        "(memory.init $short (i32.const 0) (i32.const 0) (local.get 0))",
        "(i32.store8 (local.get 0) (i32.const 0))",
    ] {
        let text = format!(r#"(module (memory 1) (data $short "0123456789") (func (param i32) {body}))"#);
        let wasm = wat::parse_str(text).unwrap();
        assert!(matches!(split_into(&wasm, SMALL_CHUNK).unwrap(), Cow::Borrowed(same) if same == wasm), "{body}");
    }
    assert!(split_into(b"\0asm\x01\0\0\0\x01", SMALL_CHUNK).is_err());
}

#[test]
fn length_above_a_chunk_or_not_constant_is_split() {
    for length in ["(i32.const 17)", "(i32.const -1)", "(i32.add (i32.const 1) (i32.const 1))"] {
        let text = format!("(module (memory 1) (func (memory.fill (i32.const 0) (i32.const 1) {length})))");
        assert!(matches!(split_into(&wat::parse_str(text).unwrap(), SMALL_CHUNK).unwrap(), Cow::Owned(_)), "{length}");
    }
}

/// The body of a module with every section that contains indices of functions or types, before and after its bulk memory instructions.
const MODULE_BODY: &str = r#"
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

/// Returns the sections that splitting does not change, in their order.
fn unchanged_sections(wasm: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let changed = [1, 3, 10];
    let sections = top_level_payloads(wasm).filter_map(|payload| payload.unwrap().as_section());
    sections.filter(|(id, _)| !changed.contains(id)).map(|(id, range)| (id, wasm[range].to_vec())).collect()
}

#[test]
fn everything_else_in_split_module_is_unchanged_and_valid() {
    let wasm = wat::parse_str(format!("(module {MODULE_BODY})")).unwrap();
    let split = split_into(&wasm, SMALL_CHUNK).unwrap();
    Validator::new_with_features(WasmFeatures::all()).validate_all(&split).unwrap();
    assert_eq!(unchanged_sections(&wasm), unchanged_sections(&split));
    assert!(unchanged_sections(&split).iter().any(|(id, data)| *id == 0 && data.ends_with(b"kept")));
    // The functions that were added contain the instructions of each chunk, which are not split again.
    assert!(split.len() > wasm.len());
}

#[test]
fn nested_modules_of_component_are_split() {
    let nested = format!(
        r#"(component
          (core module {MODULE_BODY})
          (component (core module (memory 1) (func (param i32)
            (memory.fill (local.get 0) (local.get 0) (local.get 0)))))
          (core module (memory 1)))"#
    );
    let wasm = wat::parse_str(nested).unwrap();
    let split = split_into(&wasm, SMALL_CHUNK).unwrap();
    Validator::new_with_features(WasmFeatures::all()).validate_all(&split).unwrap();
    let bodies = |wasm: &[u8]| {
        let payloads = Parser::new(0).parse_all(wasm);
        payloads.filter(|payload| matches!(payload, Ok(Payload::CodeSectionEntry(_)))).count()
    };
    assert_eq!(bodies(&wasm) + 3, bodies(&split));
    let without = wat::parse_str("(component (core module (memory 1)))").unwrap();
    assert!(matches!(split_into(&without, SMALL_CHUNK).unwrap(), Cow::Borrowed(_)));
}
