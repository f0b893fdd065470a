//! The fuzz targets of all crates, for `tests/fuzz`. They are built only with `cfg(fuzzing)`.
//!
//! A target reads its input with the code that serves. It returns whether it accepts the input, and panics if a property does not hold.
//! The unit tests of each crate replay `tests/fuzz/corpus`.

pub use capstan_api::fuzz_targets::routes;
pub use capstan_core::policy::fuzz_targets::{manifest, policy};
pub use capstan_engine::job::fuzz_targets::line;
pub use capstan_sandbox::fuzz_targets::module;
pub use capstan_store::fuzz_targets::{artifact, record};

pub use crate::cli::fuzz_targets::{arguments, frames};
