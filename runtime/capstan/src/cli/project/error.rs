//! [`ProjectError`]: why a job could not be created, built or tested.

use std::path::PathBuf;

use crate::cli::exit_code::FAILED;

/// Why a job could not be created, built or tested.
#[derive(Debug, thiserror::Error)]
pub(in crate::cli) enum ProjectError {
    #[error("{} is not a valid manifest: {reason}", file.display())]
    Tables { file: PathBuf, reason: String },
    #[error("{name:?} cannot be the name of a directory for a job: {reason}")]
    Name { name: String, reason: &'static str },
    #[error("{} is not empty: name a directory that does not exist, or an empty one", .0.display())]
    NotEmpty(PathBuf),
    #[error(
        "no language is named: use `capstan new --lang LANGUAGE NAME`, with one of the languages that `capstan new` lists"
    )]
    NoTemplate,
    #[error("there is no template for {option} in this language, only for {}", .languages.join(", "))]
    NoTemplateOfForm { option: &'static str, languages: Vec<&'static str> },
    #[error("{} is a script of the runtime {runtime}, and has nothing to build: use `capstan test`, and `capstan push --manifest job.toml`", dir.display())]
    Script { dir: PathBuf, runtime: String },
    #[error("{} names no `files`, the directory of the script", .0.display())]
    NoFiles(PathBuf),
    #[error("no file in {} starts the script: name one of them {}", dir.display(), .names.join(" or "))]
    NoMain { dir: PathBuf, names: Vec<String> },
    #[error("no directory is named: use `capstan new --lang {0} NAME`")]
    NoName(&'static str),
    #[error("the language of {} is unknown: {reason}; set `lang` or `command` under [build] in its job.toml", dir.display())]
    UnknownLanguage { dir: PathBuf, reason: String },
    #[error("cannot find {what}\n{install}")]
    MissingTool { what: String, install: String },
    #[error("{what} is too old: this is version {found}, and {needed} or newer is needed\n{install}")]
    OldTool { what: &'static str, found: String, needed: &'static str, install: String },
    #[error("cannot start {program}: {reason}")]
    CannotStart { program: String, reason: String },
    #[error("the build failed: {program} {}", ended(*.code))]
    BuildFailed { program: String, code: Option<u8> },
    #[error("the build left no program at {}: {hint}", file.display())]
    NoProgram { file: PathBuf, hint: &'static str },
    #[error("the package has {} programs ({}): keep one of them in this package, or build with `command` under [build] in job.toml", .0.len(), .0.join(", "))]
    SeveralPrograms(Vec<String>),
    #[error("{} is not a WebAssembly program", .0.display())]
    NotWasm(PathBuf),
    #[error("there are no test cases: add [[test]] to {}", .0.display())]
    NoCases(PathBuf),
    #[error("no test case has {0:?} in its name")]
    NoMatchingCase(String),
    #[error("cannot watch {}: {reason}", dir.display())]
    Watch { dir: PathBuf, reason: String },
}

impl ProjectError {
    /// Returns the exit code of the process: that of the compiler if it failed.
    pub(in crate::cli) fn exit_code(&self) -> u8 {
        match self {
            Self::BuildFailed { code: Some(code), .. } => *code,
            _ => FAILED,
        }
    }
}

fn ended(code: Option<u8>) -> String {
    code.map_or_else(|| "was killed by a signal".to_owned(), |code| format!("exited with {code}"))
}
