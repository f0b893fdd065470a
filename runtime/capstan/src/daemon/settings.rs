//! `Settings`: the complete configuration of the daemon. A flag overrides the configuration file, and the file overrides the default.

mod error;
mod file;
mod http;
mod jobs;
mod source;
mod webhooks;

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use capstan_api::{AccessLogFormat, AllowedHosts, HttpLimits};
use capstan_confinement::Mode;
use capstan_core::feature::{Feature, Features};
use capstan_core::limits::Limits;
use capstan_core::policy::{Ceiling, Excess, HttpRule, Rule, with_suggestion};
use capstan_engine::engine;
use capstan_engine::events;
use capstan_engine::handler_store::FilesLimits;
use capstan_engine::history::HistoryLimits;
use capstan_engine::job_store::StoreLimits;
use capstan_engine::queue::QueueConfig;
use capstan_listen::listenbuffer::StartupPolicy;
use capstan_listen::listener::{self, Address, Host};
use capstan_listen::tls;
use capstan_sandbox::CompileLimits;

pub(super) use self::error::SettingsError;
use self::error::check_range;
use self::file::{CompileTable, File, LimitsTable, ListenTable};
pub(super) use self::file::{MountTable, SecretTable};
pub(super) use self::webhooks::WebhookSettings;
use super::data_dirs::DataDirs;
use super::flags::Flags;
use super::{environment, files, procfs};

/// The default limit on concurrent runs.
const DEFAULT_RUNS: usize = 1000;
/// The limit on `limits.runs`: each run reserves address space at the start of the daemon.
const MAX_RUNS: usize = 10_000;
/// The limit on `limits.queue`: a waiting job holds its arguments, variables and pipes.
const MAX_QUEUE: usize = 100_000;
/// The range of `limits.stack`, in bytes: programs need some stack to start, and each run reserves address space for it.
const STACK: RangeInclusive<usize> = 64 << 10..=16 << 20;
/// The limit on `events.keep`: an event takes a few hundred bytes.
const MAX_EVENTS: usize = 1_000_000;

/// The complete configuration of the daemon.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Settings {
    pub(super) hosts: Vec<Host>,
    /// The hosts to serve claimed routes on. Default: none.
    pub(super) serve: Vec<Host>,
    /// The file of the access log, or `-` for stdout. Default: none.
    pub(super) access_log: Option<PathBuf>,
    pub(super) access_log_format: AccessLogFormat,
    pub(super) listening: listener::Options,
    /// The files for TLS over TCP. Default: none, and TCP is plain.
    pub(super) tls: tls::Files,
    /// What happens to connections during the start. Default: the kernel holds them.
    pub(super) startup_policy: StartupPolicy,
    /// The limit on the time of the start. Default: 5 min.
    pub(super) boot_deadline: Duration,
    /// The data directory.
    pub(super) data: PathBuf,
    /// How long runs may continue after the daemon was asked to stop. Default: 10 s.
    pub(super) grace: Duration,
    /// The limits on each run.
    pub(super) limits: Limits,
    /// What happens to a manifest that requests more than the limits. Default: its requests are capped.
    pub(super) excess: Excess,
    /// The directories that may be granted to jobs, by name. Default: none.
    pub(super) mounts: BTreeMap<String, MountTable>,
    /// The directories below which any path may be granted to jobs. Default: none.
    pub(super) mount_prefixes: Vec<MountTable>,
    /// The limit on the scratch directory of a run, in bytes. Default: 64 MiB.
    pub(super) scratch: u64,
    /// The environment variables that may be passed on to jobs. Default: none.
    pub(super) pass_env: Vec<String>,
    /// The secrets that may be granted to jobs, by name. Default: none.
    pub(super) secrets: BTreeMap<String, SecretTable>,
    /// The network access that may be granted to jobs. Default: none.
    pub(super) network: Vec<Rule>,
    /// The HTTP requests that may be granted to jobs. Default: none.
    pub(super) outbound: Vec<HttpRule>,
    /// The file with the certificates that the servers of these requests must be issued by. Default: those that this machine trusts.
    pub(super) outbound_ca: Option<PathBuf>,
    /// WebAssembly features that programs may use. Default: [`Feature::allowed_by_default`].
    pub(super) features: Features,
    /// The limit on concurrent runs: the smaller of `runs_requested` and `runs_ceiling`.
    pub(super) runs: usize,
    /// The limit on concurrent runs in the configuration. Default: 1000.
    pub(super) runs_requested: usize,
    /// The limit on concurrent runs that this machine allows.
    pub(super) runs_ceiling: usize,
    /// The limit on jobs that wait for a slot. Default: [`engine::DEFAULT_QUEUE`].
    pub(super) queue: usize,
    /// The stack of each guest, in bytes. Default: [`capstan_sandbox::DEFAULT_STACK`].
    pub(super) stack: usize,
    pub(super) compile: CompileLimits,
    /// The limit on the size of a pushed program, in bytes. Default: 256 MiB.
    pub(super) upload: u64,
    /// The limits on the files of a handler.
    pub(super) files: FilesLimits,
    /// The limits on the history of jobs in memory.
    pub(super) history: HistoryLimits,
    /// The queue of durable jobs.
    pub(super) jobs: QueueConfig,
    /// How much the store of durable jobs takes.
    pub(super) job_limits: StoreLimits,
    /// The services that are called when durable jobs end, by name. Default: none.
    pub(super) webhooks: BTreeMap<String, WebhookSettings>,
    /// The number of events that are stored for later readers. Default: [`events::DEFAULT_CAPACITY`].
    pub(super) events: usize,
    /// The limits on HTTP clients.
    pub(super) http: HttpLimits,
    /// The names and origins that may call over TCP besides the daemon's own. Default: none.
    pub(super) allowed_hosts: AllowedHosts,
    /// How strictly the daemon confines itself. Default: as far as the kernel allows.
    pub(super) confine: Mode,
    pub(super) debug: bool,
    pub(super) log_filter: Option<String>,
}

impl Settings {
    /// Combines the flags, the configuration file and the environment.
    ///
    /// # Errors
    /// [`SettingsError`]. Nothing was created or changed then.
    pub(super) fn load(flags: Flags) -> Result<Self, SettingsError> {
        let file = match &flags.config {
            None => File::default(),
            Some(path) => {
                let text =
                    files::read_config(path).map_err(|source| SettingsError::Read { path: path.clone(), source })?;
                let reason = |error: toml::de::Error| with_suggestion(&error.to_string());
                toml::from_str(text.strip_prefix('\u{feff}').unwrap_or(&text))
                    .map_err(|error| SettingsError::Parse { path: path.clone(), reason: reason(error) })?
            }
        };
        let settings = Self::merge(flags, file, &environment::data_dirs(), procfs::max_map_count())?;
        Ok(Self { log_filter: environment::log_filter(), ..settings })
    }

    fn merge(flags: Flags, file: File, dirs: &DataDirs, max_map_count: Option<usize>) -> Result<Self, SettingsError> {
        let data = flags.data.or(file.data).or_else(|| dirs.data()).ok_or(SettingsError::NoDataDir)?;
        let hosts = parse_hosts(if flags.hosts.is_empty() { &file.hosts } else { &flags.hosts })?;
        let hosts = if hosts.is_empty() { vec![dirs.host(&data).into()] } else { hosts };
        let serve = parse_hosts(if flags.serve.is_empty() { &file.serve } else { &flags.serve })?;
        if let Some(duplicate) = duplicate(&[&hosts[..], &serve].concat()) {
            return Err(SettingsError::DuplicateHost(duplicate.clone()));
        }
        let access_log_format = flags.access_log_format.or(file.access_log.format);
        let access_log_format = access_log_format.map_or(Ok(AccessLogFormat::default()), |format| format.parse())?;
        let boot_deadline = flags.boot_deadline.or(file.boot.deadline).unwrap_or(Duration::from_secs(300));
        if boot_deadline.is_zero() {
            return Err(SettingsError::ZeroDeadline);
        }
        let startup_policy = flags.while_booting.or(file.boot.policy);
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
        let requested = file.policy;
        if requested.mounts.is_some() {
            return Err(SettingsError::MountsInPolicy);
        }
        if requested.secrets.is_some() || requested.http.iter().flatten().any(|rule| !rule.secrets.is_empty()) {
            return Err(SettingsError::SecretsInPolicy);
        }
        if let Some((name, _)) = file.secrets.iter().find(|(_, secret)| secret.source().is_none()) {
            return Err(SettingsError::SecretSource(name.clone()));
        }
        let LimitsTable { runs, queue, stack } = file.limits;
        let runs_requested = check_range("limits.runs", runs.unwrap_or(DEFAULT_RUNS), &(1..=MAX_RUNS))?;
        let runs_ceiling =
            max_map_count.map_or(MAX_RUNS, |maps| capstan_sandbox::max_runs_for_maps(maps).min(MAX_RUNS));
        let queue = check_range("limits.queue", queue.unwrap_or(engine::DEFAULT_QUEUE), &(0..=MAX_QUEUE))?;
        let stack = stack.map_or(capstan_sandbox::DEFAULT_STACK, |stack| stack.try_into().unwrap_or(usize::MAX));
        let stack = check_range("limits.stack", stack, &STACK)?;
        let history = file.history.limits()?;
        let (jobs, job_limits) = (file.jobs.queue()?, file.jobs.limits());
        let webhooks = webhooks::check(file.webhooks);
        let webhooks = webhooks.map_err(|(name, source)| SettingsError::Webhook { name, source })?;
        let events = file.events.keep.unwrap_or(events::DEFAULT_CAPACITY);
        let events = check_range("events.keep", events, &(1..=MAX_EVENTS))?;
        let (http, allowed_hosts) = (file.http.limits()?, file.http.allowed_hosts()?);
        Ok(Self {
            hosts,
            serve,
            access_log: flags.access_log.or(file.access_log.file),
            access_log_format,
            listening: listening.options(flags.insecure_tcp)?,
            tls,
            startup_policy: startup_policy.map_or(Ok(StartupPolicy::default()), |policy| policy.parse())?,
            boot_deadline,
            data,
            grace: file.grace.unwrap_or(Duration::from_secs(10)),
            limits: Limits::default().overridden_by(&requested),
            excess: file.manifests.excess,
            mounts: file.mounts,
            mount_prefixes: file.mount_prefixes,
            scratch: requested.scratch.unwrap_or(Ceiling::default().scratch),
            pass_env: requested.pass_env.unwrap_or_default(),
            secrets: file.secrets,
            network: requested.network.unwrap_or_default(),
            outbound: requested.http.unwrap_or_default(),
            outbound_ca: file.outbound.tls_ca,
            features: requested.features.unwrap_or_else(Feature::allowed_by_default),
            runs: runs_requested.min(runs_ceiling),
            runs_requested,
            runs_ceiling,
            queue,
            stack,
            compile: compile_limits(&file.compile),
            upload: file.compile.upload.unwrap_or(256 << 20),
            files: file.files.limits(),
            history,
            jobs,
            job_limits,
            webhooks,
            events,
            http,
            allowed_hosts,
            confine: flags.confine.or(file.confine).unwrap_or_default(),
            debug: flags.debug,
            log_filter: None,
        })
    }

    /// Returns the sections and keys of the configuration file that differ in `next` and take effect only at the next start.
    pub(super) fn needs_restart(&self, next: &Self) -> Vec<&'static str> {
        // All fields are listed, so that the compiler requires a decision for a new one. Those with `_` are reloaded, or are not in the file.
        let Self {
            hosts,
            serve,
            access_log,
            access_log_format,
            listening,
            tls,
            startup_policy,
            boot_deadline,
            data,
            grace,
            runs_requested,
            queue,
            stack,
            compile,
            upload,
            files,
            history,
            jobs,
            job_limits,
            webhooks,
            events,
            http,
            allowed_hosts,
            confine,
            limits: _,
            excess: _,
            mounts: _,
            mount_prefixes: _,
            scratch: _,
            pass_env: _,
            secrets: _,
            network: _,
            outbound,
            outbound_ca,
            features: _,
            runs: _,
            runs_ceiling: _,
            debug: _,
            log_filter: _,
        } = self;
        let changed = [
            ("hosts", *hosts != next.hosts),
            ("serve", *serve != next.serve),
            ("[access_log]", (access_log, access_log_format) != (&next.access_log, &next.access_log_format)),
            ("[listen]", *listening != next.listening),
            ("[tls]", *tls != next.tls),
            ("[boot]", (*startup_policy, *boot_deadline) != (next.startup_policy, next.boot_deadline)),
            ("data", *data != next.data),
            ("grace", *grace != next.grace),
            ("[limits]", (*runs_requested, *queue, *stack) != (next.runs_requested, next.queue, next.stack)),
            ("[compile]", (*compile, *upload) != (next.compile, next.upload)),
            ("[files]", *files != next.files),
            ("[history]", *history != next.history),
            ("[jobs]", *jobs != next.jobs || *job_limits != next.job_limits),
            ("[webhooks]", *webhooks != next.webhooks),
            ("[events]", *events != next.events),
            // The certificates are read at the start, if a rule needs them.
            ("policy.http", outbound.is_empty() && !next.outbound.is_empty()),
            ("[outbound]", *outbound_ca != next.outbound_ca),
            ("confine", *confine != next.confine),
            ("[http]", *http != next.http || *allowed_hosts != next.allowed_hosts),
        ];
        changed.into_iter().filter_map(|(key, is_changed)| is_changed.then_some(key)).collect()
    }
}

/// Parses the hosts to listen on, and checks that each is named once.
fn parse_hosts(hosts: &[String]) -> Result<Vec<Host>, SettingsError> {
    let hosts = hosts.iter().map(|host| host.parse()).collect::<Result<Vec<Host>, _>>()?;
    match duplicate(&hosts) {
        Some(duplicate) => Err(SettingsError::DuplicateHost(duplicate.clone())),
        None => Ok(hosts),
    }
}

/// Returns the first host that is named a second time. Port 0 may be named any number of times, because each gets another free port.
fn duplicate(hosts: &[Host]) -> Option<&Host> {
    let is_any_port = |host: &Host| matches!(host, Host::Bind(Address::Tcp { port: 0, .. }));
    let mut later = hosts.iter().enumerate();
    later.find(|(index, host)| hosts[..*index].contains(host) && !is_any_port(host)).map(|(_, host)| host)
}

fn compile_limits(table: &CompileTable) -> CompileLimits {
    let default = CompileLimits::default();
    CompileLimits { timeout: table.timeout.unwrap_or(default.timeout), memory: table.memory.unwrap_or(default.memory) }
}

#[cfg(test)]
mod tests;
