//! How the sources of a job are compiled: which programs run, with which arguments, and where the result is.
//!
//! Each language has a file that finds its toolchain and says what to install if there is none, or one that is too old.

mod clang;
mod go;
mod node;
mod probe;
mod python;
mod rust;
mod version;
mod zig;

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use super::error::ProjectError;
use super::folder::Project;
use super::language::Language;
use crate::cli::environment::Environment;

/// What compiles a job: programs that run one after the other in its directory.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) steps: Vec<Step>,
    pub(super) artifact: Artifact,
}

/// One program with its arguments.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) program: OsString,
    pub(super) args: Vec<OsString>,
    /// Variables that are set, or removed if they have no value.
    pub(super) variables: Vec<(&'static str, Option<OsString>)>,
}

/// Where the last step leaves the program.
#[derive(Debug)]
pub(super) enum Artifact {
    /// In this file, relative to the directory of the job.
    File(PathBuf),
    /// In the file that the messages of cargo name.
    CargoMessages,
}

/// What a toolchain needs to know about a job.
#[derive(Debug)]
pub(super) struct Sources<'a> {
    pub(super) project: &'a Project,
    /// The file for a compiler to write, relative to the directory of the job. Its directory exists.
    pub(super) target: &'a Path,
    pub(super) environment: &'a Environment,
}

impl Step {
    pub(super) fn new<P: Into<OsString>>(command: impl IntoIterator<Item = P>) -> Self {
        let mut words = command.into_iter().map(Into::into);
        let program = words.next().expect("a command has a program");
        Self { program, args: words.collect(), variables: Vec::new() }
    }

    pub(super) fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    pub(super) fn set(mut self, name: &'static str, value: impl Into<OsString>) -> Self {
        self.variables.push((name, Some(value.into())));
        self
    }

    pub(super) fn remove(mut self, names: &[&'static str]) -> Self {
        self.variables.extend(names.iter().map(|name| (*name, None)));
        self
    }
}

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
