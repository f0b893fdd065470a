//! The shape check: is it valid wasm, of the features that are on, and no larger in any direction than programs are?
//!
//! It runs before the compiler and says where the fault lies. The compiler's own validation would too, but a bomb of a million empty
//! functions is cheap to validate and takes gigabytes to compile.

use capstan_core::feature::{Feature, Features};
use wasmparser::{BinaryReaderError, Parser, Payload, Validator, WasmFeatures};

use super::LoadError;

/// Functions of a program, nested modules included. CPython with its libraries has about 30,000.
const MAX_FUNCTIONS: u64 = 200_000;
/// Bytes of one function. The longest of CPython, its interpreter loop, has about 200 kB.
const MAX_BODY: usize = 1 << 20;
/// Types, imports, exports, globals, tables, memories, segments, modules and instances, each.
const MAX_ITEMS: u32 = 100_000;

/// Refuses what is invalid, what needs a feature that is off, and what is too large.
pub(super) fn check(wasm: &[u8], asked: &Features) -> Result<(), LoadError> {
    if let Err(error) = validate(wasm, features(asked)) {
        // Valid with everything on means that only the features are at fault.
        return Err(match validate(wasm, WasmFeatures::all()) {
            Ok(()) => LoadError::FeatureDisabled(to_ask_for(wasm, asked, &error)),
            Err(_) => invalid(&error),
        });
    }
    let mut functions = 0;
    for payload in Parser::new(0).parse_all(wasm) {
        let payload = payload.map_err(|error| invalid(&error))?;
        // The validator takes a nested module for whole that ends with the program, though it said that it would be longer.
        if let Some((_, range)) = payload.as_section().filter(|(_, range)| range.end > wasm.len()) {
            return Err(LoadError::Invalid {
                message: "what is nested here is cut off".to_owned(),
                offset: Some(range.start),
            });
        }
        measure(&payload, &mut functions)?;
    }
    Ok(())
}

fn validate(wasm: &[u8], features: WasmFeatures) -> Result<(), BinaryReaderError> {
    Validator::new_with_features(features).validate_all(wasm).map(drop)
}

/// What to write into the manifest for what validates with everything on, but not with what was `asked` for.
fn to_ask_for(wasm: &[u8], asked: &Features, error: &BinaryReaderError) -> String {
    let fault = format!("{} (at byte {:#x})", error.message(), error.offset());
    let mut needed: Features = Feature::ALL.into();
    if validate(wasm, features(&needed)).is_err() {
        return format!("{fault}; it is none that can be asked for");
    }
    for feature in Feature::ALL {
        let without: Features = needed.iter().copied().filter(|needed| *needed != feature).collect();
        if !asked.contains(&feature) && validate(wasm, features(&without)).is_ok() {
            needed = without;
        }
    }
    let missing: Vec<_> = needed.difference(asked).map(ToString::to_string).collect();
    let list: Vec<_> = needed.union(asked).map(|feature| format!("\"{feature}\"")).collect();
    let (missing, list) = (missing.join(" and "), list.join(", "));
    format!(
        "{missing}, by {fault}; write features = [{list}] under [policy] in its job.toml, if the operator allows that"
    )
}

/// What the profile leaves on for a program whose manifest has `asked` for these.
fn features(asked: &Features) -> WasmFeatures {
    let asked = asked.iter().map(|feature| match feature {
        Feature::Memory64 => WasmFeatures::MEMORY64,
        Feature::MultiMemory => WasmFeatures::MULTI_MEMORY,
        Feature::CustomPageSizes => WasmFeatures::CUSTOM_PAGE_SIZES,
        Feature::WideArithmetic => WasmFeatures::WIDE_ARITHMETIC,
    });
    let asked = asked.fold(WasmFeatures::empty(), |all, feature| all | feature);
    let off = WasmFeatures::MEMORY64
        | WasmFeatures::MULTI_MEMORY
        | WasmFeatures::GC_TYPES
        | WasmFeatures::EXCEPTIONS
        | WasmFeatures::THREADS
        | WasmFeatures::CM_ASYNC
        | WasmFeatures::CUSTOM_PAGE_SIZES;
    ((WasmFeatures::WASM3 | WasmFeatures::COMPONENT_MODEL) & !off) | asked
}

fn measure(payload: &Payload<'_>, functions: &mut u64) -> Result<(), LoadError> {
    let (what, count) = match payload {
        Payload::CodeSectionEntry(body) => {
            let size = body.range().len();
            if size > MAX_BODY {
                return Err(LoadError::TooComplex(format!("a function has {size} bytes, more than {MAX_BODY}")));
            }
            return Ok(());
        }
        Payload::FunctionSection(section) => {
            *functions += u64::from(section.count());
            if *functions > MAX_FUNCTIONS {
                return Err(LoadError::TooComplex(format!("{functions} functions, more than {MAX_FUNCTIONS}")));
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
    if count > MAX_ITEMS {
        return Err(LoadError::TooComplex(format!("{count} {what}, more than {MAX_ITEMS}")));
    }
    Ok(())
}

fn invalid(error: &BinaryReaderError) -> LoadError {
    LoadError::Invalid { message: error.message().to_owned(), offset: Some(error.offset()) }
}
