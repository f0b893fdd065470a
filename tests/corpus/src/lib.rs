//! Replays the inputs that fuzzing has found.
//!
//! Each crate that reads input from outside has a module `fuzz_targets` with its fuzz targets, and a unit test that calls [`replay`] for each of
//! them. `tests/fuzz` runs the same targets under a fuzzer.

#![expect(clippy::disallowed_methods, reason = "the corpora are files of this repository")]
#![expect(clippy::unwrap_used, reason = "a test harness reports by panicking")]

use std::fs;
use std::panic::{RefUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

/// Every fuzz target, in the order of their names.
pub const TARGETS: [&str; 9] =
    ["arguments", "artifact", "frames", "line", "manifest", "module", "policy", "record", "routes"];

/// The most files in the corpus of one target. Every clone of the repository carries them.
const MAX_FILES: usize = 100;
/// The most bytes in the corpus of one target.
const MAX_BYTES: usize = 200_000;

/// Runs a fuzz target on each input of its corpus. The target returns whether it accepted the input, and panics if a property does not
/// hold.
///
/// # Panics
/// If a property does not hold for an input, if the target accepts all inputs or none, or if the corpus is too large.
pub fn replay(target: &str, run: impl Fn(&[u8]) -> bool + RefUnwindSafe) {
    assert!(TARGETS.contains(&target), "{target} is not in TARGETS");
    let inputs = inputs(target);
    let (mut accepted, mut broken) = (0, Vec::new());
    for (name, input) in &inputs {
        match catch_unwind(|| run(input)) {
            Ok(is_accepted) => accepted += usize::from(is_accepted),
            Err(_) => broken.push(name),
        }
    }
    assert!(broken.is_empty(), "{target}: a property does not hold for {broken:?}");
    assert!(accepted > 0 && accepted < inputs.len(), "{target} accepts {accepted} of {} inputs", inputs.len());
    let bytes: usize = inputs.iter().map(|(_, input)| input.len()).sum();
    assert!(inputs.len() <= MAX_FILES && bytes <= MAX_BYTES, "{target}: {} files, {bytes} bytes", inputs.len());
}

/// The inputs in the corpus of `target`, with their file names.
fn inputs(target: &str) -> Vec<(String, Vec<u8>)> {
    let files = fs::read_dir(folder().join("corpus").join(target)).unwrap().map(|file| file.unwrap().path());
    files.map(|file| (file.file_name().unwrap().to_str().unwrap().to_owned(), fs::read(file).unwrap())).collect()
}

/// The folder `tests/fuzz`.
fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The names of the entries of a folder below `tests/fuzz`, without extensions.
    fn names(below: &str) -> BTreeSet<String> {
        let files = fs::read_dir(folder().join(below)).unwrap().map(|file| file.unwrap().path());
        files.map(|file| file.file_stem().unwrap().to_str().unwrap().to_owned()).collect()
    }

    /// The Rust sources below `folder`, as one text.
    fn sources(folder: &Path) -> String {
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        entries
            .map(|path| match path.extension() {
                _ if path.is_dir() => sources(&path),
                Some(extension) if extension == "rs" => fs::read_to_string(&path).unwrap(),
                _ => String::new(),
            })
            .collect()
    }

    #[test]
    fn every_target_has_a_fuzzer_a_corpus_and_a_unit_test() {
        let known: BTreeSet<_> = TARGETS.map(str::to_owned).into();
        assert_eq!(names("targets"), known, "tests/fuzz/targets");
        assert_eq!(names("corpus"), known, "tests/fuzz/corpus");
        let manifest: toml::Table = fs::read_to_string(folder().join("Cargo.toml")).unwrap().parse().unwrap();
        let built = manifest["bin"].as_array().unwrap().iter().map(|bin| bin["name"].as_str().unwrap().to_owned());
        assert_eq!(built.collect::<BTreeSet<_>>(), known, "[[bin]] of tests/fuzz/Cargo.toml");
        let runtime = sources(&folder().join("../../runtime"));
        for target in &known {
            let source = fs::read_to_string(folder().join(format!("targets/{target}.rs"))).unwrap();
            assert!(source.contains(&format!("fuzzing::{target}(")), "targets/{target}.rs fuzzes another target");
            assert!(runtime.contains(&format!("replay(\"{target}\", {target})")), "no crate replays {target}");
        }
    }
}
