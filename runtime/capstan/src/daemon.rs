//! The daemon, from its flags to its clean end.
//!
//! ```text
//! settings → confinement → lock → bind and listen (job serveapi) → load → open the gate (job acceptconnections) → ready
//!                           a signal at any of these steps stops the daemon in the reverse order
//! ```
//!
//! In reading order:
//!
//! - [`flags`], [`settings`]: the configuration;
//! - [`environment`], [`data_dirs`], [`files`], [`procfs`]: access to the system;
//! - [`confinement`]: gives up the rights that the configuration does not need;
//! - [`boot`], [`ceiling`], [`webhooks`]: the start;
//! - [`log`], [`access_log`], [`notify`], [`watchdog`]: reports to the operator and the service manager;
//! - [`signals`], [`reload`]: SIGTERM, SIGINT and SIGHUP.

mod access_log;
mod boot;
mod ceiling;
mod confinement;
mod data_dirs;
mod environment;
mod files;
mod flags;
mod log;
mod notify;
mod outbound;
mod procfs;
mod reload;
mod settings;
mod signals;
mod watchdog;
mod webhooks;

use std::process::ExitCode;
use std::time::Duration;

use capstan_api::AccessLog;
use capstan_engine::engine::{ShutdownReport, Unfinished};
use capstan_engine::events::EventKind;
use capstan_engine::job_store::JobStoreError;
use capstan_engine::tasks::Tasks;
use capstan_listen::listener::InheritedSockets;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::runtime::Builder;

use self::access_log::AccessLogError;
use self::boot::BootError;
use self::confinement::{Confinement, ConfinementError};
pub(crate) use self::data_dirs::DataDirs;
use self::environment::ServiceManager;
pub(crate) use self::files::open_mount;
pub use self::flags::Flags;
use self::notify::Notifier;
use self::settings::{Settings, SettingsError};
use self::signals::{Signal, Signals};

/// The exit code for invalid flags or an invalid configuration.
const WRONG_USAGE: u8 = 125;

/// The limit on the time for dropping the remaining tasks at the end. Only a task that blocks needs any time.
const DROP_TIMEOUT: Duration = Duration::from_millis(200);

/// Why the daemon did not run, or did not stop cleanly.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error(transparent)]
    Confinement(#[from] ConfinementError),
    #[error(transparent)]
    AccessLog(#[from] AccessLogError),
    #[error("cannot start threads: {0}")]
    Threads(std::io::Error),
    #[error("cannot receive signals: {0}")]
    Signals(std::io::Error),
    #[error(transparent)]
    Boot(#[from] BootError),
    #[error("{0}; start the daemon again")]
    JobStore(JobStoreError),
    #[error("the daemon did not stop cleanly: {}", list(.0))]
    Unfinished(Vec<Unfinished>),
}

/// How the daemon ended.
enum End {
    /// A first signal stopped it in order.
    Clean,
    /// A second signal stopped it immediately.
    Immediate(Signal),
}

/// Runs the daemon until a signal stops it, and returns its exit code:
///
/// - 0 after a clean stop;
/// - 1 if it could not start, or did not stop cleanly;
/// - 125 for invalid flags or an invalid configuration;
/// - 128 plus the number of the signal if a second signal stopped it immediately.
pub fn run(flags: Flags) -> ExitCode {
    match run_to_end(flags) {
        Ok(End::Clean) => ExitCode::SUCCESS,
        Ok(End::Immediate(signal)) => ExitCode::from(128 + signal.number()),
        Err(failure) => {
            eprintln!("capstan: {failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}

fn run_to_end(flags: Flags) -> Result<End, Failure> {
    let manager = ServiceManager::from_environment();
    // Before anything else is opened, which could get the number of a passed socket.
    let inherited = InheritedSockets::take(&manager.activation, procfs::is_open);
    let settings = Settings::load(flags.clone())?;
    let access_log = access_log::open(&settings)?;
    // While there is only one thread: confinement applies to this thread and to those that it starts.
    let confinement = Confinement::apply(&settings, flags.config.as_deref(), manager.notify_socket.as_deref())?;
    // Dropping it writes the remaining lines.
    let _log = log::init(settings.debug, settings.log_filter.as_deref()).map_err(Failure::Threads)?;
    let (access_log, _access_log) = access_log::start(&settings, access_log)?.unzip();
    let tasks = if settings.debug { Tasks::tracked() } else { Tasks::default() };
    let _log_note = tasks.track("daemon", || "writer of the log".to_owned());
    let control = Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("control")
        .enable_all()
        .build()
        .map_err(Failure::Threads)?;
    raise_open_files_limit();
    let end = control.block_on(start_and_serve(flags, settings, inherited, manager, confinement, tasks, access_log));
    // After a second signal, tasks still hold resources, such as the file of a socket. Dropping the tasks releases them.
    control.shutdown_timeout(DROP_TIMEOUT);
    end
}

/// Raises the limit on open files as far as possible, because each connection is an open file. The usual limit is low only for programs that
/// use `select`.
fn raise_open_files_limit() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        tracing::debug!(%error, "cannot raise the limit on open files");
    }
}

async fn start_and_serve(
    flags: Flags,
    settings: Settings,
    inherited: InheritedSockets,
    manager: ServiceManager,
    confinement: Confinement,
    tasks: Tasks,
    access_log: Option<AccessLog>,
) -> Result<End, Failure> {
    let signals = Signals::new().map_err(Failure::Signals)?;
    let _signals_note = tasks.track("daemon", || "watcher of signals".to_owned());
    let _watchdog_note =
        manager.watchdog.and_then(|_| tasks.track("daemon", || "watchdog for the service manager".to_owned()));
    let reload = reload::Reload::new(flags).map_err(Failure::Signals)?;
    let notifier = Notifier::new(manager.notify_socket.as_deref());
    notifier.starting(settings.boot_deadline);
    let grace = settings.grace;
    let boot = boot::Boot::new(settings, inherited, notifier.clone(), confinement, tasks, access_log)
        .inspect_err(|error| notifier.stopping(&format!("the start failed: {error}")))?;
    tokio::select! {
        end = run_until_signal(&boot, signals, grace, &notifier) => end,
        never = watchdog::watch(&notifier, boot.engine(), manager.watchdog) => match never {},
        never = reload.on_hangup(&boot, &notifier) => match never {},
    }
}

/// Starts the daemon, waits for a signal, and stops the daemon.
async fn run_until_signal(
    boot: &boot::Boot,
    mut signals: Signals,
    grace: Duration,
    notifier: &Notifier,
) -> Result<End, Failure> {
    let booted = tokio::select! {
        booted = boot.run() => booted,
        signal = signals.next() => {
            notifier.stopping("stopping before the start is over");
            boot.fail("the daemon stops before it was ready");
            tracing::info!(%signal, "stopping before the start is over");
            Ok(())
        }
    };
    let mut store_failure = None;
    if let Err(error) = &booted {
        notifier.stopping(&format!("the start failed: {error}"));
        boot.fail(&error.to_string());
    } else if boot.is_ready() {
        let clean_up = async {
            boot.clean_up().await;
            std::future::pending::<()>().await;
        };
        tokio::select! {
            signal = signals.next() => {
                notifier.stopping(&format!("{signal}: no new work is taken, and what runs may finish"));
                tracing::info!(%signal, ?grace, "stopping: no new work is taken, and what runs may finish");
            }
            error = boot.job_store_failed() => {
                notifier.stopping(&error.to_string());
                tracing::error!("stopping, so that a restart opens the job store again: {error}");
                store_failure = Some(error);
            }
            () = clean_up => {}
        }
        boot.engine().events().publish(EventKind::DaemonStop);
    }
    let grace = if boot.is_ready() { grace } else { Duration::ZERO };
    let report = tokio::select! {
        report = boot.engine().shutdown(grace) => report.clone(),
        signal = signals.next() => {
            tracing::warn!(%signal, "stopping immediately, because of a second signal");
            return Ok(End::Immediate(signal));
        }
    };
    booted?;
    match store_failure {
        Some(error) => Err(Failure::JobStore(error)),
        None => end_of(report),
    }
}

/// Logs everything that did not end. The stop is not clean then.
fn end_of(report: ShutdownReport) -> Result<End, Failure> {
    for unfinished in &report.unfinished {
        tracing::error!("{unfinished}");
    }
    tracing::info!(cancelled = report.cancelled.len(), unfinished = report.unfinished.len(), "stopped");
    if report.unfinished.is_empty() { Ok(End::Clean) } else { Err(Failure::Unfinished(report.unfinished)) }
}

fn list(unfinished: &[Unfinished]) -> String {
    unfinished.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

impl Failure {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Settings(_) => WRONG_USAGE,
            Self::Boot(error) => error.exit_code(),
            Self::AccessLog(_)
            | Self::Confinement(_)
            | Self::Threads(_)
            | Self::Signals(_)
            | Self::JobStore(_)
            | Self::Unfinished(_) => 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unfinished_shutdown_is_reported_with_exit_code_1() {
        assert!(matches!(end_of(ShutdownReport::default()), Ok(End::Clean)));
        let unfinished = vec![Unfinished::Changes(2), Unfinished::Hook("lock"), Unfinished::Panicked("cache")];
        let Err(failure) = end_of(ShutdownReport { unfinished, ..ShutdownReport::default() }) else {
            panic!("the stop counts as clean")
        };
        assert_eq!(failure.exit_code(), 1);
        let message = "the daemon did not stop cleanly: 2 changes of handlers did not finish; shutdown hook lock did not end; \
                    shutdown hook cache panicked";
        assert_eq!(failure.to_string(), message);
    }
}
