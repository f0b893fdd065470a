//! The corpora replayed, and that no target is without one.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::*;

/// Files of the corpus of one target, and bytes of them all: it is cloned by everybody.
const FILES: usize = 100;
const BYTES: usize = 200_000;

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz")
}

/// The inputs that are kept for `target`, by their names.
fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let files = fs::read_dir(fuzz().join("corpus").join(target)).unwrap();
    let files = files.map(|file| file.unwrap().path());
    files.map(|file| (file.file_name().unwrap().to_str().unwrap().to_owned(), fs::read(file).unwrap())).collect()
}

/// The names of what is in `folder`, without their endings.
fn names(folder: &str) -> BTreeSet<String> {
    let files = fs::read_dir(fuzz().join(folder)).unwrap().map(|file| file.unwrap().path());
    files.map(|file| file.file_stem().unwrap().to_str().unwrap().to_owned()).collect()
}

/// Each property holds for all that is kept, and is looked at: some of it is taken, and some refused.
#[test]
fn every_corpus_is_replayed() {
    let mut broken = Vec::new();
    for (target, run) in TARGETS {
        let corpus = corpus(target);
        let mut taken = 0;
        for (name, input) in &corpus {
            match std::panic::catch_unwind(|| run(input)) {
                Ok(is_taken) => taken += usize::from(is_taken),
                Err(_) => broken.push(format!("{target}/{name}")),
            }
        }
        assert!(taken > 0 && taken < corpus.len(), "{target}: {taken} of {} inputs are taken", corpus.len());
        let bytes: usize = corpus.iter().map(|(_, input)| input.len()).sum();
        assert!(corpus.len() <= FILES && bytes <= BYTES, "{target}: {} files, {bytes} bytes", corpus.len());
    }
    assert!(broken.is_empty(), "what must hold does not for {broken:?}");
}

#[test]
fn every_target_is_fuzzed_and_has_a_corpus() {
    let known: BTreeSet<_> = TARGETS.iter().map(|(target, _)| (*target).to_owned()).collect();
    assert_eq!(names("targets"), known, "tests/fuzz/targets");
    assert_eq!(names("corpus"), known, "tests/fuzz/corpus");
    let manifest: toml::Table = fs::read_to_string(fuzz().join("Cargo.toml")).unwrap().parse().unwrap();
    let built = manifest["bin"].as_array().unwrap().iter().map(|bin| bin["name"].as_str().unwrap().to_owned());
    assert_eq!(built.collect::<BTreeSet<_>>(), known, "[[bin]] of tests/fuzz/Cargo.toml");
    for target in &known {
        let source = fs::read_to_string(fuzz().join(format!("targets/{target}.rs"))).unwrap();
        assert!(source.contains(&format!("fuzzing::{target}(")), "targets/{target}.rs fuzzes another target");
    }
}
