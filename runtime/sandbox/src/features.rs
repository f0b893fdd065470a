//! The WebAssembly features that a program uses. The validator finds them, so that nobody has to name them.

use std::fmt::Write as _;

use capstan_core::feature::{Feature, Features};
use wasmparser::{BinaryReaderError, MemoryType, Parser, Payload, TypeRef, Validator, WasmFeatures};

use super::LoadError;
use super::outline::Outline;
use super::provided::{is_preview3, split_version};

/// Why a shared memory is not supported.
const SHARED_MEMORY: &str = "threads: it has a memory that threads share. Capstan runs a program on one thread, because wasmtime can neither count a \
                             shared memory in the limit of a run nor stop a thread that waits on one. Build the program without threads, for \
                             example for wasm32-wasip1 instead of wasm32-wasip1-threads, and without -pthread";
/// What to do about exceptions in the form of the proposal before it was final.
const LEGACY_EXCEPTIONS: &str = "these are legacy exceptions, which wasmtime does not support. Compile the program with -mllvm \
                                 -wasm-use-legacy-eh=false, or convert it with wasm-opt --translate-to-exnref";

/// Validates the program `wasm`, and returns the features that it uses.
///
/// # Errors
/// [`LoadError::Invalid`], or [`LoadError::FeatureDisabled`] if it uses a feature that is not in `allowed`, or one that Capstan does not have.
pub(super) fn detect(wasm: &[u8], allowed: &Features) -> Result<Features, LoadError> {
    let mut used = find_used(wasm)?;
    let preview3 = preview3_interface(wasm);
    if preview3.is_some() {
        // All of its functions may be asynchronous, also where this program does not use them so.
        used.extend([Feature::P3, Feature::ComponentAsync]);
    }
    if used.contains(&Feature::Atomics) && has_shared_memory(wasm) {
        return Err(LoadError::FeatureDisabled(SHARED_MEMORY.to_owned()));
    }
    if used.is_subset(allowed) {
        return Ok(used);
    }
    let mut why = explain_disabled(wasm, &used, allowed);
    if let Some(interface) = preview3.filter(|_| !allowed.contains(&Feature::P3)) {
        let _ = write!(
            why,
            ". p3 is WASI 0.3, because of `{}`: it is off by default, because wasmtime-wasi calls its implementation experimental",
            interface.escape_debug()
        );
    }
    Err(LoadError::FeatureDisabled(why))
}

/// Returns the name of an interface of WASI 0.3 that a component imports or exports, if there is one.
fn preview3_interface(wasm: &[u8]) -> Option<&str> {
    let outline = Outline::read(wasm);
    let names = outline.imports.iter().filter(|import| import.module.is_empty()).map(|import| import.name);
    let mut names = names.chain(outline.exports.iter().map(|export| export.name));
    names.find(|name| name.starts_with("wasi:") && split_version(name).1.is_some_and(is_preview3))
}

/// Returns the smallest set of features with which `wasm` is valid. A program that uses none is validated once.
fn find_used(wasm: &[u8]) -> Result<Features, LoadError> {
    let mut used = Features::new();
    loop {
        let Err(error) = validate(wasm, enabled_features(&used)) else { return Ok(used) };
        let missing = error.missing_wasm_feature().and_then(feature_of);
        // Each round adds a feature, so there is an end.
        if !missing.is_some_and(|missing| used.insert(missing)) {
            return find_unnamed(wasm, &used, &error);
        }
    }
}

/// Returns the features that `wasm` uses, which are `used` and others. `error` is that of the validation with `used`, and names no feature.
fn find_unnamed(wasm: &[u8], used: &Features, error: &BinaryReaderError) -> Result<Features, LoadError> {
    let mut needed: Features = Feature::ALL.into();
    if validate(wasm, enabled_features(&needed)).is_err() {
        return Err(if validate(wasm, WasmFeatures::all()).is_ok() {
            LoadError::FeatureDisabled(explain_unsupported(error))
        } else {
            invalid(error)
        });
    }
    for feature in Feature::ALL.into_iter().filter(|feature| !used.contains(feature)) {
        let without: Features = needed.iter().copied().filter(|needed| *needed != feature).collect();
        if validate(wasm, enabled_features(&without)).is_ok() {
            needed = without;
        }
    }
    Ok(needed)
}

/// Returns the error for a program that is not valid.
pub(super) fn invalid(error: &BinaryReaderError) -> LoadError {
    LoadError::Invalid { message: error.message().to_owned(), offset: Some(error.offset()) }
}

fn validate(wasm: &[u8], features: WasmFeatures) -> Result<(), BinaryReaderError> {
    Validator::new_with_features(features).validate_all(wasm).map(drop)
}

/// Explains which features in `used` are not in `allowed`, and how to allow them.
fn explain_disabled(wasm: &[u8], used: &Features, allowed: &Features) -> String {
    let permitted: Features = used.intersection(allowed).copied().collect();
    let missing: Vec<_> = used.difference(allowed).map(ToString::to_string).collect();
    let list: Vec<_> = used.iter().map(|feature| format!("\"{feature}\"")).collect();
    let (missing, list) = (missing.join(" and "), list.join(", "));
    let fault = validate(wasm, enabled_features(&permitted)).err().map(|error| format!(": {}", fault(&error)));
    format!(
        "{missing}{}; the program uses features = [{list}]: the operator allows them under [policy] in the configuration of the daemon, and a \
         job.toml with `features` must list them too",
        fault.unwrap_or_default()
    )
}

/// Explains that Capstan does not have a feature. `error` is that of the validation without it.
fn explain_unsupported(error: &BinaryReaderError) -> String {
    let why = match error.missing_wasm_feature() {
        Some(WasmFeatures::LEGACY_EXCEPTIONS) => LEGACY_EXCEPTIONS,
        _ => "Capstan does not support this feature, and an operator cannot allow it",
    };
    format!("{}; {why}", fault(error))
}

fn fault(error: &BinaryReaderError) -> String {
    format!("{} (at byte {:#x})", error.message(), error.offset())
}

/// Returns all features that are on for a program that uses the features in `used`.
fn enabled_features(used: &Features) -> WasmFeatures {
    let off = Feature::ALL.into_iter().fold(WasmFeatures::empty(), |all, feature| all | flag_of(feature));
    let used = used.iter().fold(WasmFeatures::empty(), |all, feature| all | flag_of(*feature));
    ((WasmFeatures::WASM3 | WasmFeatures::COMPONENT_MODEL) & !off) | used
}

fn flag_of(feature: Feature) -> WasmFeatures {
    match feature {
        Feature::Memory64 => WasmFeatures::MEMORY64,
        Feature::MultiMemory => WasmFeatures::MULTI_MEMORY,
        Feature::CustomPageSizes => WasmFeatures::CUSTOM_PAGE_SIZES,
        Feature::WideArithmetic => WasmFeatures::WIDE_ARITHMETIC,
        Feature::Exceptions => WasmFeatures::EXCEPTIONS,
        // The flag for the proposal itself also covers subtypes of functions, which need no heap.
        Feature::Gc => WasmFeatures::GC_TYPES,
        Feature::Atomics => WasmFeatures::THREADS,
        Feature::ComponentAsync => WasmFeatures::CM_ASYNC,
        // It is a set of imports, and changes nothing for the validator.
        Feature::P3 => WasmFeatures::empty(),
    }
}

fn feature_of(flag: WasmFeatures) -> Option<Feature> {
    Feature::ALL.into_iter().find(|feature| flag_of(*feature) == flag)
}

/// Returns whether the valid program `wasm` defines or imports a shared memory in one of its modules.
pub(super) fn has_shared_memory(wasm: &[u8]) -> bool {
    Parser::new(0).parse_all(wasm).map_while(Result::ok).any(|payload| match payload {
        Payload::MemorySection(memories) => memories.into_iter().flatten().any(|memory: MemoryType| memory.shared),
        Payload::ImportSection(imports) => imports
            .into_imports()
            .flatten()
            .any(|import| matches!(import.ty, TypeRef::Memory(MemoryType { shared: true, .. }))),
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn detected(text: &str) -> Result<Features, LoadError> {
        detect(&wat::parse_str(text).unwrap(), &Feature::ALL.into())
    }

    #[test]
    fn used_features_are_detected_and_no_others() {
        use Feature::{
            Atomics, ComponentAsync, CustomPageSizes, Exceptions, Gc, Memory64, MultiMemory, P3, WideArithmetic,
        };
        for (text, features) in [
            ("(module (memory 1))", &[][..]),
            ("(module (func (result funcref) ref.null func))", &[]),
            ("(module (type $f (func)) (func (param (ref $f)) (call_ref $f (local.get 0))))", &[]),
            ("(module (func $f (return_call $f)))", &[]),
            ("(module (memory i64 1))", &[Memory64]),
            ("(module (memory 1) (memory 1))", &[MultiMemory]),
            ("(module (memory 1 (pagesize 1)))", &[CustomPageSizes]),
            ("(module (memory i64 1) (memory i64 1 (pagesize 1)))", &[Memory64, MultiMemory, CustomPageSizes]),
            (
                "(module (func (result i64 i64) (i64.add128 (i64.const 0) (i64.const 0) (i64.const 0) (i64.const 0))))",
                &[WideArithmetic],
            ),
            ("(module (tag $t) (func (throw $t)))", &[Exceptions]),
            ("(module (func (block $b (try_table (catch_all $b)))))", &[Exceptions]),
            ("(module (func (param exnref)))", &[Exceptions]),
            ("(module (type (struct)))", &[Gc]),
            ("(module (func (param externref)))", &[Gc]),
            ("(module (func (result i31ref) (ref.i31 (i32.const 1))))", &[Gc]),
            ("(module (tag $t (param externref)) (func (throw $t (ref.null extern))))", &[Exceptions, Gc]),
            ("(module (memory 1) (func (drop (i32.atomic.load (i32.const 0)))))", &[Atomics]),
            ("(component (core module (tag)) (core module (type (struct))))", &[Exceptions, Gc]),
            ("(component (type (stream u8)) (core func (canon stream.new 0)))", &[ComponentAsync]),
            ("(component (import \"wasi:cli/exit@0.3.2\" (instance)))", &[ComponentAsync, P3]),
            ("(component (instance) (export \"wasi:cli/run@0.3.0\" (instance 0)))", &[ComponentAsync, P3]),
            ("(component (import \"wasi:cli/exit@0.2.3\" (instance)))", &[]),
            ("(component (import \"other:cli/exit@0.3.0\" (instance)))", &[]),
        ] {
            assert_eq!(detected(text), Ok(features.iter().copied().collect()), "{text}");
        }
    }

    #[test]
    fn features_that_are_not_allowed_are_named_with_all_that_the_program_uses() {
        let wasm = wat::parse_str("(module (tag $t) (type (struct)) (func (throw $t)))").unwrap();
        let Err(LoadError::FeatureDisabled(message)) = detect(&wasm, &[Feature::Gc].into()) else { panic!() };
        assert!(message.starts_with("exceptions: ") && message.contains("(at byte 0x"), "{message}");
        assert!(message.contains("features = [\"exceptions\", \"gc\"]"), "{message}");
    }

    #[test]
    fn threads_and_legacy_exceptions_are_explained() {
        for (text, advice) in [
            ("(module (memory 1 1 shared))", "wasm32-wasip1-threads"),
            ("(module (import \"env\" \"memory\" (memory 1 1 shared)))", "without -pthread"),
            ("(component (core module (memory 1 1 shared)))", "without -pthread"),
            ("(module (type $f (func)) (type (cont $f)))", "does not support this feature"),
        ] {
            let Err(LoadError::FeatureDisabled(message)) = detected(text) else { panic!("{text}") };
            assert!(message.contains(advice), "{message}");
        }
        // A function with the body `try catch_all end`, which the text format no longer has.
        let legacy = b"\0asm\x01\0\0\0\x01\x04\x01\x60\0\0\x03\x02\x01\0\x0a\x08\x01\x06\0\x06\x40\x19\x0b\x0b";
        let Err(LoadError::FeatureDisabled(message)) = detect(legacy, &Feature::ALL.into()) else { panic!() };
        assert!(message.contains("--translate-to-exnref"), "{message}");
        assert!(matches!(detected("(module (func (result i32)))"), Err(LoadError::Invalid { offset: Some(_), .. })));
    }
}
