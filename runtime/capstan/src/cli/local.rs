//! A run in process: the same engine and the same sandbox as the daemon's, for one program and one job.

use std::fmt::Display;
use std::io;
use std::path::Path;
use std::sync::Arc;

use capstan_confinement::Mode;
use capstan_core::limits::Limits;
use capstan_core::manifest::Manifest;
use capstan_core::mount::Mount;
use capstan_core::outcome::{CancelledBy, OutputStream};
use capstan_core::policy::{Ceiling, PolicyRequest};
use capstan_core::stream::{PIPE_CAPACITY, Sink, Source, pipe};
use capstan_engine::engine::{self, Engine};
use capstan_engine::handler::Handler;
use capstan_engine::job::{Control, End, Job};
use capstan_engine::tasks::Tasks;
use capstan_sandbox::{CompileLimits, Metering, Resolver, Sandbox};

use super::error::CliError;
use super::exit_code::Ending;
use super::interrupt::Interrupt;
use super::run::Given;
use super::upload::Progress;
use super::{output, paths, program};

/// Runs the program in `file`; the user is the operator here, so what is asked for widens the limits as well as it narrows them.
///
/// # Errors
/// [`CliError`]
pub(super) async fn run(
    file: &Path,
    mut given: Given,
    mounts: Vec<Mount>,
    interrupt: &mut Interrupt,
) -> Result<Ending, CliError> {
    let Given { asked, concurrency_key, .. } = &given;
    if asked.mounts.is_some() || asked.pass_env.is_some() || asked.secrets.is_some() || concurrency_key.is_some() {
        return Err(CliError::NoDaemonToGrant);
    }
    let name = handler_name(file);
    let ceiling = Limits::default().overridden_by(&given.asked);
    let features = given.asked.features.take();
    let policy = PolicyRequest { features: features.clone(), ..PolicyRequest::EMPTY };
    let manifest = Manifest { policy, argv0: Some(program::argv0(file)), ..Manifest::default() };
    let metering = Metering::for_limit(ceiling.fuel);
    let wasm = program::read(file)?;
    let compiler = std::env::current_exe().map_err(CliError::Runtime)?;
    let config = capstan_sandbox::Config {
        ceiling,
        runs: 1,
        stack: capstan_sandbox::DEFAULT_STACK,
        compile: CompileLimits::default(),
        compiler,
        confine: Mode::default(),
        artifacts: None,
        tasks: Tasks::default(),
        resolver: Resolver::default(),
    };
    let sandbox = Sandbox::new(config).map_err(|error| CliError::Program(error.to_string()))?;
    let refuse = |why: &dyn Display| CliError::Program(format!("{}: {why}", file.display()));

    let progress = Progress::compiling(&name);
    let loaded = tokio::select! {
        loaded = sandbox.load(wasm, manifest, metering) => Some(loaded),
        () = interrupt.received() => None,
    };
    progress.finish();
    let Some(loaded) = loaded else { return Ok(Ending::stopped(None, &name)) };
    let handler: Arc<dyn Handler> = loaded.map_err(|error| refuse(&error))?;

    let network = given.asked.network.clone().unwrap_or_default();
    let mut ceiling = Ceiling { network, features: features.unwrap_or_default(), ..Ceiling::with_limits(ceiling) };
    // It is gone with all that is in it when this returns.
    let _scratch = match given.asked.scratch {
        Some(bytes) if bytes > 0 => {
            let (kept, folder) = paths::scratch_folder()?;
            (ceiling.scratch, ceiling.scratch_folder) = (bytes, Some(folder));
            Some(kept)
        }
        _ => None,
    };
    let engine = Engine::new(engine::Config { ceiling, runs: 1, queue: 0 });
    engine.register(&name, handler).map_err(|error| refuse(&error))?;
    let (ends, streams) = Ends::new();
    let control = Control { asked: given.asked, mounts, ..Control::default() };
    let job = engine.job(&name).map_err(|error| refuse(&error))?.args(given.args).env(&given.env).control(control);
    let job = job.stdin(streams.stdin).stdout(streams.stdout).stderr(streams.stderr).build();
    let job = job.map_err(|error| refuse(&error))?;
    job.start().map_err(|error| refuse(&error))?;
    let end = ends.pass_through(&job, interrupt).await?;
    let id = Some(job.id().to_string());
    Ok(match end {
        Some(End { outcome, error, usage, .. }) => {
            Ending { error: error.map(Into::into), ..Ending::new(id, &name, outcome, Some(usage)) }
        }
        None => Ending::stopped(id, &name),
    })
}

/// The ends of a job's streams that the job has.
struct Streams {
    stdin: Source,
    stdout: Sink,
    stderr: Sink,
}

/// The ends of a job's streams that this process has.
struct Ends {
    stdin: Sink,
    stdout: Source,
    stderr: Source,
}

impl Ends {
    fn new() -> (Self, Streams) {
        let (stdin_sink, stdin) = pipe(PIPE_CAPACITY);
        let (stdout, stdout_source) = pipe(PIPE_CAPACITY);
        let (stderr, stderr_source) = pipe(PIPE_CAPACITY);
        let ends = Self { stdin: stdin_sink, stdout: stdout_source, stderr: stderr_source };
        (ends, Streams { stdin, stdout, stderr })
    }

    /// Passes the process's own streams through until the job has ended and all of its output is written. Cancels the job when the
    /// user interrupts, when stdin cannot be read, and when nobody reads the output any more; `None` where the user interrupts twice.
    async fn pass_through(self, job: &Job, interrupt: &mut Interrupt) -> Result<Option<End>, CliError> {
        let input = output::forward(tokio::io::stdin(), self.stdin);
        let stdout =
            async { output::forward(self.stdout, tokio::io::stdout()).await.map_err(output::to(OutputStream::Stdout)) };
        let stderr =
            async { output::forward(self.stderr, tokio::io::stderr()).await.map_err(output::to(OutputStream::Stderr)) };
        let output = async { tokio::try_join!(stdout, stderr).map(drop) };
        tokio::pin!(input, output);
        let (mut feeding, mut writing, mut interrupted) = (true, true, false);
        let mut failure = None;
        loop {
            tokio::select! {
                // Without output to wait for, the end of the job is the end.
                end = job.wait(), if !writing || interrupted => return failure.map_or(Ok(Some(end)), Err),
                written = &mut output, if writing => {
                    writing = false;
                    failure = failure.or(written.err());
                }
                result = &mut input, if feeding => {
                    feeding = false;
                    // That the guest does not read on is its own affair.
                    let error = result.err().filter(|error| error.kind() != io::ErrorKind::BrokenPipe);
                    failure = failure.or(error.map(CliError::Stdin));
                }
                () = interrupt.received() => {
                    if interrupted {
                        return Ok(None);
                    }
                    interrupted = true;
                }
            }
            if interrupted || failure.is_some() {
                job.cancel(CancelledBy::Client);
            }
        }
    }
}

/// The file's name without its ending, as far as a handler may be called so.
fn handler_name(file: &Path) -> String {
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    let name = stem.replace(|c: char| !(c.is_ascii_alphanumeric() || "._-".contains(c)), "-");
    let name = name.trim_start_matches(|c: char| !c.is_ascii_alphanumeric());
    let name = &name[..name.len().min(engine::MAX_NAME)];
    if name.is_empty() { "program".to_owned() } else { name.to_owned() }
}

#[cfg(test)]
mod tests {
    use capstan_engine::engine::Name;

    use super::*;

    #[test]
    fn every_file_gives_a_name_that_a_handler_may_have() {
        for (file, expected) in
            [("/x/wc.wasm", "wc"), ("a b.wasm", "a-b"), ("..", "program"), ("-ü.wasm", "program"), (".a.wasm", "a")]
        {
            assert_eq!(handler_name(Path::new(file)), expected);
            assert!(Name::new(expected).is_ok());
        }
        assert!(Name::new(&handler_name(Path::new(&"x".repeat(300)))).is_ok());
    }
}
