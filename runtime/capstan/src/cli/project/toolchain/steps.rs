//! [`Plan`]: what compiles a job, and what a toolchain needs to know to say so.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use crate::cli::environment::Environment;
use crate::cli::project::folder::Project;

/// What compiles a job: programs that run one after the other in its directory.
#[derive(Debug)]
pub(in crate::cli::project) struct Plan {
    pub(in crate::cli::project) steps: Vec<Step>,
    pub(in crate::cli::project) artifact: Artifact,
}

/// One program with its arguments.
#[derive(Debug)]
pub(in crate::cli::project) struct Step {
    pub(in crate::cli::project) program: OsString,
    pub(in crate::cli::project) args: Vec<OsString>,
    /// Variables that are set, or removed if they have no value.
    pub(in crate::cli::project) variables: Vec<(&'static str, Option<OsString>)>,
}

/// Where the last step leaves the program.
#[derive(Debug)]
pub(in crate::cli::project) enum Artifact {
    /// In this file, relative to the directory of the job.
    File(PathBuf),
    /// In the file that the messages of cargo name.
    CargoMessages,
}

/// What a toolchain needs to know about a job.
#[derive(Debug)]
pub(in crate::cli::project) struct Sources<'a> {
    pub(in crate::cli::project) project: &'a Project,
    /// The file for a compiler to write, relative to the directory of the job. Its directory exists.
    pub(in crate::cli::project) target: &'a Path,
    pub(in crate::cli::project) environment: &'a Environment,
}

impl Step {
    pub(in crate::cli::project) fn new<P: Into<OsString>>(command: impl IntoIterator<Item = P>) -> Self {
        let mut words = command.into_iter().map(Into::into);
        let program = words.next().expect("a command has a program");
        Self { program, args: words.collect(), variables: Vec::new() }
    }

    pub(in crate::cli::project) fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    pub(in crate::cli::project) fn set(mut self, name: &'static str, value: impl Into<OsString>) -> Self {
        self.variables.push((name, Some(value.into())));
        self
    }

    pub(in crate::cli::project) fn remove(mut self, names: &[&'static str]) -> Self {
        self.variables.extend(names.iter().map(|name| (*name, None)));
        self
    }
}
