use super::*;

fn inspected(text: &str) -> Inspection {
    inspect(&wat::parse_str(text).unwrap(), &Features::new()).unwrap()
}

#[test]
fn module_is_described() {
    let found = inspected(
        r#"(module
            (import "wasi_snapshot_preview1" "proc_exit" (func (param i32)))
            (import "env" "x" (func))
            (import "env" "y" (global i32))
            (memory (export "memory") 2 16)
            (func (export "add") (param i32 i64) (result f32 f64) unreachable)
            (func (export "_start") (memory.copy (i32.const 0) (i32.const 0) (i32.const 0)))
            (data (i32.const 0) "abc")
            (@producers (language "Rust" "2024") (processed-by "rustc" "1.95")))"#,
    );
    assert_eq!((found.kind, found.role), (Kind::Module, ProgramRole::Command));
    let names: Vec<_> = found.imports.groups.iter().map(|group| (group.name.as_str(), group.is_provided)).collect();
    assert_eq!(names, [("wasi_snapshot_preview1", true), ("env", false)]);
    assert_eq!(found.imports.groups[1].missing, ["x", "y"]);
    let add = found.exports.items.iter().find(|export| export.name == "add").unwrap();
    assert_eq!(add.signature.as_deref(), Some("(i32, i64) -> (f32, f64)"));
    assert_eq!(found.features, ["bulk_memory", "multi_value"]);
    assert_eq!((found.memories[0].initial, found.memories[0].maximum), (2 << 16, Some(16 << 16)));
    assert_eq!((found.sections.functions, found.toolchain.len()), (2, 2));
    assert!(found.sections.code > 0 && found.sections.data > 0);
    let refused = found.refused.unwrap();
    assert!(refused.kind.is_none() && refused.message.contains("env.x"), "{refused:?}");
}

#[test]
fn component_is_described_with_its_wit() {
    let found = inspected(
        r#"(component
            (import "wasi:cli/stdin@0.2.0" (instance))
            (component $inner
              (core module $m (func (export "f") (param i32 i32) (result i32) i32.const 0))
              (core instance $i (instantiate $m))
              (func (export "add") (param "a" u32) (param "b" u32) (result u32) (canon lift (core func $i "f"))))
            (instance $x (instantiate $inner))
            (export "acme:lib/math@1.0.0" (instance $x)))"#,
    );
    assert_eq!((found.kind, found.role), (Kind::Component, ProgramRole::Library));
    let [add] = &found.exports.items[..] else { panic!("{:?}", found.exports) };
    assert_eq!((add.name.as_str(), add.kind), ("acme:lib/math@1.0.0#add", "function"));
    assert_eq!(add.signature.as_deref(), Some("(a: u32, b: u32) -> u32"));
    let wit = found.wit.unwrap();
    assert!(wit.text.contains("export acme:lib/math@1.0.0;") && !wit.is_cut, "{}", wit.text);
    assert!(found.refused.is_none(), "{:?}", found.refused);
    assert!(found.imports.groups[0].is_provided);
}

#[test]
fn role_follows_from_exports() {
    for (text, role) in [
        ("(module)", ProgramRole::None),
        (r#"(module (func (export "_start")))"#, ProgramRole::Command),
        (r#"(module (func (export "_initialize")) (func (export "f")))"#, ProgramRole::Reactor),
        (r#"(module (func (export "f")))"#, ProgramRole::Library),
        (
            r#"(component (instance $i) (export "wasi:http/incoming-handler@0.2.0" (instance $i)))"#,
            ProgramRole::HttpHandler,
        ),
        (r#"(component (instance $i) (export "wasi:http/handler@0.3.0" (instance $i)))"#, ProgramRole::HttpHandler),
        (r#"(component (instance $i) (export "wasi:cli/run@0.3.0" (instance $i)))"#, ProgramRole::Command),
    ] {
        assert_eq!(inspected(text).role, role, "{text}");
    }
}

#[test]
fn foreign_program_is_named() {
    let found = inspected(r#"(module (import "gojs" "runtime.wasmExit" (func (param i32))))"#);
    assert_eq!(found.refused.unwrap().kind, Some(ForeignKind::GoJs));
}

#[test]
fn lists_of_large_program_are_cut_with_a_count() {
    let imports: String = (0..2000).map(|i| format!(r#"(import "m{i}" "f" (func))"#)).collect();
    let exports: String = (0..2000).map(|i| format!(r#"(export "e{i}" (func 0))"#)).collect();
    let found = inspected(&format!("(module {imports} {exports})"));
    assert_eq!((found.imports.count, found.imports.groups.len()), (2000, MAX_LISTED));
    assert_eq!((found.exports.count, found.exports.items.len()), (2000, MAX_LISTED));
}

#[test]
fn damaged_program_is_described_up_to_the_damage() {
    let wasm = wat::parse_str(r#"(module (import "env" "x" (func)) (func (export "_start") nop))"#).unwrap();
    for end in 8..wasm.len() {
        let found = inspect(&wasm[..end], &Features::new()).unwrap();
        assert!(found.refused.is_some(), "{end}");
    }
    assert!(matches!(inspect(b"\x7fELF", &Features::new()), Err(LoadError::Precompiled)));
    assert!(matches!(inspect(b"", &Features::new()), Err(LoadError::NotWasm(_))));
}
