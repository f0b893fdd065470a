//! The fuzz target for pushed programs: compares the complexity check with the validation of wasmtime, which comes after it.

use std::sync::LazyLock;

use capstan_core::feature::{Feature, Features};
use capstan_engine::handler::Kind;
use wasmtime::{Engine, Module};

use super::profile::{Profile, validating_engine};
use super::{LoadError, bulk_memory, complexity, features, inspect, kind};

/// A profile and its compiling engine.
type Compiler = (Profile, Engine);

static WITHOUT_FEATURES: LazyLock<Compiler> = LazyLock::new(|| compiler(Profile::default()));
static WITH_ALL_FEATURES: LazyLock<Compiler> =
    LazyLock::new(|| compiler(Profile { features: Feature::ALL.into(), is_metered: false }));

fn compiler(profile: Profile) -> Compiler {
    let engine = validating_engine(&profile).expect("every profile has an engine");
    (profile, engine)
}

/// Checks a program, and returns whether it is accepted with no feature allowed. A program that is accepted with few features must be accepted
/// with more. One that uses features must be accepted with exactly those. Any program can be
/// described.
pub fn module(bytes: &[u8]) -> bool {
    let described = inspect::inspect(bytes, &Features::new());
    let Ok(kind) = kind::detect(bytes) else { return false };
    let described = described.expect("whatever has the head of a program can be described");
    serde_json::to_string(&described).expect("plain data");
    let [without_features, with_all] =
        [&WITHOUT_FEATURES, &WITH_ALL_FEATURES].map(|compiler| passes(kind, bytes, compiler));
    assert!(with_all || !without_features, "a feature makes a valid program invalid");
    without_features
}

/// Returns whether `wasm` passes the complexity check. wasmtime must validate the same modules. A valid program must stay valid when its
/// bulk memory instructions are split. The error must survive the way from the compiling child to the daemon.
fn passes(kind: Kind, wasm: &[u8], (profile, engine): &Compiler) -> bool {
    let checked = complexity::check(wasm, &profile.features);
    let is_valid = match &checked {
        Ok(_) | Err(LoadError::TooComplex(_)) => true,
        Err(LoadError::Invalid { .. } | LoadError::FeatureDisabled(_)) => false,
        Err(other) => panic!("the complexity check never returns this: {other}"),
    };
    // wasmtime cannot validate a component without compiling it, and rejects a shared memory only when it is created.
    if kind == Kind::Module && (is_valid || !features::has_shared_memory(wasm)) {
        let validated = Module::validate(engine, wasm);
        assert_eq!(validated.is_ok(), is_valid, "{profile:?}: {checked:?}, and {validated:?}");
    }
    if let Ok(used) = &checked {
        assert_eq!(complexity::check(wasm, used).as_ref(), Ok(used), "{profile:?}");
        let split = bulk_memory::split(wasm).expect("a valid program can be parsed");
        let rechecked = complexity::check(&split, &profile.features);
        assert!(
            matches!(rechecked, Ok(_) | Err(LoadError::TooComplex(_))),
            "{profile:?}: once split it is {rechecked:?}"
        );
    }
    if let Err(error) = &checked {
        let json = serde_json::to_string(error).expect("plain data");
        assert_eq!(serde_json::from_str::<LoadError>(&json).as_ref().ok(), Some(error), "{json}");
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
