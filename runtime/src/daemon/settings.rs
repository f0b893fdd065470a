//! `Settings`: what the daemon runs with. A flag wins over the configuration file, and that over the default.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::Flags;
use super::places::{self, Places};
use crate::engine;
use crate::events;
use crate::history::Bounds;
use crate::limits::{Asked, Limits};
use crate::listener::{Address, AddressError};
use crate::sandbox::{self, CompileLimits};
use crate::units;

/// Runs that may go on at a time where the operator says nothing.
const RUNS: usize = 1000;
/// The most that the operator may allow: each takes address space from the start.
const MOST_RUNS: usize = 10_000;
/// The most jobs that may wait: each holds its arguments, variables and pipes.
const MOST_QUEUED: usize = 100_000;
/// The most events that may be kept: each takes a few hundred bytes.
const MOST_EVENTS: usize = 1_000_000;
/// The most jobs that may be remembered after their end: each takes about a kilobyte besides its output.
const MOST_REMEMBERED: usize = 10_000_000;

/// What the daemon runs with.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Settings {
    pub(super) hosts: Vec<Address>,
    pub(super) data: PathBuf,
    /// How long runs may go on after the daemon was asked to stop. Default 10 s.
    pub(super) grace: Duration,
    pub(super) ceiling: Limits,
    pub(super) runs: usize,
    /// Runs that the operator asked for, or the default; more than `runs` where the machine does not allow them.
    pub(super) runs_asked: usize,
    /// The most runs that this machine allows.
    pub(super) runs_ceiling: usize,
    /// Jobs that may wait for one of those to end. Default [`engine::DEFAULT_QUEUE`].
    pub(super) queue: usize,
    pub(super) compile: CompileLimits,
    /// Bytes of the largest program that may be pushed. Default 64 MiB.
    pub(super) upload: u64,
    /// What is remembered of jobs.
    pub(super) history: Bounds,
    /// Events that are kept for those who come later. Default [`events::DEFAULT_CAPACITY`].
    pub(super) events: usize,
    pub(super) insecure_tcp: bool,
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
    #[error("neither HOME nor XDG_STATE_HOME is set, so there is no default data folder; name one with --data")]
    NoData,
    #[error("{0} runs at a time are not from 1 to {MOST_RUNS}")]
    Runs(usize),
    #[error("{0} jobs in the queue are more than {MOST_QUEUED}")]
    Queue(usize),
    #[error("{0} events to keep are not from 1 to {MOST_EVENTS}")]
    Events(usize),
    #[error("{0} jobs to remember are not from 1 to {MOST_REMEMBERED}")]
    History(usize),
}

/// The configuration file. What is absent has its default; a key that is not known is an error that names it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    hosts: Vec<String>,
    data: Option<PathBuf>,
    #[serde(deserialize_with = "units::deserialize_duration")]
    grace: Option<Duration>,
    limits: LimitsTable,
    compile: CompileTable,
    history: HistoryTable,
    events: EventsTable,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct HistoryTable {
    jobs: Option<usize>,
    #[serde(deserialize_with = "units::deserialize_size")]
    bytes: Option<u64>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct EventsTable {
    keep: Option<usize>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct LimitsTable {
    #[serde(deserialize_with = "units::deserialize_duration")]
    timeout: Option<Duration>,
    #[serde(deserialize_with = "units::deserialize_size")]
    memory: Option<u64>,
    handles: Option<usize>,
    #[serde(deserialize_with = "units::deserialize_size")]
    stdout: Option<u64>,
    #[serde(deserialize_with = "units::deserialize_size")]
    stderr: Option<u64>,
    runs: Option<usize>,
    queue: Option<usize>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct CompileTable {
    #[serde(deserialize_with = "units::deserialize_duration")]
    timeout: Option<Duration>,
    #[serde(deserialize_with = "units::deserialize_size")]
    memory: Option<u64>,
    #[serde(deserialize_with = "units::deserialize_size")]
    upload: Option<u64>,
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
                let text =
                    places::read_config(path).map_err(|source| SettingsError::Read { path: path.clone(), source })?;
                let why = |error: toml::de::Error| error.to_string().trim_end().to_owned();
                toml::from_str(&text).map_err(|error| SettingsError::File { path: path.clone(), why: why(error) })?
            }
        };
        Self::merge(flags, file, Places::of_process(), places::max_maps())
    }

    fn merge(flags: Flags, file: File, places: Places, max_maps: Option<usize>) -> Result<Self, SettingsError> {
        let data = flags.data.or(file.data).or_else(|| places.data()).ok_or(SettingsError::NoData)?;
        let hosts = if flags.hosts.is_empty() { file.hosts } else { flags.hosts };
        let mut hosts = hosts.iter().map(|host| host.parse()).collect::<Result<Vec<Address>, _>>()?;
        if hosts.is_empty() {
            hosts.push(places.host(&data));
        }
        let LimitsTable { timeout, memory, handles, stdout, stderr, runs, queue } = file.limits;
        let runs_asked = runs.unwrap_or(RUNS);
        if !(1..=MOST_RUNS).contains(&runs_asked) {
            return Err(SettingsError::Runs(runs_asked));
        }
        let runs_ceiling = max_maps.map_or(MOST_RUNS, |maps| sandbox::runs_within(maps).min(MOST_RUNS));
        let queue = queue.unwrap_or(engine::DEFAULT_QUEUE);
        if queue > MOST_QUEUED {
            return Err(SettingsError::Queue(queue));
        }
        let history = file.history.bounds()?;
        let events = file.events.keep.unwrap_or(events::DEFAULT_CAPACITY);
        if !(1..=MOST_EVENTS).contains(&events) {
            return Err(SettingsError::Events(events));
        }
        let compile = CompileLimits::default();
        Ok(Self {
            hosts,
            data,
            grace: file.grace.unwrap_or(Duration::from_secs(10)),
            ceiling: Limits::default().replaced(&Asked { timeout, memory, handles, stdout, stderr }),
            runs: runs_asked.min(runs_ceiling),
            runs_asked,
            runs_ceiling,
            queue,
            compile: CompileLimits {
                timeout: file.compile.timeout.unwrap_or(compile.timeout),
                memory: file.compile.memory.unwrap_or(compile.memory),
            },
            upload: file.compile.upload.unwrap_or(64 << 20),
            history,
            events,
            insecure_tcp: flags.insecure_tcp,
            debug: flags.debug,
            log_filter: places.log_filter,
        })
    }
}

impl HistoryTable {
    fn bounds(self) -> Result<Bounds, SettingsError> {
        let default = Bounds::default();
        let jobs = self.jobs.unwrap_or(default.jobs);
        if !(1..=MOST_REMEMBERED).contains(&jobs) {
            return Err(SettingsError::History(jobs));
        }
        let bytes = self.bytes.map_or(default.bytes, |bytes| bytes.try_into().unwrap_or(usize::MAX));
        Ok(Bounds { jobs, bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merged(flags: Flags, toml: &str) -> Result<Settings, SettingsError> {
        let places = Places { home: Some("/h".into()), ..Places::default() };
        Settings::merge(flags, toml::from_str(toml).unwrap(), places, None)
    }

    fn texts(settings: &Settings) -> Vec<String> {
        settings.hosts.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn defaults_hold_where_nothing_is_said() {
        let settings = merged(Flags::default(), "").unwrap();
        assert_eq!(texts(&settings), ["unix:///h/.local/state/capstan/capstan.sock"]);
        assert_eq!(settings.ceiling, Limits::default());
        assert_eq!((settings.history, settings.events), (Bounds::default(), events::DEFAULT_CAPACITY));
        assert_eq!((settings.grace, settings.runs, settings.upload), (Duration::from_secs(10), 1000, 64 << 20));
    }

    #[test]
    fn flags_win_over_the_file_and_the_file_over_defaults() {
        let toml = "hosts = [\"unix:///f\"]\ndata = \"/d\"\ngrace = \"1s\"\n[limits]\ntimeout = \"2h\"\nmemory = \"1GiB\"\nruns = 3\n\
                    [compile]\ntimeout = 5\nmemory = \"2GiB\"\nupload = \"1MiB\"\n";
        let settings = merged(Flags::default(), toml).unwrap();
        assert_eq!(texts(&settings), ["unix:///f"]);
        assert_eq!(settings.data, PathBuf::from("/d"));
        assert_eq!(settings.ceiling.timeout, Duration::from_secs(7200), "the operator may go above the default");
        assert_eq!((settings.ceiling.memory, settings.runs, settings.upload), (1 << 30, 3, 1 << 20));
        assert_eq!(settings.compile, CompileLimits { timeout: Duration::from_secs(5), memory: 2 << 30 });
        assert_eq!(settings.grace, Duration::from_secs(1));

        let settings = merged(Flags::default(), "[history]\njobs = 5\nbytes = \"1MiB\"\n[events]\nkeep = 7").unwrap();
        assert_eq!((settings.history, settings.events), (Bounds { jobs: 5, bytes: 1 << 20 }, 7));

        let flags = Flags { hosts: vec!["tcp://localhost:1".into()], data: Some("/x".into()), ..Flags::default() };
        let settings = merged(flags, toml).unwrap();
        assert_eq!(texts(&settings), ["tcp://localhost:1"]);
        assert_eq!(settings.data, PathBuf::from("/x"));
    }

    #[test]
    fn a_key_that_is_not_known_is_named() {
        for (toml, named) in [
            ("colour = 1", "colour"),
            ("[limits]\nmemroy = 1", "memroy"),
            ("[limits]\nmemory = \"lots\"", "lots"),
            ("[compile]\ntimeout = -1", "timeout"),
            ("[history]\nbytes = \"all\"", "all"),
            ("[events]\nring = 1", "ring"),
            ("grace = [1]", "grace"),
            ("hosts = \"x", "line 1"),
        ] {
            let error = toml::from_str::<File>(toml).unwrap_err().to_string();
            assert!(error.contains(named), "{error}");
        }
    }

    #[test]
    fn runs_stay_below_what_the_kernel_has_maps_for() {
        let within = |max_maps, toml| {
            let places = Places { home: Some("/h".into()), ..Places::default() };
            let settings = Settings::merge(Flags::default(), toml::from_str(toml).unwrap(), places, max_maps).unwrap();
            (settings.runs, settings.runs_asked, settings.runs_ceiling)
        };
        assert_eq!(within(Some(65_530), "[limits]\nruns = 10000"), (10_000, 10_000, 10_000));
        assert_eq!(within(None, "[limits]\nruns = 10000"), (10_000, 10_000, 10_000));
        let (runs, asked, ceiling) = within(Some(30_000), "[limits]\nruns = 10000");
        assert!(runs == ceiling && asked == 10_000 && (4000..5000).contains(&runs), "{runs} of {asked}");
        assert_eq!(within(Some(1), "").0, 1);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        assert!(merged(Flags { hosts: vec!["nonsense".into()], ..Flags::default() }, "").is_err());
        assert!(merged(Flags::default(), "[limits]\nruns = 0").is_err());
        assert!(merged(Flags::default(), "[limits]\nqueue = 1000000").is_err());
        for (toml, named) in [
            ("[events]\nkeep = 0", "0 events"),
            ("[events]\nkeep = 1000001", "1000001 events"),
            ("[history]\njobs = 0", "0 jobs to remember"),
        ] {
            assert!(merged(Flags::default(), toml).unwrap_err().to_string().contains(named), "{toml}");
        }
        assert!(Settings::merge(Flags::default(), File::default(), Places::default(), None).is_err());
    }
}
