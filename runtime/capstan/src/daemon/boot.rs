//! The start, in its order: lock, bind and listen, initialise, open the gate.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use cap_std::fs::Dir;
use capstan_api::Api;
use capstan_core::env::EnvError;
use capstan_core::mount::{GuestPathError, Mount, MountSource, check_guest_path};
use capstan_core::outcome::Outcome;
use capstan_core::policy::{Ceiling, OfferedSecret, Prefix};
use capstan_core::secret::{Secret, SecretError};
use capstan_core::stream::{self, PIPE_CAPACITY};
use capstan_engine::engine::{self, Engine};
use capstan_engine::events::Events;
use capstan_engine::history::MemoryHistory;
use capstan_engine::tasks::Tasks;
use capstan_listen::listenbuffer::{Gate, GateState, Phase};
use capstan_listen::listener::Inherited;
use capstan_listen::tls::{self, MaterialError};
use capstan_sandbox::{LoadError, Resolver, Sandbox, SandboxError};
use capstan_store::{Artifacts, Programs, StoreError};
use tokio::io::AsyncReadExt as _;

use super::confinement::Confinement;
use super::lock::{Lock, LockError};
use super::notify::Notify;
use super::settings::{SecretTable, Settings};
use super::{data_dirs, log};
use crate::builtins::{self, Daemon, Facts};
use crate::handler_store::LocalHandlerStore;
use capstan_engine::handler_store::HandlerStoreError;

/// This program, by a name that stays where its file is replaced.
const COMPILER: &str = "/proc/self/exe";

/// A daemon on its way up. The engine's shutdown takes it down again, and lets go of the data folder last.
#[derive(Debug)]
pub(super) struct Boot {
    settings: Settings,
    notify: Notify,
    confinement: Confinement,
    tasks: Tasks,
    daemon: Arc<Daemon>,
    data: Dir,
}

/// Why the daemon did not start.
#[derive(Debug, thiserror::Error)]
pub(super) enum BootError {
    #[error("cannot open data folder {}: {source}", path.display())]
    Data { path: PathBuf, source: io::Error },
    #[error("data folder {}: {source}", path.display())]
    Lock { path: PathBuf, source: LockError },
    #[error("{why}")]
    Listen { why: String, exit_code: u8 },
    #[error("data folder {}: cannot clear the folder for scratch directories: {source}", path.display())]
    Scratch { path: PathBuf, source: io::Error },
    #[error("cannot open mount {name}, {}: {source}", path.display())]
    Mount { name: String, path: PathBuf, source: io::Error },
    #[error("cannot show mount {name} to guests: {source}")]
    MountName { name: String, source: GuestPathError },
    #[error("cannot open {} of [[mount_prefixes]]: {source}", path.display())]
    MountPrefix { path: PathBuf, source: io::Error },
    #[error("a variable that may be passed on: {source}")]
    Variable { source: EnvError },
    #[error("cannot read secret {name}: {source}")]
    ReadSecret { name: String, source: io::Error },
    #[error("secret {name}: {source}")]
    Secret { name: String, source: SecretError },
    #[error("TLS: {0}")]
    Tls(#[from] MaterialError),
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    #[error("data folder {}: {source}", path.display())]
    Store { path: PathBuf, source: StoreError },
    #[error("data folder {}: {source}", path.display())]
    Kept { path: PathBuf, source: HandlerStoreError },
    #[error("nothing could be compiled: {0}; see --confine")]
    Compiler(#[source] LoadError),
    #[error("{job} did not run: {why}")]
    Builtin { job: &'static str, why: String },
    #[error("the start was not over within {deadline:?}; it was still {phase}")]
    Deadline { deadline: Duration, phase: String },
}

impl Boot {
    /// Takes the data folder, and puts together what needs nothing else.
    ///
    /// # Errors
    /// [`BootError`]
    pub(super) fn new(
        settings: Settings,
        inherited: Inherited,
        notify: Notify,
        confinement: Confinement,
        tasks: Tasks,
    ) -> Result<Self, BootError> {
        // Before anything is touched: who comes with wrong keys shall not disturb a daemon that runs.
        let tls = tls::Server::load(&settings.tls, data_dirs::read_tls)?;
        if let Some(tls) = &tls {
            tracing::info!(mutual = tls.is_mutual(), not_after = %tls.not_after(), "TCP is served over TLS");
        }
        let path = &settings.data;
        let data = data_dirs::open_data(path).map_err(|source| BootError::Data { path: path.clone(), source })?;
        capstan_store::check_data_dir(&data).map_err(|source| BootError::Store { path: path.clone(), source })?;
        let lock = Lock::take(&data).map_err(|source| BootError::Lock { path: path.clone(), source })?;
        if settings.runs < settings.runs_asked {
            let (asked, runs) = (settings.runs_asked, settings.runs);
            tracing::warn!(
                asked,
                runs,
                "fewer runs may go on at a time than asked for: raise vm.max_map_count for more"
            );
        }
        if let Some(most) = data_dirs::max_backlog().filter(|most| settings.listening.backlog > *most) {
            let asked = settings.listening.backlog;
            tracing::warn!(
                asked,
                most,
                "fewer connections are held for a listener than asked for: raise net.core.somaxconn for more"
            );
        }
        if settings.listening.access.mode & 0o002 != 0 {
            tracing::warn!("everyone on this machine may use the API: others may write to its sockets");
        }
        let mut ceiling = ceiling(&settings)?;
        let scratch = capstan_sandbox::scratch_folder(&data);
        ceiling.scratch_folder = Some(scratch.map_err(|source| BootError::Scratch { path: path.clone(), source })?);
        let config = engine::Config { ceiling, runs: settings.runs, queue: settings.queue };
        let history = Arc::new(MemoryHistory::new(settings.history));
        let engine = Engine::with(config, history, Events::new(settings.events));
        // The first hook is the last to be run: nobody else gets the folder before everything that uses it has ended.
        engine.on_shutdown("lock", async move { drop(lock) }).expect("nobody else has the engine yet");
        let gate = Gate::new();
        let api = capstan_api::Settings {
            max_upload: settings.upload,
            spill_folder: path.clone(),
            debug: settings.debug.then_some(data_dirs::process_numbers as capstan_api::ProcessNumbers),
            tasks: tasks.clone(),
            policy: settings.policy,
            http_limits: settings.http,
            allowed_hosts: settings.callers.clone().into(),
        };
        let daemon = Arc::new(Daemon {
            api: Arc::new(Api::new(engine.clone(), gate.clone(), api)),
            engine,
            gate,
            listening: settings.listening,
            tls,
            inherited,
            held_at_opening: OnceLock::new(),
            sandbox: OnceLock::new(),
            confined_compiler: OnceLock::new(),
            facts: Facts {
                data: path.display().to_string(),
                runs: settings.runs,
                runs_ceiling: settings.runs_ceiling,
                stack: settings.stack,
                compile: settings.compile,
                upload: settings.upload,
                confine: settings.confine,
                confined: confinement.daemon().clone(),
                started: jiff::Timestamp::now(),
                log_lines_dropped: log::dropped,
            },
        });
        Ok(Self { settings, notify, confinement, tasks, daemon, data })
    }

    pub(super) fn engine(&self) -> &Engine {
        &self.daemon.engine
    }

    /// What it was started with.
    pub(super) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// What it gave up at its start.
    pub(super) fn confinement(&self) -> &Confinement {
        &self.confinement
    }

    /// What TCP is secured with.
    pub(super) fn tls(&self) -> Option<&Arc<tls::Server>> {
        self.daemon.tls.as_ref()
    }

    /// Waits until it has got to its end; for ever where it fails.
    pub(super) async fn until_ready(&self) {
        if self.daemon.gate.opened().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Whether it got to its end, and the API is served.
    pub(super) fn is_ready(&self) -> bool {
        self.daemon.gate.state() == GateState::Open
    }

    /// Tells everyone who waits at the gate that it will not open. Does nothing where it is open.
    pub(super) fn give_up(&self, why: &str) {
        self.daemon.gate.fail(why);
    }

    /// Goes through the start, within its deadline. Cancel-safe in so far as a shutdown of the engine puts everything back.
    ///
    /// # Errors
    /// [`BootError`]; what was done by then is put back by a shutdown of the engine.
    pub(super) async fn run(&self) -> Result<(), BootError> {
        let deadline = self.settings.deadline;
        tokio::time::timeout(deadline, self.start()).await.unwrap_or_else(|_| {
            let phase = match self.daemon.gate.state() {
                GateState::Shut(phase) => phase.to_string(),
                GateState::Open | GateState::Failed(_) => Phase::Opening.to_string(),
            };
            Err(BootError::Deadline { deadline, phase })
        })
    }

    async fn start(&self) -> Result<(), BootError> {
        enter(&self.daemon.gate, &self.notify, Phase::Binding);
        let install = self.engine().install(builtins::bundle(&self.daemon));
        install.map_err(|error| builtin("install", &error))?;
        for address in self.listen().await?.lines() {
            say(&format!("listening on {address}"));
        }
        let handlers = self.kept().await?;
        self.daemon.sandbox.set(handlers.sandbox().clone()).expect("the daemon starts once");
        self.daemon.api.set_handler_store(Arc::new(handlers));
        enter(&self.daemon.gate, &self.notify, Phase::Opening);
        self.open().await?;
        self.notify.ready();
        say("ready");
        tracing::info!(data = %self.settings.data.display(), "ready");
        Ok(())
    }

    /// Starts the job that listens, and waits until it does. Gives the addresses, one a line.
    async fn listen(&self) -> Result<String, BootError> {
        let (stdout, mut printed) = stream::pipe(PIPE_CAPACITY);
        let (stderr, mut complained) = stream::pipe(PIPE_CAPACITY);
        let job = self.engine().job("serveapi").map_err(|error| builtin("serveapi", &error))?;
        let job = job.args(self.settings.hosts.iter().map(ToString::to_string)).stdout(stdout).stderr(stderr).build();
        let job = job.map_err(|error| builtin("serveapi", &error))?;
        job.start().map_err(|error| builtin("serveapi", &error))?;
        let (mut addresses, mut why) = (String::new(), String::new());
        let read = tokio::try_join!(printed.read_to_string(&mut addresses), complained.read_to_string(&mut why));
        read.map_err(|error| builtin("serveapi", &error))?;
        if why.is_empty() {
            return Ok(addresses);
        }
        let why = why.trim_end().to_owned();
        Err(BootError::Listen { why, exit_code: job.wait().await.outcome.exit_code() })
    }

    /// Builds the sandbox, and puts back the handlers that were kept.
    async fn kept(&self) -> Result<LocalHandlerStore, BootError> {
        let path = self.settings.data.clone();
        let data = self.data.try_clone().map_err(|source| BootError::Data { path: path.clone(), source })?;
        let store = {
            let path = path.clone();
            move |source| BootError::Store { path: path.clone(), source }
        };
        let mut config = capstan_sandbox::Config {
            ceiling: self.settings.ceiling,
            runs: self.settings.runs,
            stack: self.settings.stack,
            compile: self.settings.compile,
            compiler: COMPILER.into(),
            confine: self.settings.confine,
            artifacts: None,
            tasks: self.tasks.clone(),
            resolver: Resolver::default(),
        };
        let (engine, gate, notify) = (self.engine().clone(), self.daemon.gate.clone(), self.notify.clone());
        // It takes its time, in which signals are still heard and the deadline holds.
        let built = tokio::task::spawn_blocking(move || {
            enter(&gate, &notify, Phase::Loading);
            let artifacts = Artifacts::open(&data).map_err(&store)?;
            config.artifacts = Some(artifacts.clone());
            let sandbox = Sandbox::new(config)?;
            enter(&gate, &notify, Phase::Installing);
            let kept = LocalHandlerStore::new(engine, sandbox, Programs::open(&data).map_err(store)?);
            let handlers = kept.restore(&artifacts).map_err(|source| BootError::Kept { path, source })?;
            tracing::info!(handlers, "kept handlers are back");
            Ok(kept)
        });
        let (built, confined) = tokio::join!(built, self.compiler());
        confined?;
        built.map_err(|error| builtin("initialise", &error))?
    }

    /// Has a compiler tell what it gives up, which is told then with what the daemon has given up.
    async fn compiler(&self) -> Result<(), BootError> {
        let Settings { compile, confine, .. } = self.settings;
        let compiler = capstan_sandbox::confined_compiler(Path::new(COMPILER), compile, confine).await;
        let compiler = compiler.map_err(BootError::Compiler)?;
        self.confinement.tell(&compiler);
        self.daemon.confined_compiler.set(compiler).expect("it is asked once");
        Ok(())
    }

    async fn open(&self) -> Result<(), BootError> {
        let job = self.engine().job("acceptconnections").map_err(|error| builtin("acceptconnections", &error))?;
        let job = job.build().map_err(|error| builtin("acceptconnections", &error))?;
        job.start().map_err(|error| builtin("acceptconnections", &error))?;
        match job.wait().await.outcome {
            Outcome::SUCCESS => Ok(()),
            other => Err(builtin("acceptconnections", &other)),
        }
    }
}

impl BootError {
    pub(super) fn exit_code(&self) -> u8 {
        match self {
            Self::Listen { exit_code, .. } => *exit_code,
            Self::Data { .. }
            | Self::Tls(_)
            | Self::Lock { .. }
            | Self::Scratch { .. }
            | Self::Mount { .. }
            | Self::MountName { .. }
            | Self::MountPrefix { .. }
            | Self::Variable { .. }
            | Self::ReadSecret { .. }
            | Self::Secret { .. }
            | Self::Sandbox(_)
            | Self::Store { .. }
            | Self::Kept { .. }
            | Self::Compiler(_)
            | Self::Builtin { .. }
            | Self::Deadline { .. } => 1,
        }
    }
}

/// What the operator allows: mounts are opened now, secrets read, and both are values from here on.
///
/// # Errors
/// [`BootError::Mount`], [`BootError::MountName`], [`BootError::MountPrefix`], [`BootError::Variable`], [`BootError::ReadSecret`],
/// [`BootError::Secret`].
pub(super) fn ceiling(settings: &Settings) -> Result<Ceiling, BootError> {
    let (excess, scratch) = (settings.excess, settings.scratch);
    let (network, features) = (settings.network.clone(), settings.features.clone());
    let mut ceiling = Ceiling { excess, scratch, network, features, ..Ceiling::with_limits(settings.ceiling) };
    for (name, table) in &settings.mounts {
        check_guest_path(&format!("/{name}")).map_err(|source| BootError::MountName { name: name.clone(), source })?;
        let open = data_dirs::open_mount(&table.path);
        let MountSource { dir, file } =
            open.map_err(|source| BootError::Mount { name: name.clone(), path: table.path.clone(), source })?;
        let (guest_path, access, quota) = (format!("/{name}"), table.access, table.quota());
        ceiling.mounts.insert(name.clone(), Mount { dir, file, guest_path, access, quota });
    }
    for table in &settings.mount_prefixes {
        let (dir, path) = data_dirs::open_prefix(&table.path)
            .map_err(|source| BootError::MountPrefix { path: table.path.clone(), source })?;
        ceiling.prefixes.push(Prefix { path, dir, access: table.access, quota: table.quota() });
    }
    for name in &settings.pass_env {
        match data_dirs::variable(name) {
            Some(value) => ceiling.env.set(name, value).map_err(|source| BootError::Variable { source })?,
            None => tracing::warn!(name, "a variable that may be passed on is not set, or is not text"),
        }
    }
    for (name, table) in &settings.secrets {
        ceiling.secrets.insert(name.clone(), offered(name, table)?);
    }
    Ok(ceiling)
}

fn offered(name: &str, table: &SecretTable) -> Result<OfferedSecret, BootError> {
    let place = table.place().expect("the settings were checked for it");
    let read = data_dirs::read_secret(&place);
    let (bytes, is_open) = read.map_err(|source| BootError::ReadSecret { name: name.to_owned(), source })?;
    if is_open {
        tracing::warn!(name, "others than its owner may read a secret: chmod 600");
    }
    let secret = Secret::new(&bytes).map_err(|source| BootError::Secret { name: name.to_owned(), source })?;
    Ok(OfferedSecret { secret, handlers: table.handlers.clone() })
}

/// Notes what the start is at, for those who wait.
fn enter(gate: &Gate, notify: &Notify, phase: Phase) {
    gate.enter(phase);
    notify.status(&format!("starting: {phase}"));
}

fn builtin(job: &'static str, why: &dyn std::fmt::Display) -> BootError {
    BootError::Builtin { job, why: why.to_string() }
}

/// Prints a line for whoever started the daemon; it may have closed its end.
fn say(line: &str) {
    let mut stdout = io::stdout().lock();
    let _ = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
}
