//! The fuzz targets of all crates, for `tests/fuzz`. Built under `cfg(fuzzing)` only.
//!
//! A target reads its input through the code that serves. It returns whether it accepts the input, and panics if a property does not hold.
//! The unit tests of each crate replay `tests/fuzz/corpus`.

pub use capstan_api::fuzzed::routes;
pub use capstan_core::policy::fuzzed::{manifest, policy};
pub use capstan_engine::job::fuzzed::line;
pub use capstan_sandbox::fuzzed::module;
pub use capstan_store::fuzzed::{artifact, record};

pub use crate::cli::fuzzed::{arguments, frames};
