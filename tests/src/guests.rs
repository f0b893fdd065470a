//! The guest programs: those in text format, which build.rs compiles, and those that `jobs/build` compiles from source.

use std::path::{Path, PathBuf};

include!(concat!(env!("OUT_DIR"), "/guests.rs"));

/// Returns a guest that `jobs/build` compiled, for example `wordcount` or `probe.p1`.
///
/// # Panics
/// If the file does not exist. The recipes build the guests before they run tests.
pub fn compiled(name: &str) -> Vec<u8> {
    let path = compiled_path(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}; `./just jobs` builds it", path.display()))
}

/// Returns the path from which [`compiled`] reads a guest.
pub fn compiled_path(name: &str) -> PathBuf {
    target().join("guests").join(format!("{name}.wasm"))
}

/// Returns the directory of everything that is built.
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// Returns the root of the repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the harness is a directory of the repository")
}
