//! The complexity check: rejects a program that is invalid, that uses features which are off, or that is larger in some respect than real
//! programs are.
//!
//! It runs before the compiler and reports where the fault is. The compiler validates too, but a bomb of a million empty functions is
//! valid, and takes gigabytes to compile.

use capstan_core::feature::{Feature, Features};
use wasmparser::{BinaryReaderError, Parser, Payload, Validator, WasmFeatures};

use super::LoadError;

/// Functions of a program, including its nested modules. CPython with its libraries has about 30,000.
const MAX_FUNCTIONS: u64 = 200_000;
/// Bytes of one function. The longest function of CPython, its interpreter loop, has about 200 kB.
const MAX_FUNCTION_SIZE: usize = 1 << 20;
/// Items of one section: types, imports, exports, globals, tables, memories, segments, modules or instances.
const MAX_SECTION_ITEMS: u32 = 100_000;

/// Checks the program `wasm`, whose manifest requests the features in `requested`.
///
/// # Errors
/// [`LoadError::Invalid`], [`LoadError::FeatureDisabled`] or [`LoadError::TooComplex`].
pub(super) fn check(wasm: &[u8], requested: &Features) -> Result<(), LoadError> {
    if let Err(error) = validate(wasm, enabled_features(requested)) {
        // If the program is valid with all features, only the features are at fault.
        return Err(match validate(wasm, WasmFeatures::all()) {
            Ok(()) => LoadError::FeatureDisabled(explain_disabled(wasm, requested, &error)),
            Err(_) => invalid(&error),
        });
    }
    let mut functions = 0;
    for payload in Parser::new(0).parse_all(wasm) {
        let payload = payload.map_err(|error| invalid(&error))?;
        // The validator accepts a nested module that ends with the program although its declared size is larger.
        if let Some((_, range)) = payload.as_section().filter(|(_, range)| range.end > wasm.len()) {
            return Err(LoadError::Invalid {
                message: "the nested module or component is cut off".to_owned(),
                offset: Some(range.start),
            });
        }
        check_section(&payload, &mut functions)?;
    }
    Ok(())
}

/// Returns the number of functions of the program `wasm`, including its nested modules. Counts those before the first fault of a program that is
/// not valid.
pub fn function_count(wasm: &[u8]) -> u64 {
    let payloads = Parser::new(0).parse_all(wasm).map_while(Result::ok);
    let counts = payloads.map(|payload| match payload {
        Payload::FunctionSection(section) => u64::from(section.count()),
        _ => 0,
    });
    counts.sum()
}

fn validate(wasm: &[u8], features: WasmFeatures) -> Result<(), BinaryReaderError> {
    Validator::new_with_features(features).validate_all(wasm).map(drop)
}

/// Explains which features `wasm` needs besides `requested`, and how to request them. `error` is that of the validation with `requested`;
/// with all features, `wasm` is valid.
fn explain_disabled(wasm: &[u8], requested: &Features, error: &BinaryReaderError) -> String {
    let fault = format!("{} (at byte {:#x})", error.message(), error.offset());
    let mut needed: Features = Feature::ALL.into();
    if validate(wasm, enabled_features(&needed)).is_err() {
        return format!("{fault}; a manifest cannot request this feature");
    }
    for feature in Feature::ALL {
        let without: Features = needed.iter().copied().filter(|needed| *needed != feature).collect();
        if !requested.contains(&feature) && validate(wasm, enabled_features(&without)).is_ok() {
            needed = without;
        }
    }
    let missing: Vec<_> = needed.difference(requested).map(ToString::to_string).collect();
    let list: Vec<_> = needed.union(requested).map(|feature| format!("\"{feature}\"")).collect();
    let (missing, list) = (missing.join(" and "), list.join(", "));
    format!("{missing}: {fault}; if the operator allows it, write features = [{list}] under [policy] in its job.toml")
}

/// Returns all features that are on for a program whose manifest requests those in `requested`.
fn enabled_features(requested: &Features) -> WasmFeatures {
    let requested = requested.iter().map(|feature| match feature {
        Feature::Memory64 => WasmFeatures::MEMORY64,
        Feature::MultiMemory => WasmFeatures::MULTI_MEMORY,
        Feature::CustomPageSizes => WasmFeatures::CUSTOM_PAGE_SIZES,
        Feature::WideArithmetic => WasmFeatures::WIDE_ARITHMETIC,
    });
    let requested = requested.fold(WasmFeatures::empty(), |all, feature| all | feature);
    let off = WasmFeatures::MEMORY64
        | WasmFeatures::MULTI_MEMORY
        | WasmFeatures::GC_TYPES
        | WasmFeatures::EXCEPTIONS
        | WasmFeatures::THREADS
        | WasmFeatures::CM_ASYNC
        | WasmFeatures::CUSTOM_PAGE_SIZES;
    ((WasmFeatures::WASM3 | WasmFeatures::COMPONENT_MODEL) & !off) | requested
}

/// Checks the number of items of a section, or the size of a function. Adds the functions of a section to `functions`.
fn check_section(payload: &Payload<'_>, functions: &mut u64) -> Result<(), LoadError> {
    let (items, count) = match payload {
        Payload::CodeSectionEntry(body) => {
            let size = body.range().len();
            if size > MAX_FUNCTION_SIZE {
                return Err(LoadError::TooComplex(format!(
                    "a function of it has {size} bytes, more than {MAX_FUNCTION_SIZE}"
                )));
            }
            return Ok(());
        }
        Payload::FunctionSection(section) => {
            *functions += u64::from(section.count());
            if *functions > MAX_FUNCTIONS {
                return Err(LoadError::TooComplex(format!("it has {functions} functions, more than {MAX_FUNCTIONS}")));
            }
            return Ok(());
        }
        Payload::TypeSection(section) => ("types", section.count()),
        Payload::ImportSection(section) => ("imports", section.count()),
        Payload::ExportSection(section) => ("exports", section.count()),
        Payload::GlobalSection(section) => ("globals", section.count()),
        Payload::TableSection(section) => ("tables", section.count()),
        Payload::MemorySection(section) => ("memories", section.count()),
        Payload::ElementSection(section) => ("element segments", section.count()),
        Payload::DataSection(section) => ("data segments", section.count()),
        Payload::InstanceSection(section) => ("instances", section.count()),
        Payload::ComponentInstanceSection(section) => ("component instances", section.count()),
        Payload::ComponentTypeSection(section) => ("component types", section.count()),
        _ => return Ok(()),
    };
    if count > MAX_SECTION_ITEMS {
        return Err(LoadError::TooComplex(format!("it has {count} {items}, more than {MAX_SECTION_ITEMS}")));
    }
    Ok(())
}

fn invalid(error: &BinaryReaderError) -> LoadError {
    LoadError::Invalid { message: error.message().to_owned(), offset: Some(error.offset()) }
}
