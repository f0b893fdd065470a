//! A program that is pushed, fuzzed: the shape check against the engine's own validation, which comes after it.

use std::sync::LazyLock;

use capstan_core::feature::Feature;
use capstan_engine::handler::Kind;
use wasmtime::{Engine, Module};

use super::profile::{Profile, compile_engine};
use super::{LoadError, bulk_memory, complexity, program};

/// A profile, and the engine that would compile for it.
type Compiler = (Profile, Engine);

static PLAIN: LazyLock<Compiler> = LazyLock::new(|| compiler(Profile::default()));
static FULL: LazyLock<Compiler> =
    LazyLock::new(|| compiler(Profile { features: Feature::ALL.into(), is_metered: false }));

fn compiler(profile: Profile) -> Compiler {
    let engine = compile_engine(&profile).expect("every profile has an engine");
    (profile, engine)
}

/// Takes a program that needs no feature to be asked for. What passes with few features passes with more.
pub fn module(bytes: &[u8]) -> bool {
    let Ok(kind) = program::kind(bytes) else { return false };
    let [plain, full] = [&PLAIN, &FULL].map(|compiler| passes(kind, bytes, compiler));
    assert!(full || !plain, "what is asked for takes something away");
    plain
}

/// Whether `wasm` passes the shape check. The engine finds valid what that does, and nothing else; what is valid stays so when its strokes
/// are cut; what is refused can be told to the daemon by the child that found it.
fn passes(kind: Kind, wasm: &[u8], (profile, engine): &Compiler) -> bool {
    let checked = complexity::check(wasm, &profile.features);
    let is_valid = match &checked {
        Ok(()) | Err(LoadError::TooComplex(_)) => true,
        Err(LoadError::Invalid { .. } | LoadError::FeatureDisabled(_)) => false,
        Err(other) => panic!("the shape check says nothing like it: {other}"),
    };
    // Of components the engine validates nothing without compiling it.
    if kind == Kind::Module {
        let validated = Module::validate(engine, wasm);
        assert_eq!(validated.is_ok(), is_valid, "{profile:?}: {checked:?}, and {validated:?}");
    }
    if checked.is_ok() {
        let cut = bulk_memory::cut(wasm).expect("what is valid can be read");
        let recut = complexity::check(&cut, &profile.features);
        assert!(matches!(recut, Ok(()) | Err(LoadError::TooComplex(_))), "{profile:?}: once cut it is {recut:?}");
    }
    if let Err(error) = &checked {
        let told = serde_json::to_string(error).expect("plain data");
        assert_eq!(serde_json::from_str::<LoadError>(&told).as_ref().ok(), Some(error), "{told}");
    }
    checked.is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn corpus_of_module_holds_every_property() {
        capstan_corpus::replay("module", module);
    }
}
