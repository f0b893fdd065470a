//! `capstan test`: runs the test cases of a job.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::time::Instant;

use clap::Args;
use serde_json::{Value, json};
use tokio::process::Command;

use super::build::build;
use super::diff;
use super::error::ProjectError;
use super::folder::{MANIFEST, Project};
use super::script::{Script, script_of};
use super::tables::TestCase;
use crate::cli::environment::Environment;
use crate::cli::error::CliError;
use crate::cli::{format, output};

/// The exit code if a case fails.
const CASES_FAILED: u8 = 1;

/// The command line of `capstan test`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Test {
    /// Directory of the job [default: the current one]
    #[arg(value_name = "DIR", default_value = ".", hide_default_value = true)]
    dir: PathBuf,
    /// Text that is in the names of the cases to run [default: run all]
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
    /// Write what the program prints to each `stdout_file` that differs [default: the case fails]
    #[arg(long)]
    update: bool,
    /// Test the program of the last build [default: build it first]
    #[arg(long)]
    no_build: bool,
    /// Print the results as JSON [default: one line per case]
    #[arg(long)]
    json: bool,
}

/// What came of a case.
#[derive(Debug)]
struct Report {
    name: String,
    seconds: f64,
    /// `None` if a signal ended the process.
    exit_code: Option<i32>,
    failures: Vec<String>,
    /// The file that now has what the program printed.
    updated: Option<PathBuf>,
}

impl Test {
    /// Builds the job and runs its cases, one after the other.
    ///
    /// # Errors
    /// [`CliError`]
    pub(in crate::cli) async fn run(self, environment: &Environment) -> Result<ExitCode, CliError> {
        let project = Project::open(&self.dir)?;
        if project.tables.test.is_empty() {
            return Err(ProjectError::NoCases(project.shown(MANIFEST)).into());
        }
        let is_wanted = |case: &&TestCase| self.filter.as_ref().is_none_or(|text| case.name.contains(text));
        let cases: Vec<_> = project.tables.test.iter().filter(is_wanted).collect();
        if cases.is_empty() {
            return Err(ProjectError::NoMatchingCase(self.filter.unwrap_or_default()).into());
        }
        let script = script_of(&project, environment)?;
        if !self.no_build && script.is_none() {
            build(&project, environment).await?.report(&project);
        }
        let mut reports = Vec::new();
        for case in cases {
            let report = run_case(&project, script.as_ref(), case, self.update).await?;
            if !self.json {
                output::print(report.to_string().as_bytes())?;
            }
            reports.push(report);
        }
        let failed = reports.iter().filter(|report| !report.failures.is_empty()).count();
        let passed = reports.len() - failed;
        if self.json {
            let cases: Vec<_> = reports.iter().map(Report::to_json).collect();
            output::print_json(&json!({"passed": passed, "failed": failed, "cases": cases}))?;
        } else {
            output::print(format!("{passed} passed, {failed} failed\n").as_bytes())?;
        }
        Ok(ExitCode::from(if failed == 0 { 0 } else { CASES_FAILED }))
    }
}

/// Runs a case as `capstan run` does, in a process of its own, and compares what it did with what is expected.
async fn run_case(
    project: &Project,
    script: Option<&Script>,
    case: &TestCase,
    update: bool,
) -> Result<Report, CliError> {
    let mut command = Command::new(std::env::current_exe().map_err(CliError::Startup)?);
    // No daemon takes part, whatever the environment says.
    command
        .env_remove("CAPSTAN_HOST")
        .args(run_args(project, script, case))
        .current_dir(&project.path)
        .kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let stdin = match (&case.stdin, &case.stdin_file) {
        (Some(text), _) => Some(text.clone().into_bytes()),
        (None, Some(file)) => Some(project.read(file)?),
        (None, None) => None,
    };
    if let Some(bytes) = stdin {
        command.stdin(file_with(&bytes).map_err(CliError::Startup)?);
    }
    let start = Instant::now();
    let child = command.spawn().map_err(CliError::Startup)?;
    let finished = child.wait_with_output().await.map_err(CliError::Startup)?;
    let seconds = start.elapsed().as_secs_f64();
    let stderr = String::from_utf8_lossy(&finished.stderr);

    let mut failures = Vec::new();
    let exit_code = finished.status.code();
    if exit_code != Some(case.exit_code.into()) {
        let code = exit_code.map_or_else(|| "none".to_owned(), |code| code.to_string());
        failures.push(format!("the exit code is {code}, and {} was expected\n", case.exit_code));
    }
    let mut updated = None;
    let expected = match (&case.stdout, &case.stdout_file) {
        (Some(text), _) => Some(text.clone().into_bytes()),
        (None, Some(file)) if update && failures.is_empty() => {
            // A file that does not exist yet is created.
            if project.read(file).ok().as_ref() != Some(&finished.stdout) {
                project.write(file, &finished.stdout)?;
                updated = Some(file.clone());
            }
            None
        }
        (None, Some(file)) => Some(project.read(file)?),
        (None, None) => None,
    };
    if let Some(expected) = expected.filter(|expected| *expected != finished.stdout) {
        failures.push(diff::describe(&expected, &finished.stdout));
    }
    if let Some(text) = case.stderr_contains.as_ref().filter(|text| !stderr.contains(text.as_str())) {
        failures.push(format!("stderr does not contain {text:?}\n"));
    }
    if !failures.is_empty() && !stderr.trim().is_empty() {
        failures.push(format!("stderr was:\n{}\n", stderr.trim_end()));
    }
    Ok(Report { name: case.name.clone(), seconds, exit_code, failures, updated })
}

/// Returns the command line for a case.
fn run_args(project: &Project, script: Option<&Script>, case: &TestCase) -> Vec<OsString> {
    let mut args: Vec<OsString> = vec!["run".into(), "--manifest".into(), MANIFEST.into()];
    if let Some(timeout) = case.timeout {
        args.extend(["--timeout".into(), timeout.as_secs_f64().to_string().into()]);
    }
    for (name, value) in &case.env {
        args.extend(["--env".into(), format!("{name}={value}").into()]);
    }
    if let Some(directory) = script.and_then(|script| script.directory.as_ref()) {
        args.extend(["--app".into(), directory.into()]);
    }
    // A path with a slash is a file, whatever its name.
    let program = script.map_or_else(|| project.output(), |script| script.main.clone());
    args.extend(["--".into(), Path::new(".").join(program).into_os_string()]);
    args.extend(case.args.iter().map(OsString::from));
    args
}

/// Returns an unnamed file with this content, at its start. A guest reads a stdin that is a file.
fn file_with(bytes: &[u8]) -> std::io::Result<std::fs::File> {
    use std::io::{Seek as _, Write as _};
    let mut file = tempfile::tempfile()?;
    file.write_all(bytes)?;
    file.rewind()?;
    Ok(file)
}

impl Report {
    fn to_json(&self) -> Value {
        json!({
            "name": self.name, "passed": self.failures.is_empty(), "seconds": self.seconds,
            "exit_code": self.exit_code, "failures": self.failures, "updated": self.updated,
        })
    }
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let verdict = if self.failures.is_empty() { "ok" } else { "FAILED" };
        write!(f, "{verdict:<7} {} ({})", self.name, format::seconds(self.seconds))?;
        if let Some(file) = &self.updated {
            write!(f, ", updated {}", file.display())?;
        }
        writeln!(f)?;
        for line in self.failures.iter().flat_map(|failure| failure.lines()) {
            writeln!(f, "        {line}")?;
        }
        Ok(())
    }
}
