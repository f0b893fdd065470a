//! The daemon: from flags to a clean end.
//!
//! ```text
//! settings → confinement → lock → bind and listen (job serveapi) → initialise → open the gate (job acceptconnections) → ready
//!                                  a signal, at any of these, stops in the reverse order
//! ```

mod boot;
mod confinement;
mod data_dirs;
mod lock;
mod log;
mod notify;
mod reload;
mod settings;
mod signals;
mod watchdog;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use capstan_confinement::Mode;
use capstan_engine::engine::{ShutdownReport, Unfinished};
use capstan_engine::events::EventKind;
use capstan_engine::tasks::Tasks;
use capstan_listen::listener::Inherited;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::runtime::Builder;

use self::boot::BootError;
use self::confinement::{Confinement, TooLittle};
use self::data_dirs::Supervisor;
pub(crate) use self::data_dirs::{Places, open_mount};
use self::notify::Notify;
use self::settings::{Settings, SettingsError};
use self::signals::{Signal, Signals};

/// Exit code of wrong usage: flags and configuration.
const WRONG_USAGE: u8 = 125;

/// How long tasks may take to be dropped at the very end. It takes them no time; what blocks, which may be for ever, is not waited for longer.
const LAST_DROPS: Duration = Duration::from_millis(200);

/// What `capstan daemon` was told.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    /// Addresses to listen on; none for those of the configuration, or the default.
    pub hosts: Vec<String>,
    /// The data folder.
    pub data: Option<PathBuf>,
    /// The configuration file.
    pub config: Option<PathBuf>,
    /// Whether to log everything, and to serve what tells of the process.
    pub debug: bool,
    /// Whether to serve TCP to other machines, which are not asked who they are.
    pub insecure_tcp: bool,
    /// How long the start may take.
    pub boot_deadline: Option<Duration>,
    /// What becomes of connections while the daemon starts: `hold` or `answer`.
    pub while_booting: Option<String>,
    /// Connections that the kernel holds for each listener.
    pub backlog: Option<u32>,
    /// The mode of unix sockets, in octal.
    pub socket_mode: Option<String>,
    /// The group of unix sockets, by name or number.
    pub socket_group: Option<String>,
    /// The certificate that TCP is served under.
    pub tls_cert: Option<PathBuf>,
    /// Its key.
    pub tls_key: Option<PathBuf>,
    /// Who may have issued the certificates of clients, which must have one then.
    pub tls_ca: Option<PathBuf>,
    /// What those have revoked since.
    pub tls_crl: Option<PathBuf>,
    /// What the daemon gives up at its start.
    pub confine: Option<Mode>,
}

/// Why the daemon did not run, or did not end well.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error(transparent)]
    Confinement(#[from] TooLittle),
    #[error("cannot start threads: {0}")]
    Threads(std::io::Error),
    #[error("cannot listen to signals: {0}")]
    Signals(std::io::Error),
    #[error(transparent)]
    Boot(#[from] BootError),
    #[error("it did not stop cleanly: {}", list(.0))]
    Unfinished(Vec<Unfinished>),
}

/// How the daemon ended.
enum End {
    /// In order, after a first signal.
    Clean,
    /// At once, by a second one.
    AtOnce(Signal),
}

/// Runs the daemon until it is stopped. Exits 0 after a clean stop, 125 for wrong flags and configuration, 1 where it could not start
/// or not stop cleanly, 128 and the number of the signal where a second one ended it at once.
pub fn run(flags: Flags) -> ExitCode {
    match run_to_end(flags) {
        Ok(End::Clean) => ExitCode::SUCCESS,
        Ok(End::AtOnce(signal)) => ExitCode::from(128 + signal.number()),
        Err(failure) => {
            eprintln!("capstan: {failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}

fn run_to_end(flags: Flags) -> Result<End, Failure> {
    let supervisor = Supervisor::of_process();
    // Before anything is opened that could have the number of what was passed.
    let inherited = Inherited::take(&supervisor.activation, data_dirs::is_open);
    let settings = Settings::new(flags.clone())?;
    // While there is one thread: it binds those that it starts, and no other.
    let confinement = Confinement::begin(&settings, flags.config.as_deref(), supervisor.notify.as_deref())?;
    // What is still to be written is written when this is dropped.
    let _log = log::start(settings.debug, settings.log_filter.as_deref()).map_err(Failure::Threads)?;
    let tasks = if settings.debug { Tasks::tracked() } else { Tasks::default() };
    let _log_note = tasks.track("daemon", || "writer of the log".to_owned());
    let control = Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("control")
        .enable_all()
        .build()
        .map_err(Failure::Threads)?;
    allow_open_files();
    let end = control.block_on(live(flags, settings, inherited, supervisor, confinement, tasks));
    // After a second signal its tasks are still there, and drop what they hold: the file of a socket, for one.
    control.shutdown_timeout(LAST_DROPS);
    end
}

/// Each connection is an open file, and a login's limit on those is for programs that still use `select`: all that may be had are taken.
fn allow_open_files() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        tracing::debug!(%error, "the limit on open files stays as it is");
    }
}

async fn live(
    flags: Flags,
    settings: Settings,
    inherited: Inherited,
    supervisor: Supervisor,
    confinement: Confinement,
    tasks: Tasks,
) -> Result<End, Failure> {
    let signals = Signals::new().map_err(Failure::Signals)?;
    let _signals_note = tasks.track("daemon", || "watcher of signals".to_owned());
    let _watchdog_note =
        supervisor.watchdog.and_then(|_| tasks.track("daemon", || "watchdog for the service manager".to_owned()));
    let reload = reload::Reload::new(flags).map_err(Failure::Signals)?;
    let notify = Notify::to(supervisor.notify.as_deref());
    notify.starting(settings.deadline);
    let grace = settings.grace;
    let boot = boot::Boot::new(settings, inherited, notify.clone(), confinement, tasks)
        .inspect_err(|error| notify.stopping(&format!("the start failed: {error}")))?;
    tokio::select! {
        end = live_to_end(&boot, signals, grace, &notify) => end,
        never = watchdog::watch(&notify, boot.engine(), supervisor.watchdog) => match never {},
        never = reload.on_hangup(&boot, &notify) => match never {},
    }
}

async fn live_to_end(
    boot: &boot::Boot,
    mut signals: Signals,
    grace: Duration,
    notify: &Notify,
) -> Result<End, Failure> {
    let booted = tokio::select! {
        booted = boot.run() => booted,
        signal = signals.next() => {
            notify.stopping("stopping before the start is over");
            boot.give_up("the daemon stops before it was ready");
            tracing::info!(%signal, "stopping before the start is over");
            Ok(())
        }
    };
    if let Err(error) = &booted {
        notify.stopping(&format!("the start failed: {error}"));
        boot.give_up(&error.to_string());
    } else if boot.is_ready() {
        let signal = signals.next().await;
        notify.stopping(&format!("{signal}: no new work is taken, and what runs may finish"));
        tracing::info!(%signal, ?grace, "stopping: no new work is taken, and what runs may finish");
        boot.engine().events().publish(EventKind::DaemonStop);
    }
    let grace = if boot.is_ready() { grace } else { Duration::ZERO };
    let report = tokio::select! {
        report = boot.engine().shutdown(grace) => report.clone(),
        signal = signals.next() => {
            tracing::warn!(%signal, "stopping at once");
            return Ok(End::AtOnce(signal));
        }
    };
    booted?;
    judge(report)
}

/// Tells of everything that did not end, which makes the stop an unclean one.
fn judge(report: ShutdownReport) -> Result<End, Failure> {
    for left in &report.unfinished {
        tracing::error!("{left}");
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
            Self::Confinement(_) | Self::Threads(_) | Self::Signals(_) | Self::Unfinished(_) => 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_did_not_end_is_named_and_makes_the_exit_code_1() {
        assert!(matches!(judge(ShutdownReport::default()), Ok(End::Clean)));
        let unfinished = vec![Unfinished::Changes(2), Unfinished::Hook("lock"), Unfinished::Panicked("cache")];
        let Err(failure) = judge(ShutdownReport { unfinished, ..ShutdownReport::default() }) else {
            panic!("it is taken for a clean stop")
        };
        assert_eq!(failure.exit_code(), 1);
        let told = "it did not stop cleanly: 2 changes of handlers did not finish; shutdown hook lock did not end; \
                    shutdown hook cache panicked";
        assert_eq!(failure.to_string(), told);
    }
}
