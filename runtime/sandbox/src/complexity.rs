//! The complexity check: rejects a program that is invalid, that uses features which are not allowed, or that is larger in some respect than
//! real programs are.
//!
//! It runs before the compiler and reports where the fault is. The compiler validates too, but a bomb of a million empty functions is
//! valid, and takes gigabytes to compile.

use capstan_core::feature::{Feature, Features};
use wasmparser::{Parser, Payload};

use super::{LoadError, catch_clauses, features};

/// Functions of a program, including its nested modules. CPython with its libraries has about 30,000.
const MAX_FUNCTIONS: u64 = 200_000;
/// Bytes of one function. The longest function of CPython, its interpreter loop, has about 200 kB.
const MAX_FUNCTION_SIZE: usize = 1 << 20;
/// Items of one section: types, imports, exports, globals, tables, memories, segments, modules or instances.
const MAX_SECTION_ITEMS: u32 = 100_000;

/// Checks the program `wasm`, which may use the features in `allowed`, and returns those that it uses.
///
/// # Errors
/// [`LoadError::Invalid`], [`LoadError::FeatureDisabled`] or [`LoadError::TooComplex`].
pub(super) fn check(wasm: &[u8], allowed: &Features) -> Result<Features, LoadError> {
    let used = features::detect(wasm, allowed)?;
    let mut functions = 0;
    for payload in Parser::new(0).parse_all(wasm) {
        let payload = payload.map_err(|error| features::invalid(&error))?;
        // The validator accepts a nested module that ends with the program although its declared size is larger.
        if let Some((_, range)) = payload.as_section().filter(|(_, range)| range.end > wasm.len()) {
            return Err(LoadError::Invalid {
                message: "the nested module or component is cut off".to_owned(),
                offset: Some(range.start),
            });
        }
        check_section(&payload, &mut functions)?;
    }
    if used.contains(&Feature::Exceptions) {
        catch_clauses::check(wasm)?;
    }
    Ok(used)
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
