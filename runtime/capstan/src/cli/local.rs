//! `capstan run FILE.wasm` without a daemon: one program and one job in the engine and the sandbox of the daemon, in this process.

use std::fmt::Display;
use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use capstan_confinement::Mode;
use capstan_core::feature::Feature;
use capstan_core::http::Scheme;
use capstan_core::limits::Limits;
use capstan_core::manifest::Manifest;
use capstan_core::mount::Mount;
use capstan_core::outcome::{CancelledBy, OutputStream};
use capstan_core::policy::{Ceiling, HttpRule};
use capstan_core::stream::{Sink, Source, pipe};
use capstan_engine::engine::{self, Engine};
use capstan_engine::handler::{Handler, HandlerInfo, Terminals};
use capstan_engine::job::{Job, JobEnd, JobOptions};
use capstan_engine::tasks::Tasks;
use capstan_sandbox::{CompileLimits, LoadError, Metering, Resolver, Sandbox, TrustedRoots};
use capstan_store::data::SqliteDataStore;
use capstan_store::{Artifacts, ProgramSummary};

use super::error::CliError;
use super::interrupt::Interrupt;
use super::job_spec::JobSpec;
use super::program::ProgramFile;
use super::run_report::RunReport;
use super::stdin::GuestStdin;
use super::stream_threads::{self, CopyThread};
use super::upload::Progress;
use super::{output, paths, program};

/// How a program is compiled in process.
pub(super) struct LocalCompile {
    /// The most memory for a program of 1 MiB; see [`CompileLimits::memory`]. `None` is no limit.
    pub(super) memory: Option<u64>,
    /// Where its code is kept.
    pub(super) artifacts: Option<Artifacts>,
}

/// A program that runs in process.
#[derive(Debug)]
pub(super) struct LocalProgram {
    pub(super) file: PathBuf,
    /// The name of its handler.
    pub(super) name: String,
    pub(super) manifest: Manifest,
}

impl LocalProgram {
    /// Returns the program in `file`, whose manifest says only its name.
    pub(super) fn of_file(file: &Path) -> Self {
        let manifest = Manifest { argv0: Some(program::argv0(file)), ..Manifest::default() };
        Self { file: file.to_owned(), name: program::handler_name(file), manifest }
    }

    /// Returns the program in `file` with this manifest, whose name is that of its handler.
    pub(super) fn with_manifest(file: &Path, mut manifest: Manifest) -> Self {
        let name = manifest.name.clone().unwrap_or_else(|| program::handler_name(file));
        manifest.argv0 = manifest.argv0.or_else(|| manifest.name.clone());
        Self { file: file.to_owned(), name, manifest }
    }
}

/// Runs `program`. The user is also the operator, so the manifest and the requested policy can raise limits as well as lower them. Only the user
/// grants access to the network; a manifest that asks for it is refused without that.
///
/// # Errors
/// [`CliError`]
pub(super) async fn run(
    LocalProgram { file, name, mut manifest }: LocalProgram,
    mut spec: JobSpec,
    mounts: Vec<Mount>,
    stdin: GuestStdin,
    compile: LocalCompile,
    interrupt: &mut Interrupt,
) -> Result<RunReport, CliError> {
    let JobSpec { policy, concurrency_key, .. } = &spec;
    if policy.mounts.is_some() || policy.pass_env.is_some() || policy.secrets.is_some() || concurrency_key.is_some() {
        return Err(CliError::NeedsDaemon);
    }
    let file = &*file;
    let ceiling = Limits::default().overridden_by(&manifest.policy).overridden_by(&spec.policy);
    let mut features = Feature::allowed_by_default();
    features.extend(spec.policy.features.take().into_iter().flatten());
    features.extend(manifest.policy.features.take().into_iter().flatten());
    let scratch = spec.policy.scratch.or(manifest.policy.scratch);
    manifest.policy.features = Some(features.clone());
    let metering = Metering::for_limit(ceiling.fuel);
    let opened = ProgramFile::open(file)?;
    let LocalCompile { memory, artifacts } = compile;
    let compile = CompileLimits { memory: memory.unwrap_or(u64::MAX), ..CompileLimits::UNLIMITED };
    let compiler = std::env::current_exe().map_err(CliError::Startup)?;
    let config = capstan_sandbox::Config {
        ceiling,
        runs: 1,
        stack: capstan_sandbox::DEFAULT_STACK,
        compile,
        compiler,
        confine: Mode::default(),
        artifacts: artifacts.clone(),
        tasks: Tasks::default(),
        resolver: Resolver::default(),
        roots: roots(spec.policy.http.as_deref())?,
    };
    let sandbox = Sandbox::new(config).map_err(|error| CliError::Program(error.to_string()))?;
    let program_error = |reason: &dyn Display| CliError::Program(format!("{}: {reason}", file.display()));

    let loader = Loader { sandbox: &sandbox, artifacts, manifest, metering };
    let loaded = tokio::select! {
        loaded = loader.load(file, opened, &name) => loaded?,
        () = interrupt.received() => return Ok(RunReport::stopped(None, &name)),
    };
    let handler: Arc<dyn Handler> = loaded.map_err(|error| program_error(&error))?;

    let network = spec.policy.network.clone().unwrap_or_default();
    let http = spec.policy.http.clone().unwrap_or_default();
    let mut ceiling = Ceiling { network, http, features, ..Ceiling::with_limits(ceiling) };
    // Removed with its contents when this function returns.
    let _scratch = match scratch {
        Some(bytes) if bytes > 0 => {
            let (temp_dir, dir) = paths::scratch_dir()?;
            (ceiling.scratch, ceiling.scratch_folder) = (bytes, Some(dir));
            Some(temp_dir)
        }
        _ => None,
    };
    let engine = Engine::new(engine::Config { ceiling, runs: 1, queue: 0 });
    engine
        .set_data_store(Arc::new(SqliteDataStore::in_memory().map_err(|error| CliError::Program(error.to_string()))?));
    engine.register(&name, handler).map_err(|error| program_error(&error))?;
    let (caller, streams) = stream_pipes();
    let terminals = Terminals {
        stdin: matches!(stdin, GuestStdin::Inherited) && io::stdin().is_terminal(),
        stdout: io::stdout().is_terminal(),
        stderr: io::stderr().is_terminal(),
    };
    let options = JobOptions { policy: spec.policy, mounts, terminals, invoke: spec.invoke, ..JobOptions::default() };
    let job = engine.job(&name).map_err(|error| program_error(&error))?.args(spec.args).env(&spec.env).options(options);
    let job = job.stdin(streams.stdin).stdout(streams.stdout).stderr(streams.stderr).build();
    let job = job.map_err(|error| program_error(&error))?;
    job.start().map_err(|error| program_error(&error))?;
    let end = caller.pass_through(stdin, &job, interrupt).await?;
    let id = Some(job.id().to_string());
    Ok(match end {
        Some(end) => {
            let JobEnd { outcome, error, usage, .. } = Arc::unwrap_or_clone(end);
            RunReport { error: error.map(Into::into), ..RunReport::new(id, &name, outcome, Some(usage)) }
        }
        None => RunReport::stopped(id, &name),
    })
}

/// Returns the certificates that this machine trusts, or those in `SSL_CERT_FILE` and `SSL_CERT_DIR`, if a rule needs them.
///
/// # Errors
/// [`CliError::Startup`] if there are none.
fn roots(rules: Option<&[HttpRule]>) -> Result<TrustedRoots, CliError> {
    if !rules.unwrap_or_default().iter().any(|rule| rule.scheme == Scheme::Https) {
        return Ok(TrustedRoots::default());
    }
    TrustedRoots::new(rustls_native_certs::load_native_certs().certs)
        .map_err(|error| CliError::Startup(io::Error::other(format!("the certificates of this machine: {error}"))))
}

/// Loads the program of a run.
struct Loader<'a> {
    sandbox: &'a Sandbox,
    artifacts: Option<Artifacts>,
    manifest: Manifest,
    metering: Metering,
}

impl Loader<'_> {
    /// Loads the program in `path`, which was opened as `file` unless it is stdin. Does not read it if the cache knows the program in the file and
    /// has its code. Cancel-safe.
    async fn load(
        self,
        path: &Path,
        file: Option<ProgramFile>,
        name: &str,
    ) -> Result<Result<Arc<dyn Handler>, LoadError>, CliError> {
        let Self { sandbox, artifacts, manifest, metering } = self;
        let known = || artifacts.as_ref()?.program_in(file.as_ref()?.identity.as_ref()?);
        if let Some(program) = known()
            && let Some(loaded) = sandbox.load_stored(program, manifest.clone(), metering).await.transpose()
        {
            return Ok(loaded);
        }
        let (wasm, identity) = match file {
            Some(file) => file.read()?,
            None => (program::read(path)?, None),
        };
        let size = wasm.len() as u64;
        let progress = Progress::compiling(name);
        progress.set_functions(|| capstan_sandbox::function_count(&wasm));
        let loaded = sandbox.load(wasm, manifest, metering).await;
        progress.finish();
        if let (Ok(handler), Some(artifacts), Some(identity)) = (&loaded, artifacts, identity)
            && let HandlerInfo { digest: Some(digest), kind, features: Some(features), .. } = handler.info()
        {
            artifacts.record_program_in(&identity, &ProgramSummary { digest, kind, size, features });
        }
        Ok(loaded)
    }
}

/// The job's ends of its stdin, stdout and stderr.
struct JobStreams {
    stdin: Source,
    stdout: Sink,
    stderr: Sink,
}

/// This process's ends of the job's stdin, stdout and stderr.
struct CallerStreams {
    stdin: Sink,
    stdout: Source,
    stderr: Source,
}

/// Creates a pipe for each stream of a job.
fn stream_pipes() -> (CallerStreams, JobStreams) {
    let (stdin_sink, stdin) = pipe(stream_threads::CAPACITY);
    let (stdout, stdout_source) = pipe(stream_threads::CAPACITY);
    let (stderr, stderr_source) = pipe(stream_threads::CAPACITY);
    let caller = CallerStreams { stdin: stdin_sink, stdout: stdout_source, stderr: stderr_source };
    (caller, JobStreams { stdin, stdout, stderr })
}

impl CallerStreams {
    /// Passes the streams of this process through until the job has ended and all of its output is written.
    ///
    /// Cancels the job if the user interrupts, if stdin cannot be read, or if the output cannot be written. Returns `None` if the user
    /// interrupts twice.
    async fn pass_through(
        self,
        stdin: GuestStdin,
        job: &Job,
        interrupt: &mut Interrupt,
    ) -> Result<Option<Arc<JobEnd>>, CliError> {
        let started = |thread: io::Result<CopyThread>| thread.map_err(CliError::Startup);
        let mut input = match stdin.into_file()? {
            Some(file) => Some(started(CopyThread::read(file, self.stdin))?),
            None => {
                drop(self.stdin);
                None
            }
        };
        let mut stdout = started(CopyThread::write(self.stdout, io::stdout()))?;
        let mut stderr = started(CopyThread::write(self.stderr, io::stderr()))?;
        let input = async {
            match &mut input {
                Some(input) => input.finished().await,
                None => Ok(()),
            }
        };
        let stdout = async { stdout.finished().await.map_err(output::output_error(OutputStream::Stdout)) };
        let stderr = async { stderr.finished().await.map_err(output::output_error(OutputStream::Stderr)) };
        let output = async { tokio::try_join!(stdout, stderr).map(drop) };
        tokio::pin!(input, output);
        let (mut is_reading_stdin, mut is_writing_output, mut is_interrupted) = (true, true, false);
        let mut failure = None;
        loop {
            tokio::select! {
                // The end of the job counts only after all output is written. An interrupted run does not wait for its output.
                end = job.wait(), if !is_writing_output || is_interrupted => return failure.map_or(Ok(Some(end)), Err),
                written = &mut output, if is_writing_output => {
                    is_writing_output = false;
                    failure = failure.or(written.err());
                }
                result = &mut input, if is_reading_stdin => {
                    is_reading_stdin = false;
                    failure = failure.or(result.err().map(CliError::Stdin));
                }
                () = interrupt.received() => {
                    if is_interrupted {
                        return Ok(None);
                    }
                    is_interrupted = true;
                }
            }
            if is_interrupted || failure.is_some() {
                job.cancel(CancelledBy::Client);
            }
        }
    }
}
