//! `Settings`: what the daemon runs with. A flag wins over the configuration file, and that over the default.

mod file;
mod http;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use capstan_api::{AllowedHosts, AllowedHostsError, HttpLimits};
use capstan_confinement::Mode;
use capstan_core::feature::Features;
use capstan_core::limits::Limits;
use capstan_core::policy::{Ceiling, Excess, Rule, with_suggestion};
use capstan_engine::engine;
use capstan_engine::events;
use capstan_engine::history::HistoryLimits;
use capstan_listen::listenbuffer::{Policy, UnknownPolicy};
use capstan_listen::listener::{self, AccessError, Address, AddressError, Host};
use capstan_listen::tls;
use capstan_sandbox::CompileLimits;

use self::file::{File, LimitsTable, ListenTable};
pub(super) use self::file::{MountTable, SecretTable};
use super::Flags;
use super::data_dirs::{self, Places};

/// Runs that may go on at a time where the operator says nothing.
const RUNS: usize = 1000;
/// The most that the operator may allow: each takes address space from the start.
const MOST_RUNS: usize = 10_000;
/// The most jobs that may wait: each holds its arguments, variables and pipes.
const MOST_QUEUED: usize = 100_000;
/// Bytes that the stack of a guest has at least, for programs to begin with.
const LEAST_STACK: usize = 64 << 10;
/// Bytes that it may have: address space is set aside for it in each run.
const MOST_STACK: usize = 16 << 20;
/// The most events that may be kept: each takes a few hundred bytes.
const MOST_EVENTS: usize = 1_000_000;
/// The most jobs that may be remembered after their end: each takes about a kilobyte besides its output.
const MOST_REMEMBERED: usize = 10_000_000;

/// The most connections that may be asked of the kernel to hold for a listener.
const MOST_HELD: u32 = 65_535;

/// What the daemon runs with.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Settings {
    pub(super) hosts: Vec<Host>,
    pub(super) listening: listener::Options,
    /// What TCP is secured with. Default: it is not.
    pub(super) tls: tls::Files,
    /// What becomes of connections while the daemon starts. Default: they are held.
    pub(super) policy: Policy,
    /// How long the start may take. Default 5 min.
    pub(super) deadline: Duration,
    pub(super) data: PathBuf,
    /// How long runs may go on after the daemon was asked to stop. Default 10 s.
    pub(super) grace: Duration,
    pub(super) ceiling: Limits,
    /// What becomes of manifests that ask for more. Default: they get what there is.
    pub(super) excess: Excess,
    /// Directories that may be granted to jobs, by name. Default none.
    pub(super) mounts: BTreeMap<String, MountTable>,
    /// Directories below which any path may be granted to jobs. Default none.
    pub(super) mount_prefixes: Vec<MountTable>,
    /// Bytes of the largest scratch directory of a run. Default 64 MiB.
    pub(super) scratch: u64,
    /// Variables of the environment that may be passed on to jobs. Default none.
    pub(super) pass_env: Vec<String>,
    /// Secrets that may be granted to jobs, by name. Default none.
    pub(super) secrets: BTreeMap<String, SecretTable>,
    /// What of the network may be granted to jobs. Default nothing.
    pub(super) network: Vec<Rule>,
    pub(super) features: Features,
    pub(super) runs: usize,
    /// Runs that the operator asked for, or the default; more than `runs` where the machine does not allow them.
    pub(super) runs_asked: usize,
    /// The most runs that this machine allows.
    pub(super) runs_ceiling: usize,
    /// Jobs that may wait for one of those to end. Default [`engine::DEFAULT_QUEUE`].
    pub(super) queue: usize,
    /// Bytes of the stack of each guest. Default [`capstan_sandbox::DEFAULT_STACK`].
    pub(super) stack: usize,
    pub(super) compile: CompileLimits,
    /// Bytes of the largest program that may be pushed. Default 64 MiB.
    pub(super) upload: u64,
    /// What is remembered of jobs.
    pub(super) history: HistoryLimits,
    /// Events that are kept for those who come later. Default [`events::DEFAULT_CAPACITY`].
    pub(super) events: usize,
    /// What clients may take of the HTTP layer.
    pub(super) http: HttpLimits,
    /// Who may call over TCP besides the daemon's own names. Default nobody.
    pub(super) callers: AllowedHosts,
    /// What the daemon gives up at its start. Default: what it can.
    pub(super) confine: Mode,
    pub(super) debug: bool,
    pub(super) log_filter: Option<String>,
}

/// What is wrong with flags or configuration.
#[derive(Debug, thiserror::Error)]
pub(super) enum SettingsError {
    #[error("cannot read configuration file {}: {source}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("configuration file {}: {why}", path.display())]
    File { path: PathBuf, why: String },
    #[error(transparent)]
    Address(#[from] AddressError),
    #[error("{0} is to be listened on twice")]
    Twice(Host),
    #[error(transparent)]
    Access(#[from] AccessError),
    #[error(transparent)]
    Tls(#[from] tls::FilesError),
    #[error("while booting: {0}")]
    Policy(#[from] UnknownPolicy),
    #[error("a start cannot be over in no time: the deadline of the boot is 0")]
    Deadline,
    #[error("a backlog of {0} connections is not from 1 to {MOST_HELD}")]
    Backlog(u32),
    #[error("neither HOME nor XDG_STATE_HOME is set, so there is no default data folder; name one with --data")]
    NoData,
    #[error("mounts have a section each, [mounts.NAME], and are not a key of [policy]")]
    Mounts,
    #[error("secrets have a section each, [secrets.NAME], and are not a key of [policy]")]
    Secrets,
    #[error("secret {0} comes from one place: file, env, or credential, whose name has no slash")]
    SecretPlace(String),
    #[error("{0} runs at a time are not from 1 to {MOST_RUNS}")]
    Runs(usize),
    #[error("{0} jobs in the queue are more than {MOST_QUEUED}")]
    Queue(usize),
    #[error("limits.stack = {0} is not from {LEAST_STACK} to {MOST_STACK} bytes")]
    Stack(usize),
    #[error("{0} events to keep are not from 1 to {MOST_EVENTS}")]
    Events(usize),
    #[error("http.{key} = {value} is not from {least} to {most}")]
    Http { key: &'static str, value: u64, least: u64, most: u64 },
    #[error("http.{key} = {} is not from 1 ms to 1 day", humantime::format_duration(*value))]
    HttpTime { key: &'static str, value: Duration },
    #[error("http: {0}")]
    Callers(#[from] AllowedHostsError),
    #[error("{0} jobs to remember are not from 1 to {MOST_REMEMBERED}")]
    History(usize),
}

impl Settings {
    /// Puts flags, configuration and environment together.
    ///
    /// # Errors
    /// [`SettingsError`]; nothing has been touched then.
    pub(super) fn new(flags: Flags) -> Result<Self, SettingsError> {
        let file = match &flags.config {
            None => File::default(),
            Some(path) => {
                let text = data_dirs::read_config(path)
                    .map_err(|source| SettingsError::Read { path: path.clone(), source })?;
                let why = |error: toml::de::Error| with_suggestion(&error.to_string());
                toml::from_str(&text).map_err(|error| SettingsError::File { path: path.clone(), why: why(error) })?
            }
        };
        Self::merge(flags, file, Places::of_process(), data_dirs::max_maps())
    }

    fn merge(flags: Flags, file: File, places: Places, max_maps: Option<usize>) -> Result<Self, SettingsError> {
        let data = flags.data.or(file.data).or_else(|| places.data()).ok_or(SettingsError::NoData)?;
        let hosts = if flags.hosts.is_empty() { file.hosts } else { flags.hosts };
        let mut hosts = hosts.iter().map(|host| host.parse()).collect::<Result<Vec<Host>, _>>()?;
        if hosts.is_empty() {
            hosts.push(places.host(&data).into());
        }
        if let Some(twice) = twice(&hosts) {
            return Err(SettingsError::Twice(twice.clone()));
        }
        let deadline = flags.boot_deadline.or(file.boot.deadline).unwrap_or(Duration::from_secs(300));
        if deadline.is_zero() {
            return Err(SettingsError::Deadline);
        }
        let policy = flags.while_booting.or(file.boot.policy);
        let listening = ListenTable {
            backlog: flags.backlog.or(file.listen.backlog),
            socket_mode: flags.socket_mode.or(file.listen.socket_mode),
            socket_group: flags.socket_group.or(file.listen.socket_group),
        };
        let tls = tls::Files {
            cert: flags.tls_cert.or(file.tls.cert),
            key: flags.tls_key.or(file.tls.key),
            ca: flags.tls_ca.or(file.tls.ca),
            crl: flags.tls_crl.or(file.tls.crl),
        };
        tls.check_server()?;
        let LimitsTable { runs, queue, stack } = file.limits;
        let asked = file.policy;
        if asked.mounts.is_some() {
            return Err(SettingsError::Mounts);
        }
        if asked.secrets.is_some() {
            return Err(SettingsError::Secrets);
        }
        if let Some((name, _)) = file.secrets.iter().find(|(_, secret)| secret.place().is_none()) {
            return Err(SettingsError::SecretPlace(name.clone()));
        }
        let runs_asked = runs.unwrap_or(RUNS);
        if !(1..=MOST_RUNS).contains(&runs_asked) {
            return Err(SettingsError::Runs(runs_asked));
        }
        let runs_ceiling = max_maps.map_or(MOST_RUNS, |maps| capstan_sandbox::max_runs_for_maps(maps).min(MOST_RUNS));
        let queue = queue.unwrap_or(engine::DEFAULT_QUEUE);
        if queue > MOST_QUEUED {
            return Err(SettingsError::Queue(queue));
        }
        let stack = stack.map_or(capstan_sandbox::DEFAULT_STACK, |stack| stack.try_into().unwrap_or(usize::MAX));
        if !(LEAST_STACK..=MOST_STACK).contains(&stack) {
            return Err(SettingsError::Stack(stack));
        }
        let history = file.history.bounds()?;
        let events = file.events.keep.unwrap_or(events::DEFAULT_CAPACITY);
        if !(1..=MOST_EVENTS).contains(&events) {
            return Err(SettingsError::Events(events));
        }
        let (http, callers) = (file.http.bounds()?, file.http.callers()?);
        let compile = CompileLimits::default();
        Ok(Self {
            hosts,
            listening: listening.options(flags.insecure_tcp)?,
            tls,
            policy: policy.map_or(Ok(Policy::default()), |policy| policy.parse())?,
            deadline,
            data,
            grace: file.grace.unwrap_or(Duration::from_secs(10)),
            ceiling: Limits::default().overridden_by(&asked),
            excess: file.manifests.excess,
            mounts: file.mounts,
            mount_prefixes: file.mount_prefixes,
            scratch: asked.scratch.unwrap_or(Ceiling::default().scratch),
            pass_env: asked.pass_env.unwrap_or_default(),
            secrets: file.secrets,
            network: asked.network.unwrap_or_default(),
            features: asked.features.unwrap_or_default(),
            runs: runs_asked.min(runs_ceiling),
            runs_asked,
            runs_ceiling,
            queue,
            stack,
            compile: CompileLimits {
                timeout: file.compile.timeout.unwrap_or(compile.timeout),
                memory: file.compile.memory.unwrap_or(compile.memory),
            },
            upload: file.compile.upload.unwrap_or(64 << 20),
            history,
            events,
            http,
            callers,
            confine: flags.confine.or(file.confine).unwrap_or_default(),
            debug: flags.debug,
            log_filter: places.log_filter,
        })
    }

    /// What is not as in `next` and is not read anew while the daemon runs, by the sections and keys of the configuration.
    pub(super) fn needs_restart(&self, next: &Self) -> Vec<&'static str> {
        // All are named, so that a new one is thought of here; those with `_` are read anew, or are no settings of the file.
        let Self {
            hosts,
            listening,
            tls,
            policy,
            deadline,
            data,
            grace,
            runs_asked,
            queue,
            stack,
            compile,
            upload,
            history,
            events,
            http,
            callers,
            confine,
            ceiling: _,
            excess: _,
            mounts: _,
            mount_prefixes: _,
            scratch: _,
            pass_env: _,
            secrets: _,
            network: _,
            features: _,
            runs: _,
            runs_ceiling: _,
            debug: _,
            log_filter: _,
        } = self;
        let changed = [
            ("hosts", *hosts != next.hosts),
            ("[listen]", *listening != next.listening),
            ("[tls]", *tls != next.tls),
            ("[boot]", (*policy, *deadline) != (next.policy, next.deadline)),
            ("data", *data != next.data),
            ("grace", *grace != next.grace),
            ("[limits]", (*runs_asked, *queue, *stack) != (next.runs_asked, next.queue, next.stack)),
            ("[compile]", (*compile, *upload) != (next.compile, next.upload)),
            ("[history]", *history != next.history),
            ("[events]", *events != next.events),
            ("confine", *confine != next.confine),
            ("[http]", *http != next.http || *callers != next.callers),
        ];
        changed.into_iter().filter_map(|(key, is_changed)| is_changed.then_some(key)).collect()
    }
}

/// The first host that is named a second time. Any free port may be asked for as often as one likes.
fn twice(hosts: &[Host]) -> Option<&Host> {
    let any_port = |host: &Host| matches!(host, Host::Own(Address::Tcp { port: 0, .. }));
    let mut later = hosts.iter().enumerate();
    later.find(|(at, host)| hosts[..*at].contains(host) && !any_port(host)).map(|(_, host)| host)
}

#[cfg(test)]
mod tests;
