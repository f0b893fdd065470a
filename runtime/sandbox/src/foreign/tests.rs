use super::*;
use crate::kind;

/// Returns what is recognised in a program in text format.
fn recognised(text: &str) -> Option<(ForeignKind, String)> {
    let wasm = wat::parse_str(text).unwrap();
    let kind = kind::detect(&wasm).unwrap();
    recognise(&Outline::read(&wasm), kind)
}

/// A program of each kind, the import or export that its message must name, and what the message must recommend.
const PROGRAMS: &[(ForeignKind, &str, &str, &str)] = &[
    (
        ForeignKind::Emscripten,
        r#"(module (import "env" "emscripten_resize_heap" (func (param i32) (result i32))) (func (export "_start")))"#,
        "env.emscripten_resize_heap",
        "-sSTANDALONE_WASM",
    ),
    (
        ForeignKind::Emscripten,
        r#"(module (import "a" "a" (func)) (import "a" "b" (func)) (export "c" (func 0)))"#,
        "a.a",
        "-sSTANDALONE_WASM",
    ),
    (
        ForeignKind::Emscripten,
        r#"(module (import "wasi_snapshot_preview1" "fd_write" (func (param i32 i32 i32 i32) (result i32)))
            (import "env" "my_glue" (func)) (func (export "_start")) (func (export "_emscripten_stack_restore") (param i32)))"#,
        "env.my_glue",
        "wasi",
    ),
    (
        ForeignKind::WasmBindgen,
        r#"(module (import "wbg" "__wbg_log_1d3ae0273d8f4f8a" (func (param i32))) (func (export "main")))"#,
        "wbg.__wbg_log_1d3ae0273d8f4f8a",
        "wasm32-wasip1",
    ),
    (
        ForeignKind::WasmBindgen,
        r#"(module (import "__wbindgen_placeholder__" "__wbindgen_describe" (func (param i32))))"#,
        "__wbindgen_describe",
        "wasm32-wasip1",
    ),
    (ForeignKind::WasmBindgen, r#"(module (import "./app_bg.js" "alert" (func)))"#, "app_bg.js.alert", "wasm32-wasip1"),
    (
        ForeignKind::Wasix,
        r#"(module (import "wasix_32v1" "proc_fork" (func (param i32 i32) (result i32))) (func (export "_start")))"#,
        "wasix_32v1.proc_fork",
        "wasm32-wasip1",
    ),
    (
        ForeignKind::GoJs,
        r#"(module (import "gojs" "runtime.wasmExit" (func (param i32))) (func (export "run") (param i32 i32)))"#,
        "gojs.runtime.wasmExit",
        "GOOS=wasip1 GOARCH=wasm go build",
    ),
    (
        ForeignKind::GoJs,
        r#"(module (import "go" "runtime.wasmExit" (func (param i32))))"#,
        "go.runtime.wasmExit",
        "GOOS=wasip1 GOARCH=wasm go build",
    ),
    (
        ForeignKind::WasiUnstable,
        r#"(module (import "wasi_unstable" "fd_seek" (func (param i32 i64 i32 i32) (result i32))) (func (export "_start")))"#,
        "wasi_unstable.fd_seek",
        "wasm32-wasip1",
    ),
    (
        ForeignKind::NodeApi,
        r#"(module (import "env" "napi_create_function" (func)) (import "env" "emscripten_x" (func)))"#,
        "env.napi_create_function",
        "wasm32-wasip1",
    ),
    (
        ForeignKind::RubyJs,
        r#"(module (import "rb-js-abi-host" "eval-js: func(code: string) -> variant" (func (param i32)))
            (func (export "_initialize")) (func (export "cabi_post_rstring-ptr") (param i32)))"#,
        "rb-js-abi-host.eval-js",
        "without the gem `js`",
    ),
    (
        ForeignKind::AssemblyScript,
        r#"(module (import "env" "abort" (func (param i32 i32 i32 i32))) (import "env" "console.log" (func (param i32)))
            (func (export "add") (param i32 i32) (result i32) i32.const 0))"#,
        "env.abort",
        "@assemblyscript/wasi-shim",
    ),
    (
        ForeignKind::WasiThreads,
        r#"(module (import "env" "memory" (memory 1 2 shared)) (import "wasi" "thread-spawn" (func (param i32) (result i32)))
            (func (export "_start")))"#,
        "wasi.thread-spawn",
        "wasm32-wasip1",
    ),
    (
        ForeignKind::ProxyWasm,
        r#"(module (import "env" "proxy_log" (func (param i32 i32 i32) (result i32))))"#,
        "env.proxy_log",
        "wasm32-wasip1",
    ),
    (
        ForeignKind::Extism,
        r#"(module (import "extism:host/env" "input_length" (func (result i64))) (func (export "count") (result i32) i32.const 0))"#,
        "extism:host/env.input_length",
        "stdin",
    ),
    (
        ForeignKind::ComponentPart,
        r#"(module (import "wasi:cli/environment@0.2.0" "get-environment" (func (param i32)))
            (func (export "wasi:cli/run@0.2.0#run") (result i32) i32.const 0))"#,
        "wasi:cli/environment@0.2.0.get-environment",
        "wasm-tools component new",
    ),
    (
        ForeignKind::ComponentPart,
        r#"(module (func (export "docs:adder/add@0.1.0#add") (param i32 i32) (result i32) i32.const 0))"#,
        "docs:adder/add@0.1.0#add",
        "wasm-tools component new",
    ),
    (ForeignKind::ObjectFile, r#"(module (@custom "linking" "\02") (func))"#, "object file", "wasm-ld"),
    (
        ForeignKind::SharedLibrary,
        r#"(module (@custom "dylink.0" "") (import "env" "__memory_base" (global i32)) (func (export "f")))"#,
        "dylink.0",
        "-shared",
    ),
    (
        ForeignKind::HttpHandler,
        r#"(component (import "wasi:http/types@0.2.0" (instance)) (instance $i) (export "wasi:http/handler@0.3.0-rc-2025-09-16" (instance $i)))"#,
        "wasi:http/handler@0.3.0-rc-2025-09-16",
        "wasi:http/proxy",
    ),
    (
        ForeignKind::WasiVersion,
        r#"(component (import "wasi:cli/stdout@0.3.0-rc-2025-09-16" (instance)))"#,
        "wasi:cli/stdout@0.3.0-rc-2025-09-16",
        "wasm32-wasip2",
    ),
    (
        ForeignKind::WasiInterface,
        r#"(component (import "wasi:filesystem/types@0.3.0" (instance)) (import "wasi:cli/stdin@0.3.0" (instance)))"#,
        "wasi:filesystem/types@0.3.0",
        "those of 0.2",
    ),
    (
        ForeignKind::WasiVersion,
        r#"(component (instance $i) (export "wasi:cli/run@0.2.0-rc-2023-11-10" (instance $i)))"#,
        "wasi:cli/run@0.2.0-rc-2023-11-10",
        "wasm32-wasip2",
    ),
    (
        ForeignKind::WasiInterface,
        r#"(component (import "wasi:nn/tensor@0.2.0-rc-2024-10-28" (instance)))"#,
        "wasi:nn/tensor",
        "wasi:cli/command",
    ),
    (
        ForeignKind::CustomWorld,
        r#"(component (import "acme:plugin/host@1.0.0" (instance)) (instance $i) (export "acme:plugin/guest@1.0.0" (instance $i)))"#,
        "acme:plugin/host@1.0.0",
        "wac plug",
    ),
];

#[test]
fn foreign_program_is_recognised_with_reason_and_advice() {
    for (expected, text, sign, advice) in PROGRAMS {
        let (kind, message) = recognised(text).unwrap_or_else(|| panic!("{expected:?} is not recognised: {text}"));
        assert_eq!(kind, *expected, "{text}: {message}");
        assert!(message.contains(sign), "{sign} is not in: {message}");
        assert!(message.to_lowercase().contains(&advice.to_lowercase()), "{advice} is not in: {message}");
    }
    let tested: std::collections::HashSet<_> = PROGRAMS.iter().map(|(kind, ..)| kind).collect();
    assert!(ForeignKind::ALL.iter().all(|kind| tested.contains(kind)), "a kind has no program");
}

#[test]
fn program_of_wasi_is_not_foreign() {
    for text in [
        "(module)",
        r#"(module (func (export "_start")))"#,
        r#"(module (import "wasi_snapshot_preview1" "proc_exit" (func (param i32))) (func (export "_start")))"#,
        r#"(module (import "wasi_unstable" "fd_write" (func)) (func (export "_start")))"#,
        r#"(module (func (export "add") (param i32) (result i32) local.get 0))"#,
        r#"(component (import "wasi:cli/stdin@0.2.4" (instance)) (instance $i) (export "wasi:cli/run@0.2.0" (instance $i)))"#,
        r#"(component (import "wasi:http/types@0.2.0" (instance)) (instance $i) (export "wasi:http/incoming-handler@0.2.0" (instance $i)))"#,
        r#"(component (import "wasi:cli/stdin@0.3.2" (instance)) (instance $i) (export "wasi:cli/run@0.3.0" (instance $i)))"#,
        r#"(component (import "wasi:http/types@0.3.0" (instance)) (instance $i) (export "wasi:http/handler@0.3.0" (instance $i)))"#,
        // Nobody can tell what this is for. The check of the imports names it.
        r#"(module (import "env" "add" (func)))"#,
    ] {
        assert_eq!(recognised(text), None, "{text}");
    }
}

#[test]
fn message_has_few_names_without_control_characters() {
    let imports: String = (0..5000).map(|i| format!(r#"(import "env" "emscripten_{i}\1b[31m" (func))"#)).collect();
    let (_, message) = recognised(&format!("(module {imports})")).unwrap();
    assert!(message.contains("and 4996 more") && message.len() < 1000, "{message}");
    assert!(!message.contains('\u{1b}'), "{message:?}");
    let long = format!(r#"(module (import "wbg" "{}" (func)))"#, "x".repeat(100_000));
    assert!(recognised(&long).unwrap().1.len() < 1000);
}

#[test]
fn outline_of_damaged_program_is_read_up_to_the_damage() {
    let wasm = wat::parse_str(PROGRAMS[0].1).unwrap();
    for end in 0..wasm.len() {
        let _ = recognise(&Outline::read(&wasm[..end]), Kind::Module);
        let mut flipped = wasm.clone();
        flipped[end] ^= 0xff;
        let _ = recognise(&Outline::read(&flipped), Kind::Module);
    }
}
