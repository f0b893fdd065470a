//! `capstan dev`: compiles and runs a job again on each change of its files.

use std::borrow::Cow;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::{ExitCode, ExitStatus, Stdio};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

use super::build::build;
use super::error::ProjectError;
use super::folder::{MANIFEST, Project};
use super::watch::{BuiltFiles, Files, Watch};
use crate::cli::client::Client;
use crate::cli::environment::Environment;
use crate::cli::error::CliError;
use crate::cli::interrupt::Interrupt;
use crate::cli::{output, paths, push};

/// How long a run has to end after SIGINT. Then it is killed.
const GRACE: Duration = Duration::from_secs(5);

/// The command line of `capstan dev`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Dev {
    /// File that each run reads as its stdin [default: stdin is empty]
    #[arg(long, value_name = "FILE")]
    stdin: Option<PathBuf>,
    /// Directory of the job [default: the current one]
    #[arg(value_name = "DIR", default_value = ".", hide_default_value = true)]
    dir: PathBuf,
    /// Arguments of the program
    #[arg(last = true, value_name = "ARGS")]
    args: Vec<OsString>,
}

/// The daemon that gets the program.
#[derive(Debug)]
pub(in crate::cli) struct DevDaemon {
    pub(in crate::cli) client: Client,
    /// The options by which `capstan` finds it.
    pub(in crate::cli) options: Vec<OsString>,
}

/// A program that was built, with its manifest. An equal one is not run again.
#[derive(Debug, PartialEq)]
struct Program {
    name: String,
    /// The absolute path of the directory of the job.
    dir: PathBuf,
    /// The file in it.
    file: PathBuf,
    wasm: Bytes,
    manifest: Option<String>,
}

/// A session of `capstan dev`.
#[derive(Debug)]
struct Session<'a> {
    dev: &'a Dev,
    daemon: Option<&'a DevDaemon>,
    environment: &'a Environment,
    /// The last good program.
    program: Option<Rc<Program>>,
    /// The run of it, until it has ended.
    run: Option<Child>,
}

/// What interrupts the waiting for something else.
enum Event<T> {
    Ready(T),
    Interrupted,
}

impl Dev {
    /// Builds, pushes and runs until the user interrupts.
    ///
    /// # Errors
    /// [`CliError`]. A failed build is no error.
    pub(in crate::cli) async fn run(
        self,
        daemon: Option<DevDaemon>,
        environment: &Environment,
    ) -> Result<ExitCode, CliError> {
        let mut interrupt = Interrupt::listen()?;
        if let Some(file) = &self.stdin {
            paths::open(file)?;
        }
        let mut session = Session { dev: &self, daemon: daemon.as_ref(), environment, program: None, run: None };
        let result = session.watch(&mut interrupt).await;
        session.stop().await;
        result.map(|()| ExitCode::SUCCESS)
    }
}

impl Session<'_> {
    async fn watch(&mut self, interrupt: &mut Interrupt) -> Result<(), CliError> {
        let project = Project::open(&self.dev.dir)?;
        let mut watch = Watch::start(&project.path, &[project.output()])?;
        let mut built_files = BuiltFiles::default();
        loop {
            let before = watch.files()?;
            let built = build_program(&self.dev.dir, self.environment, self.daemon, self.program.clone());
            match self.during(built, interrupt).await {
                Event::Ready(Ok(Some(program))) => self.replace(program).await?,
                Event::Ready(Ok(None)) => {
                    output::print_note("the program is the same as before: waiting for changes");
                }
                Event::Ready(Err(error)) => self.report_failure(&error),
                Event::Interrupted => return Ok(()),
            }
            // A change during the build has already made a difference.
            let files = built_files.base(before, watch.files()?);
            match self.during(difference(&mut watch, &files), interrupt).await {
                Event::Ready(result) => result?,
                Event::Interrupted => return Ok(()),
            }
        }
    }

    /// Waits for `work`, and reports the end of the run meanwhile.
    async fn during<T>(&mut self, work: impl Future<Output = T>, interrupt: &mut Interrupt) -> Event<T> {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                result = &mut work => return Event::Ready(result),
                status = ended(&mut self.run) => self.report_end(status),
                () = interrupt.received() => return Event::Interrupted,
            }
        }
    }

    /// Ends the run, and starts the new program.
    async fn replace(&mut self, program: Program) -> Result<(), CliError> {
        self.stop().await;
        self.run = Some(self.start(&program)?);
        self.program = Some(program.into());
        Ok(())
    }

    /// Starts a run in a process of its own, as a user would.
    fn start(&self, program: &Program) -> Result<Child, CliError> {
        let mut command = Command::new(std::env::current_exe().map_err(CliError::Startup)?);
        command.stdin(Stdio::null()).kill_on_drop(true);
        if let Some(daemon) = self.daemon {
            command.args(&daemon.options);
        }
        command.arg("run");
        if let Some(file) = &self.dev.stdin {
            command.arg("--stdin").arg(file);
        }
        if self.daemon.is_some() {
            command.arg("--").arg(&program.name);
        } else {
            if program.manifest.is_some() {
                command.arg("--manifest").arg(program.dir.join(MANIFEST));
            }
            command.arg("--").arg(program.dir.join(&program.file));
        }
        command.args(&self.dev.args).spawn().map_err(CliError::Startup)
    }

    /// Ends the run, if there is one.
    async fn stop(&mut self) {
        let Some(mut run) = self.run.take() else { return };
        if let Some(pid) = run.id().and_then(|id| Pid::from_raw(id.cast_signed())) {
            // It fails only if the process has ended.
            let _ = kill_process(pid, Signal::INT);
        }
        if tokio::time::timeout(GRACE, run.wait()).await.is_err() {
            // As above.
            let _ = run.kill().await;
        }
    }

    fn report_end(&self, status: Option<ExitStatus>) {
        let name = self.program.as_ref().map_or("the program", |program| &program.name);
        match status.and_then(|status| status.code()) {
            Some(code) => output::print_note(format_args!("{name} exited with {code}: waiting for changes")),
            None => output::print_note(format_args!("{name} was killed: waiting for changes")),
        }
    }

    fn report_failure(&self, error: &CliError) {
        output::print_error(error);
        let what = if self.program.is_some() { "the last good program stays; " } else { "" };
        output::print_note(format_args!("{what}waiting for changes"));
    }
}

/// Builds the job, and pushes it to the daemon if there is one. The program that runs stays as it is. Returns `None` if the program is the
/// same as `last`.
async fn build_program(
    dir: &Path,
    environment: &Environment,
    daemon: Option<&DevDaemon>,
    last: Option<Rc<Program>>,
) -> Result<Option<Program>, CliError> {
    let project = Project::open(dir)?;
    let built = build(&project, environment).await?;
    built.report(&project);
    let wasm = project.read(&built.file)?.into();
    let manifest = project.daemon_manifest().map(Cow::into_owned);
    let program = Program { name: project.name(), dir: project.path, file: built.file, wasm, manifest };
    if last.as_deref() == Some(&program) {
        return Ok(None);
    }
    if let Some(daemon) = daemon {
        let manifest = program.manifest.clone().map(Bytes::from);
        let parts = push::Parts { wasm: Some(program.wasm.clone()), manifest, files: None };
        push::put(&daemon.client, &program.name, parts).await?;
        output::print_note(format_args!("pushed {}", program.name));
    }
    Ok(Some(program))
}

/// Waits until the files differ from `files`.
async fn difference(watch: &mut Watch, files: &Files) -> Result<(), ProjectError> {
    while watch.files()? == *files {
        watch.changed().await;
    }
    Ok(())
}

/// Waits for the end of the run, and forgets it. Never returns if there is none. Cancel-safe.
async fn ended(run: &mut Option<Child>) -> Option<ExitStatus> {
    match run {
        Some(child) => {
            let status = child.wait().await.ok();
            *run = None;
            status
        }
        None => std::future::pending().await,
    }
}
