//! [`Script`]: the files of a job that a runtime runs.

use std::path::PathBuf;

use super::error::ProjectError;
use super::folder::{MANIFEST, Project};
use crate::cli::environment::Environment;
use crate::cli::error::CliError;
use crate::cli::paths;
use crate::cli::runtimes::Installed;

/// The files of a job that a runtime runs. Paths are relative to the directory of the job.
#[derive(Debug)]
pub(super) struct Script {
    /// The file that starts it.
    pub(super) main: PathBuf,
    /// The directory with all of its files, unless it is one file.
    pub(super) directory: Option<PathBuf>,
}

/// Returns the script of a job, or `None` if the job has a program of its own.
///
/// # Errors
/// [`ProjectError::NoFiles`], [`ProjectError::NoMain`], and [`CliError`] if the runtime is not installed.
pub(super) fn script_of(project: &Project, environment: &Environment) -> Result<Option<Script>, CliError> {
    let Some(from) = &project.tables.program.from else { return Ok(None) };
    let files = project.tables.files.clone().ok_or_else(|| ProjectError::NoFiles(project.shown(MANIFEST)))?;
    if project.dir.is_file(&files) {
        return Ok(Some(Script { main: files, directory: None }));
    }
    let table = Installed::named(from, environment)?.table();
    let shown = project.shown(&files);
    let file_error = || paths::file_error(&shown);
    let mut names = Vec::new();
    for entry in project.dir.read_dir(&files).map_err(file_error())? {
        let entry = entry.map_err(file_error())?;
        let mut name = entry.file_name().to_string_lossy().into_owned();
        if entry.file_type().map_err(file_error())?.is_dir() {
            // It may hold further files, so that no other is the only one.
            name.push('/');
        }
        names.push(name);
    }
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let main = table.script_args(".", &names).and_then(|mut args| args.pop());
    let main = main.ok_or_else(|| ProjectError::NoMain { dir: shown.clone(), names: table.main })?;
    Ok(Some(Script { main: files.join(main), directory: Some(files) }))
}
