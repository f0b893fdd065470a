//! How the sources of a job are compiled: which programs run, with which arguments, and where the result is.
//!
//! Each language has a file that finds its toolchain and says what to install if there is none, or one that is too old.

mod clang;
mod go;
mod node;
mod probe;
mod python;
mod rust;
mod steps;
mod version;
mod zig;

pub(super) use self::steps::{Artifact, Plan, Sources, Step};
use super::error::ProjectError;
use super::language::Language;

/// Returns how to compile the sources of a language.
///
/// # Errors
/// [`ProjectError::MissingTool`], [`ProjectError::OldTool`].
pub(super) fn plan(language: Language, sources: &Sources<'_>) -> Result<Plan, ProjectError> {
    match language {
        Language::Rust => rust::plan(sources),
        Language::C | Language::Cpp => clang::plan(language, sources),
        Language::Zig => zig::plan(sources),
        Language::Go => go::plan(sources),
        Language::Python => python::plan(sources),
        Language::JavaScript | Language::TypeScript | Language::AssemblyScript => node::plan(language, sources),
    }
}
