//! The guest programs: those in text format, which build.rs turned to binary, and those that are compiled from source.

use std::path::{Path, PathBuf};

include!(concat!(env!("OUT_DIR"), "/guests.rs"));

/// A guest that `jobs/build` compiled, for example `wordcount` or `probe.p1`.
///
/// # Panics
/// If it was not: the recipes do that before they run tests.
pub fn compiled(name: &str) -> Vec<u8> {
    let path = compiled_path(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}; `./just jobs` makes it", path.display()))
}

/// Where [`compiled`] finds a guest.
pub fn compiled_path(name: &str) -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    target.join("guests").join(format!("{name}.wasm"))
}

/// The root of the repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the harness lies in a folder of the repository")
}
