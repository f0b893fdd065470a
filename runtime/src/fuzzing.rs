//! Where bytes of a stranger's come in, each as one function that fuzzing calls with whatever it finds.
//!
//! A target reads its input through the code that serves, and panics where a property of that does not hold; it says whether the input
//! was taken. `tests/fuzz` hands it to a fuzzer, and the tests here to what that has found so far, `tests/fuzz/corpus`. Each lies beside
//! what it is about. None of it is in the command: this is built for tests and under `cfg(fuzzing)` alone.

pub use crate::api::fuzzed::routes;
pub use crate::cli::fuzzed::{arguments, frames};
pub use crate::job::fuzzed::line;
pub use crate::policy::fuzzed::{manifest, policy};
pub use crate::sandbox::fuzzed::module;
pub use crate::store::fuzzed::{artifact, record};

/// What is told of an input: whether it was taken.
pub type Target = fn(&[u8]) -> bool;

/// Every target, by the name that it has in `tests/fuzz`.
pub const TARGETS: [(&str, Target); 9] = [
    ("arguments", arguments),
    ("artifact", artifact),
    ("frames", frames),
    ("line", line),
    ("manifest", manifest),
    ("module", module),
    ("policy", policy),
    ("record", record),
    ("routes", routes),
];

#[cfg(test)]
mod tests;
