//! `Boot`: the start of the daemon. It takes the lock, binds the listeners, creates the sandbox, restores the handlers and opens the gate.

mod error;
mod jobs;

use std::io::{self, Write as _};
use std::path::Path;
use std::sync::{Arc, OnceLock};

use cap_std::fs::Dir;
use capstan_api::{AccessLog, Api};
use capstan_core::outcome::Outcome;
use capstan_core::stream::{self, PIPE_CAPACITY};
use capstan_engine::engine::{self, Engine};
use capstan_engine::events::Events;
use capstan_engine::history::MemoryHistory;
use capstan_engine::job_store::JobStoreError;
use capstan_engine::queue::Queue;
use capstan_engine::scheduler::Scheduler;
use capstan_engine::tasks::Tasks;
use capstan_listen::listenbuffer::{Gate, GateState, StartupPhase};
use capstan_listen::listener::InheritedSockets;
use capstan_listen::tls;
use capstan_sandbox::{Resolver, Sandbox, TrustedRoots};
use capstan_store::{Artifacts, HandlerFiles, Programs};
use tokio::io::AsyncReadExt as _;

pub(super) use self::error::BootError;
use self::jobs::{open_data_store, open_queue};
use super::ceiling::ceiling;
use super::confinement::Confinement;
use super::notify::Notifier;
use super::settings::Settings;
use super::webhooks::webhooks;
use super::{files, log, outbound, procfs};
use crate::builtins::{self, DaemonInfo, DaemonState};
use crate::handler_store::LocalHandlerStore;

/// The program of the compilers: this program. The name stays valid if an upgrade replaces the file.
const COMPILER: &str = "/proc/self/exe";

/// A daemon that starts or runs. The shutdown of its engine stops everything, and releases the lock on the data directory last.
#[derive(Debug)]
pub(super) struct Boot {
    settings: Settings,
    notifier: Notifier,
    confinement: Confinement,
    tasks: Tasks,
    state: Arc<DaemonState>,
    data: Dir,
    /// What was restored. Set once.
    stored: OnceLock<Stored>,
    /// The queue of durable jobs. Set once.
    queue: OnceLock<Queue>,
}

/// The stored handlers and their compiled code.
#[derive(Clone, Debug)]
struct Stored {
    handlers: LocalHandlerStore,
    artifacts: Artifacts,
    /// The key of the cursors in lists of jobs.
    cursor_key: [u8; 32],
}

impl Boot {
    /// Loads the TLS files, locks the data directory, and creates the engine and the API.
    ///
    /// # Errors
    /// [`BootError`]
    pub(super) fn new(
        settings: Settings,
        inherited: InheritedSockets,
        notifier: Notifier,
        confinement: Confinement,
        tasks: Tasks,
        access_log: Option<AccessLog>,
    ) -> Result<Self, BootError> {
        // First, because a daemon with invalid keys must not disturb one that runs.
        let tls = tls::Server::load(&settings.tls, files::read_tls)?;
        if let Some(tls) = &tls {
            tracing::info!(mutual = tls.is_mutual(), not_after = %tls.not_after(), "TCP connections use TLS");
        }
        let path = &settings.data;
        let data = files::open_data(path).map_err(|source| BootError::Data { path: path.clone(), source })?;
        capstan_store::check_data_dir(&data).map_err(|source| BootError::Store { path: path.clone(), source })?;
        let lock =
            capstan_store::lock_data_dir(&data).map_err(|source| BootError::Lock { path: path.clone(), source })?;
        warn_of_system_limits(&settings);
        let mut ceiling = ceiling(&settings)?;
        let webhooks = Arc::new(webhooks(&settings)?);
        let scratch = capstan_sandbox::scratch_folder(&data);
        ceiling.scratch_folder = Some(scratch.map_err(|source| BootError::Scratch { path: path.clone(), source })?);
        let config = engine::Config { ceiling, runs: settings.runs, queue: settings.queue };
        let history = Arc::new(MemoryHistory::new(settings.history));
        let engine = Engine::with(config, history, Events::new(settings.events));
        // The first hook runs last, so the lock is held until everything that uses the directory has stopped.
        engine.on_shutdown("lock", async move { drop(lock) }).expect("the engine is not shared yet");
        let gate = Gate::new();
        let api = capstan_api::Settings {
            max_upload: settings.upload,
            max_files: settings.files.archive(),
            spill_folder: path.clone(),
            debug: settings.debug.then_some(procfs::process_numbers as capstan_api::ProcessNumbers),
            tasks: tasks.clone(),
            policy: settings.startup_policy,
            http_limits: settings.http,
            allowed_hosts: settings.allowed_hosts.clone().into(),
            access_log,
        };
        let state = Arc::new(DaemonState {
            api: Arc::new(Api::new(engine.clone(), gate.clone(), api)),
            engine,
            gate,
            listening: settings.listening,
            tls,
            inherited,
            held_at_opening: OnceLock::new(),
            sandbox: OnceLock::new(),
            confined_compiler: OnceLock::new(),
            webhooks,
            info: DaemonInfo {
                data: path.display().to_string(),
                runs: settings.runs,
                runs_ceiling: settings.runs_ceiling,
                stack: settings.stack,
                compile: settings.compile,
                upload: settings.upload,
                confine: settings.confine,
                confined: confinement.daemon().clone(),
                started: jiff::Timestamp::now(),
                log_lines_dropped: log::dropped_lines,
            },
        });
        let (stored, queue) = (OnceLock::new(), OnceLock::new());
        Ok(Self { settings, notifier, confinement, tasks, state, data, stored, queue })
    }

    /// Returns the engine.
    pub(super) fn engine(&self) -> &Engine {
        &self.state.engine
    }

    /// Returns the settings that the daemon was started with.
    pub(super) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Returns the confinement of the daemon.
    pub(super) fn confinement(&self) -> &Confinement {
        &self.confinement
    }

    /// Returns the TLS of the TCP listeners, if there is any.
    pub(super) fn tls(&self) -> Option<&Arc<tls::Server>> {
        self.state.tls.as_ref()
    }

    /// Waits until the start has succeeded. Never returns if it fails. Cancel-safe.
    pub(super) async fn wait_until_ready(&self) {
        if self.state.gate.opened().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Returns whether the start has succeeded, so that the API serves requests.
    pub(super) fn is_ready(&self) -> bool {
        self.state.gate.state() == GateState::Open
    }

    /// Removes unused files from the data directory, after the start and whenever files become unused. Never returns. Dropping the future does
    /// not stop a removal that has begun.
    pub(super) async fn clean_up(&self) {
        if let Some(Stored { handlers, artifacts, .. }) = self.stored.get() {
            handlers.clean_up(artifacts.clone()).await;
            handlers.collect_files().await;
        }
    }

    /// Makes the gate fail, and rejects all waiting clients with `reason`. Does nothing if the gate is open.
    pub(super) fn fail(&self, reason: &str) {
        self.state.gate.fail(reason);
    }

    /// Runs the start, with its deadline as the limit. If it is cancelled or fails, shut down the engine to undo what was done.
    ///
    /// # Errors
    /// [`BootError`]
    pub(super) async fn run(&self) -> Result<(), BootError> {
        let deadline = self.settings.boot_deadline;
        tokio::time::timeout(deadline, self.start()).await.unwrap_or_else(|_| {
            let phase = match self.state.gate.state() {
                GateState::Shut(phase) => phase.to_string(),
                GateState::Open | GateState::Failed(_) => StartupPhase::Opening.to_string(),
            };
            Err(BootError::Deadline { deadline, phase })
        })
    }

    async fn start(&self) -> Result<(), BootError> {
        set_phase(&self.state.gate, &self.notifier, StartupPhase::Binding);
        let install = self.engine().install(builtins::all(&self.state));
        install.map_err(|error| builtin_error("install", &error))?;
        for address in self.listen().await?.lines() {
            match address.strip_prefix(builtins::SERVE) {
                None => print_line(&format!("listening on {address}")),
                Some(address) => print_line(&format!("serving routes on {}", address.trim_start())),
            }
        }
        let (stored, queue) = tokio::try_join!(self.restore_handlers(), self.open_queue())?;
        if let Err(error) = queue.continue_event_numbers().await {
            tracing::error!("the numbers of events start again: {error}");
        }
        self.state.api.set_queue(queue.clone(), &stored.cursor_key);
        let scheduler = Arc::new(Scheduler::new(queue.clone(), self.settings.job_limits.clone()));
        stored.handlers.reconcile_schedules(&scheduler).await;
        self.state.api.set_scheduler(scheduler.clone());
        self.queue.set(queue.clone()).expect("the daemon starts only once");
        self.state.sandbox.set(stored.handlers.sandbox().clone()).expect("the daemon starts only once");
        self.state.api.set_handler_store(Arc::new(stored.handlers.clone()));
        self.stored.set(stored).expect("the daemon starts only once");
        set_phase(&self.state.gate, &self.notifier, StartupPhase::Opening);
        queue.start();
        scheduler.start();
        self.open_gate().await?;
        self.notifier.ready();
        print_line("ready");
        tracing::info!(data = %self.settings.data.display(), "ready");
        Ok(())
    }

    /// Starts the job `serveapi` and waits until it listens. Returns the addresses, one per line.
    async fn listen(&self) -> Result<String, BootError> {
        let (stdout, mut printed) = stream::pipe(PIPE_CAPACITY);
        let (stderr, mut errors) = stream::pipe(PIPE_CAPACITY);
        let job = self.engine().job("serveapi").map_err(|error| builtin_error("serveapi", &error))?;
        let serve =
            std::iter::once(builtins::SERVE.to_owned()).chain(self.settings.serve.iter().map(ToString::to_string));
        let hosts = self.settings.hosts.iter().map(ToString::to_string).chain(serve);
        let job = job.args(hosts).stdout(stdout).stderr(stderr).build();
        let job = job.map_err(|error| builtin_error("serveapi", &error))?;
        job.start().map_err(|error| builtin_error("serveapi", &error))?;
        let (mut addresses, mut reason) = (String::new(), String::new());
        let both = tokio::try_join!(printed.read_to_string(&mut addresses), errors.read_to_string(&mut reason));
        both.map_err(|error| builtin_error("serveapi", &error))?;
        if reason.is_empty() {
            return Ok(addresses);
        }
        let reason = reason.trim_end().to_owned();
        Err(BootError::Listen { reason, exit_code: job.wait().await.outcome.exit_code() })
    }

    /// Waits until the store of durable jobs takes no changes until it is opened again. Cancel-safe.
    pub(super) async fn job_store_failed(&self) -> JobStoreError {
        match self.queue.get() {
            Some(queue) => queue.failed().await,
            None => std::future::pending().await,
        }
    }

    /// Opens the store of durable jobs, and that of what handlers keep.
    async fn open_queue(&self) -> Result<Queue, BootError> {
        let path = self.settings.data.clone();
        let data = self.data.try_clone().map_err(|source| BootError::Data { path, source })?;
        let (settings, engine) = (self.settings.clone(), self.engine().clone());
        let webhooks = self.state.webhooks.clone();
        // This blocks, so it runs on another thread.
        let opened = tokio::task::spawn_blocking(move || {
            // After the store of jobs, which refuses unsuitable file systems.
            let queue = open_queue(&data, &settings, engine.clone(), webhooks)?;
            open_data_store(&data, &settings, &engine)?;
            Ok(queue)
        })
        .await;
        opened.map_err(|error| builtin_error("initialise", &error))?
    }

    /// Creates the sandbox and registers the stored handlers.
    async fn restore_handlers(&self) -> Result<Stored, BootError> {
        let path = self.settings.data.clone();
        let data = self.data.try_clone().map_err(|source| BootError::Data { path: path.clone(), source })?;
        let store_error = {
            let path = path.clone();
            move |source| BootError::Store { path: path.clone(), source }
        };
        let mut config = capstan_sandbox::Config {
            ceiling: self.settings.limits,
            runs: self.settings.runs,
            stack: self.settings.stack,
            compile: self.settings.compile,
            compiler: COMPILER.into(),
            confine: self.settings.confine,
            artifacts: None,
            tasks: self.tasks.clone(),
            resolver: Resolver::default(),
            roots: TrustedRoots::default(),
        };
        let (engine, gate, notifier) = (self.engine().clone(), self.state.gate.clone(), self.notifier.clone());
        let files_limits = self.settings.files;
        let settings = self.settings.clone();
        // This blocks, so it runs on another thread: signals and the deadline must work in the meantime.
        let built = tokio::task::spawn_blocking(move || {
            set_phase(&gate, &notifier, StartupPhase::Loading);
            let artifacts = Artifacts::open(&data).map_err(&store_error)?;
            // Not with the store of jobs at the same time: both keys come from the one that this has created.
            let cursor_key = capstan_store::cursor_key(&data).map_err(&store_error)?;
            config.artifacts = Some(artifacts.clone());
            config.roots = outbound::roots(&settings)?;
            let sandbox = Sandbox::new(config)?;
            set_phase(&gate, &notifier, StartupPhase::Installing);
            let (programs, files) = (Programs::open(&data), HandlerFiles::open(&data));
            let (programs, files) = (programs.map_err(&store_error)?, files.map_err(&store_error)?);
            let handlers = LocalHandlerStore::new(engine, sandbox, programs, files, files_limits);
            let count = handlers.restore().map_err(|source| BootError::Handlers { path, source })?;
            tracing::info!(handlers = count, "restored the stored handlers");
            Ok(Stored { handlers, artifacts, cursor_key })
        });
        let (built, confined) = tokio::join!(built, self.check_compiler());
        confined?;
        built.map_err(|error| builtin_error("initialise", &error))?
    }

    /// Starts a compiler that reports its confinement, and logs it with that of the daemon.
    async fn check_compiler(&self) -> Result<(), BootError> {
        let Settings { compile, confine, .. } = self.settings;
        let compiler = capstan_sandbox::confined_compiler(Path::new(COMPILER), compile, confine).await;
        let compiler = compiler.map_err(BootError::Compiler)?;
        self.confinement.log(&compiler);
        self.state.confined_compiler.set(compiler).expect("the compiler is checked only once");
        Ok(())
    }

    /// Opens the gate with the job `acceptconnections`.
    async fn open_gate(&self) -> Result<(), BootError> {
        let job = self.engine().job("acceptconnections").map_err(|error| builtin_error("acceptconnections", &error))?;
        let job = job.build().map_err(|error| builtin_error("acceptconnections", &error))?;
        job.start().map_err(|error| builtin_error("acceptconnections", &error))?;
        match job.wait().await.outcome.clone() {
            Outcome::SUCCESS => Ok(()),
            other => Err(builtin_error("acceptconnections", &other)),
        }
    }
}

/// Logs a warning for each setting that the kernel reduces, and for sockets that are open to everyone.
fn warn_of_system_limits(settings: &Settings) {
    if settings.runs < settings.runs_requested {
        let (asked, runs) = (settings.runs_requested, settings.runs);
        tracing::warn!(
            asked,
            runs,
            "limits.runs is reduced, because each run needs memory maps; raise vm.max_map_count for more"
        );
    }
    if let Some(most) = procfs::somaxconn().filter(|most| settings.listening.backlog > *most) {
        let asked = settings.listening.backlog;
        tracing::warn!(asked, most, "listen.backlog is reduced by the kernel; raise net.core.somaxconn for more");
    }
    if settings.listening.permissions.mode & 0o002 != 0 {
        tracing::warn!(
            "everyone on this machine may use the API, because listen.socket_mode lets others write to the sockets"
        );
    }
}

/// Sets the phase of the start, and reports it to the service manager.
fn set_phase(gate: &Gate, notifier: &Notifier, phase: StartupPhase) {
    gate.set_phase(phase);
    notifier.status(&format!("starting: {phase}"));
}

fn builtin_error(job: &'static str, reason: &dyn std::fmt::Display) -> BootError {
    BootError::Builtin { job, reason: reason.to_string() }
}

/// Prints a line on stdout. The reader may have closed it, so errors are ignored.
fn print_line(line: &str) {
    let mut stdout = io::stdout().lock();
    let _ = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
}
