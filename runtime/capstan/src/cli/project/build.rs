//! `capstan build`: compiles the job of a directory.

use std::ffi::OsStr;
use std::io;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::time::Instant;

use clap::Args;
use serde_json::{Value, json};
use tokio::process::Command;

use super::error::ProjectError;
use super::folder::Project;
use super::toolchain::{self, Artifact, Plan, Sources, Step};
use crate::cli::environment::Environment;
use crate::cli::error::CliError;
use crate::cli::io_error::describe;
use crate::cli::{format, output, paths};

/// The command line of `capstan build`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Build {
    /// Directory of the job [default: the current one]
    #[arg(value_name = "DIR", default_value = ".", hide_default_value = true)]
    dir: PathBuf,
    /// Print the result as JSON [default: the path on stdout, and a line on stderr]
    #[arg(long)]
    json: bool,
}

/// What cargo calls what can run: commands, and components without an entry point of their own.
const PROGRAM_KINDS: [&str; 2] = ["bin", "cdylib"];

/// A program that was built.
#[derive(Debug)]
pub(super) struct Built {
    /// The file, relative to the directory of the job.
    pub(super) file: PathBuf,
    /// Bytes.
    pub(super) size: u64,
    pub(super) seconds: f64,
}

impl Build {
    /// Builds the job, and prints the path of the program.
    ///
    /// # Errors
    /// [`CliError`]
    pub(in crate::cli) async fn run(self, environment: &Environment) -> Result<ExitCode, CliError> {
        let project = Project::open(&self.dir)?;
        let built = build(&project, environment).await?;
        let file = project.shown(&built.file);
        if self.json {
            let Built { size, seconds, .. } = built;
            let file = file.to_string_lossy();
            output::print_json(&json!({"name": project.name(), "file": file, "size": size, "seconds": seconds}))?;
        } else {
            built.report(&project);
            output::print(format!("{}\n", file.display()).as_bytes())?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Built {
    /// Prints the size and the time to stderr.
    pub(super) fn report(&self, project: &Project) {
        output::print_note(format_args!(
            "built {} ({}, {})",
            project.name(),
            format::size(self.size),
            format::seconds(self.seconds)
        ));
    }
}

/// Builds the job. The file of the program is replaced only if that succeeds. Compilers print to stderr. If the future is dropped, the
/// compiler is killed.
///
/// # Errors
/// [`CliError`]
pub(super) async fn build(project: &Project, environment: &Environment) -> Result<Built, CliError> {
    if let Some(runtime) = project.tables.program.from.clone() {
        return Err(ProjectError::Script { dir: project.shown.clone(), runtime }.into());
    }
    let start = Instant::now();
    let output = project.output();
    // A compiler that fails half-way leaves the program of the last build alone.
    let target = output.with_file_name(".capstan-build").join(output.file_name().unwrap_or(OsStr::new("job.wasm")));
    project.create_parent(&target)?;
    let Plan { steps, artifact } = match &project.tables.build.command {
        Some(command) => Plan { steps: vec![Step::new(command)], artifact: Artifact::File(output.clone()) },
        None => toolchain::plan(project.language()?, &Sources { project, target: &target, environment })?,
    };
    let mut messages = Vec::new();
    for step in &steps {
        messages = run(step, project, matches!(artifact, Artifact::CargoMessages)).await?;
    }
    let is_in_place = matches!(&artifact, Artifact::File(file) if *file == output);
    let bytes = match artifact {
        Artifact::File(file) => read_program(project, &file)?,
        // The directory may be anywhere: that of a workspace, or one that a variable names.
        Artifact::CargoMessages => paths::read(&only_program(&messages)?)?,
    };
    if !bytes.starts_with(b"\0asm") {
        return Err(ProjectError::NotWasm(project.shown(&output)).into());
    }
    replace(project, &target, if is_in_place { None } else { Some(&bytes) })?;
    Ok(Built { file: output, size: bytes.len() as u64, seconds: start.elapsed().as_secs_f64() })
}

fn read_program(project: &Project, file: &Path) -> Result<Vec<u8>, CliError> {
    project.dir.read(file).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => {
            let hint =
                "the build must write it, or `output` under [build] in job.toml must name the file that it writes";
            ProjectError::NoProgram { file: project.shown(file), hint }.into()
        }
        _ => paths::file_error(&project.shown(file))(error),
    })
}

/// Makes `bytes`, if any, the content of the program, atomically. Removes the directory of `target`.
fn replace(project: &Project, target: &Path, bytes: Option<&[u8]>) -> Result<(), CliError> {
    if let Some(bytes) = bytes {
        let output = project.output();
        project.write(target, bytes)?;
        let renamed = project.dir.rename(target, &project.dir, &output);
        renamed.map_err(|error| paths::file_error(&project.shown(&output))(error))?;
    }
    if let Some(parent) = target.parent() {
        // What a compiler has left beside its program is of no use, and does no harm.
        let _ = project.dir.remove_dir_all(parent);
    }
    Ok(())
}

/// Runs a step to its end. Returns its stdout if `capture`; otherwise that goes to stderr.
async fn run(step: &Step, project: &Project, capture: bool) -> Result<Vec<u8>, CliError> {
    let program = step.program.to_string_lossy().into_owned();
    let mut command = Command::new(&step.program);
    command.args(&step.args).current_dir(&project.path).stdin(Stdio::null()).kill_on_drop(true);
    for (name, value) in &step.variables {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    let stderr = io::stderr().as_fd().try_clone_to_owned().map_err(CliError::Startup)?;
    command.stdout(if capture { Stdio::piped() } else { Stdio::from(stderr) });
    let cannot_start = |error| ProjectError::CannotStart { program: program.clone(), reason: describe(&error) };
    let child = command.spawn().map_err(cannot_start)?;
    let output = child.wait_with_output().await.map_err(cannot_start)?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let code = output.status.code().and_then(|code| u8::try_from(code).ok());
    Err(ProjectError::BuildFailed { program, code }.into())
}

/// Returns the file of the program that cargo's messages name.
fn only_program(messages: &[u8]) -> Result<PathBuf, ProjectError> {
    let messages = messages.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice::<Value>(line).ok());
    let is_program = |file: &&str| file.ends_with(".wasm");
    let mut files: Vec<String> = messages
        .filter(|message| {
            message["reason"] == "compiler-artifact"
                && PROGRAM_KINDS.iter().any(|kind| message["target"]["kind"][0] == *kind)
        })
        .flat_map(|message| {
            let names = message["filenames"].as_array().cloned().unwrap_or_default();
            names.iter().filter_map(Value::as_str).filter(is_program).map(str::to_owned).collect::<Vec<_>>()
        })
        .collect();
    match files.len() {
        1 => Ok(files.remove(0).into()),
        0 => {
            let hint = "the package has no program: it needs src/main.rs, a [[bin]], or a [lib] with crate-type = [\"cdylib\"]";
            Err(ProjectError::NoProgram { file: "Cargo.toml".into(), hint })
        }
        _ => Err(ProjectError::SeveralPrograms(files.iter().map(|file| name_of(file)).collect())),
    }
}

fn name_of(file: &str) -> String {
    Path::new(file).file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_cargo_name_the_only_program() {
        let line = |kind: &str, file: &str| {
            json!({"reason": "compiler-artifact", "target": {"kind": [kind]}, "filenames": [file]}).to_string()
        };
        let find = |lines: &[String]| only_program(lines.join("\n").as_bytes());
        let (library, a, b) = (line("lib", "/t/liba.rlib"), line("bin", "/t/a.wasm"), line("bin", "/t/b.wasm"));
        assert_eq!(find(&[library.clone(), a.clone()]).unwrap(), Path::new("/t/a.wasm"));
        assert!(matches!(find(&[library]), Err(ProjectError::NoProgram { .. })));
        assert!(matches!(find(&[a, b]), Err(ProjectError::SeveralPrograms(names)) if names == ["a", "b"]));
    }
}
