//! `Daemon`: the real binary, started in a folder of its own and ended with the test.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use rustix::io::FdFlags;
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, prlimit};
use rustls::ClientConfig;
use tempfile::TempDir;

use crate::tls::{self, Authority, Leaf};
use crate::{Address, Client, PATIENCE, eventually};

/// The user who has no files and no rights.
const NOBODY: u32 = 65_534;

/// How a daemon is to be started. By default on a unix socket and a free TCP port, with a data folder, all in a fresh folder.
#[derive(Debug, Clone)]
pub struct Setup {
    binary: PathBuf,
    folder: Arc<TempDir>,
    hosts: Vec<String>,
    data: PathBuf,
    args: Vec<OsString>,
    variables: Vec<(String, OsString)>,
    passed: Vec<(String, Arc<OwnedFd>)>,
    user: Option<u32>,
}

/// Starts its arguments as the process that `LISTEN_PID` names, unless the test has set another.
const WITH_PID: &str = r#"export LISTEN_PID="${LISTEN_PID-$$}"; exec "$0" "$@""#;

/// Where descriptors lie, out of the way of all that are to be passed, while a shell puts them into their places.
const ASIDE: i32 = 200;

/// Held to start a process; by whoever passes descriptors alone, so that no other process gets them too.
static STARTING: RwLock<()> = RwLock::new(());

impl Setup {
    /// A setup of `binary`; a clone shares the folder, so that two daemons can fight for it.
    pub fn new(binary: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("capstan-").tempdir().unwrap();
        let socket = format!("unix://{}/s.sock", folder.path().display());
        Self {
            binary: binary.into(),
            hosts: vec![socket, "tcp://127.0.0.1:0".to_owned()],
            data: folder.path().join("data"),
            folder: Arc::new(folder),
            args: Vec::new(),
            variables: Vec::new(),
            passed: Vec::new(),
            user: None,
        }
    }

    /// The folder that all of the daemon's files lie in.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Listens on these addresses only.
    #[must_use]
    pub fn hosts<H: Into<String>>(mut self, hosts: impl IntoIterator<Item = H>) -> Self {
        self.hosts = hosts.into_iter().map(Into::into).collect();
        self
    }

    /// Runs as a user whom the modes of files bind, as they do not bind root; where the tester is one, as the tester. The setup's folder
    /// is given to that user.
    #[must_use]
    pub fn unprivileged(mut self) -> Self {
        if rustix::process::geteuid().is_root() {
            // The tester's build need not be where others may go. Another process copies it: a child that another test starts meanwhile
            // would have this one's file open for writing, and then nobody could run it.
            let binary = self.folder().join("capstan");
            let copied = Command::new("cp").args([&self.binary, &binary]).status().unwrap();
            assert!(copied.success(), "cp {}", self.binary.display());
            self.binary = binary;
            self.user = Some(NOBODY);
            chown(self.folder(), Some(NOBODY), Some(NOBODY)).unwrap();
        }
        self
    }

    /// Makes the folder `path` below the setup's, for the user that the daemon runs as, with `mode`.
    pub fn folder_with_mode(&self, path: &str, mode: u32) -> PathBuf {
        let path = self.folder().join(path);
        fs::create_dir_all(&path).unwrap();
        chown(&path, self.user, self.user).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    /// Uses this data folder.
    #[must_use]
    pub fn data(mut self, data: impl Into<PathBuf>) -> Self {
        self.data = data.into();
        self
    }

    /// Adds an argument of `capstan daemon`.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Sets a variable of the daemon's environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.variables.push((name.to_owned(), value.into()));
        self
    }

    /// Passes this to the daemon as systemd does, under the next file descriptor from 3 on.
    #[must_use]
    pub fn pass(mut self, name: &str, passed: impl Into<OwnedFd>) -> Self {
        let aside = rustix::io::fcntl_dupfd_cloexec(passed.into(), ASIDE).unwrap();
        self.passed.push((name.to_owned(), Arc::new(aside)));
        self
    }

    /// Serves TCP over TLS under this certificate.
    #[must_use]
    pub fn tls(self, own: &Leaf) -> Self {
        let [cert, key] = own.write(self.folder(), "own");
        self.arg("--tls-cert").arg(cert).arg("--tls-key").arg(key)
    }

    /// Asks clients over TCP for certificates of this authority.
    #[must_use]
    pub fn tls_ca(self, ca: &Authority) -> Self {
        let file = tls::write(self.folder(), "ca.pem", ca.pem());
        self.arg("--tls-ca").arg(file)
    }

    /// Starts with a configuration file of this text.
    #[must_use]
    pub fn config(self, toml: &str) -> Self {
        let file = self.folder().join("capstan.toml");
        fs::write(&file, toml).unwrap();
        self.arg("--config").arg(file)
    }

    /// Starts the daemon and waits until it is ready.
    ///
    /// # Panics
    /// If it ends instead.
    pub fn start(self) -> Daemon {
        let mut daemon = self.spawn();
        match daemon.wait_for_line("ready") {
            Ok(()) => daemon,
            Err(refused) => panic!("the daemon did not start: {refused:?}"),
        }
    }

    /// Starts a daemon that must refuse to run.
    ///
    /// # Panics
    /// If it gets ready.
    pub fn refused(self) -> Refused {
        let mut daemon = self.spawn();
        daemon.wait_for_line("ready").expect_err("the daemon must refuse to start")
    }

    /// Starts the daemon and waits for nothing; see [`Daemon::wait_for_line`].
    pub fn spawn(self) -> Daemon {
        let log = self.folder().join(format!("daemon-{}.log", fs::read_dir(self.folder()).unwrap().count()));
        let mut command = self.command();
        command.arg("daemon").arg("--data").arg(&self.data).args(&self.args);
        for host in &self.hosts {
            command.arg("-H").arg(host);
        }
        if let Some(user) = self.user {
            command.uid(user).gid(user);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(File::create(&log).unwrap());
        let mut child = self.start_alone(command).unwrap_or_else(|error| panic!("{}: {error}", self.binary.display()));

        let stdout = BufReader::new(child.stdout.take().expect("stdout is piped"));
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                // The pipe is drained to its end even when nobody asks for lines any more.
                let _ = sender.send(line);
            }
        });
        Daemon { child, lines, printed: Vec::new(), log, setup: self }
    }

    /// Starts the process, and sees to it that it alone gets what is passed.
    fn start_alone(&self, mut command: Command) -> io::Result<Child> {
        if self.passed.is_empty() {
            return started(|| command.spawn());
        }
        let _alone = STARTING.write().unwrap_or_else(PoisonError::into_inner);
        for (_, aside) in &self.passed {
            rustix::io::fcntl_setfd(aside, FdFlags::empty())?;
        }
        let child = command.spawn();
        for (_, aside) in &self.passed {
            rustix::io::fcntl_setfd(aside, FdFlags::CLOEXEC)?;
        }
        child
    }

    /// The binary in its environment, with what is passed to it.
    fn command(&self) -> Command {
        if self.passed.is_empty() {
            let mut command = Command::new(&self.binary);
            clean_environment(&mut command, self.folder());
            command.envs(self.variables.iter().map(|(name, value)| (name, value)));
            return command;
        }
        let mut script = String::new();
        for ((_, aside), number) in self.passed.iter().zip(3..) {
            let aside = aside.as_raw_fd();
            script += &format!("exec {number}<&{aside} {aside}<&-; ");
        }
        // The plain shell takes no number of more than one digit.
        let mut command = Command::new("bash");
        command.arg("-c").arg(script + WITH_PID).arg(&self.binary);
        clean_environment(&mut command, self.folder());
        let names: Vec<_> = self.passed.iter().map(|(name, _)| name.as_str()).collect();
        command.env("LISTEN_FDS", names.len().to_string()).env("LISTEN_FDNAMES", names.join(":"));
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }
}

/// A running daemon; dropping it kills the process and prints its log if the test failed.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    lines: Receiver<String>,
    printed: Vec<String>,
    log: PathBuf,
    setup: Setup,
}

/// What a daemon that did not start left behind.
#[derive(Debug)]
pub struct Refused {
    /// How the process ended.
    pub status: ExitStatus,
    /// What it printed.
    pub stdout: Vec<String>,
    /// What it logged.
    pub stderr: String,
}

impl Daemon {
    /// Starts `binary` as [`Setup::new`] has it.
    pub fn start(binary: &str) -> Self {
        Setup::new(binary).start()
    }

    /// Waits until the daemon prints a line that begins with `prefix`.
    ///
    /// # Errors
    /// What is left of it, if it ends before.
    pub fn wait_for_line(&mut self, prefix: &str) -> Result<(), Refused> {
        let began = Instant::now();
        while let Ok(line) = self.lines.recv_timeout(PATIENCE.saturating_sub(began.elapsed())) {
            self.printed.push(line);
            if self.printed.last().is_some_and(|line| line.starts_with(prefix)) {
                return Ok(());
            }
        }
        assert!(began.elapsed() < PATIENCE, "the daemon neither printed {prefix:?} nor ended:\n{}", self.log());
        let status = self.child.wait().unwrap();
        Err(Refused { status, stdout: std::mem::take(&mut self.printed), stderr: self.log() })
    }

    /// A client of its TCP address.
    pub fn client(&self) -> Client {
        Client::new(Address::Tcp(self.addr()))
    }

    /// A client of its TCP address over TLS.
    pub fn tls_client(&self, config: ClientConfig) -> Client {
        Client::new(Address::Tls(self.addr(), config.into()))
    }

    /// A client of its unix socket.
    pub fn unix_client(&self) -> Client {
        Client::new(Address::Unix(self.unix()))
    }

    /// The first TCP address that it printed.
    pub fn addr(&self) -> SocketAddr {
        let host = self.printed.iter().find_map(|line| line.strip_prefix("listening on tcp://"));
        host.expect("the daemon listens on TCP").parse().unwrap()
    }

    /// The first unix socket that it printed.
    pub fn unix(&self) -> PathBuf {
        let path = self.printed.iter().find_map(|line| line.strip_prefix("listening on unix://"));
        path.expect("the daemon listens on a unix socket").into()
    }

    /// What it printed until it was ready.
    pub fn printed(&self) -> &[String] {
        &self.printed
    }

    /// The setup it was started with, to start another like it.
    pub fn setup(&self) -> Setup {
        self.setup.clone()
    }

    /// Waits until it has logged each of `texts`: a line is written a little after what it tells of.
    ///
    /// # Panics
    /// If it never does.
    pub async fn until_logged(&self, texts: &[&str]) {
        eventually(format_args!("{texts:?} in the log"), async || {
            let log = self.log();
            texts.iter().all(|text| log.contains(text)).then_some(())
        })
        .await;
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap()).into_owned()
    }

    /// The id of its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.pid().try_into().unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Whether it still runs.
    pub fn is_alive(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits until it ends by itself.
    pub async fn wait_exit(&mut self) -> ExitStatus {
        let child = &mut self.child;
        eventually("the daemon to end", async || child.try_wait().unwrap()).await
    }

    /// The memory that its process has, in bytes.
    pub fn memory(&self) -> u64 {
        self.status("VmRSS:")
    }

    /// The most memory that its process has had at a time, in bytes.
    pub fn peak_memory(&self) -> u64 {
        self.status("VmHWM:")
    }

    /// An amount of memory that Linux tells of its process, in bytes.
    fn status(&self, name: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("Linux tells of memory");
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }

    /// The processes that it has started and that have not ended, as compilers are.
    pub fn children(&self) -> Vec<Pid> {
        let processes =
            fs::read_dir("/proc").unwrap().filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
        let is_child = |process: &i32| {
            // One that has ended meanwhile is none.
            let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
            // The name, in parentheses, may hold anything; the state and the parent follow.
            let parent = stat.rsplit_once(") ").and_then(|(_, fields)| fields.split(' ').nth(1)?.parse().ok());
            parent == Some(self.pid())
        };
        processes.filter(is_child).filter_map(Pid::from_raw).collect()
    }

    /// How much processor time its process has used.
    pub fn processor_time(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap();
        // The name, in parentheses, may hold anything; 11 fields follow it before those of user and system.
        let (_, fields) = stat.rsplit_once(") ").expect("a name is in parentheses");
        let ticks: u64 = fields.split(' ').skip(11).take(2).map(|field| field.parse::<u64>().unwrap()).sum();
        Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second())
    }

    /// Lets its process open this many files at a time from now on.
    pub fn limit_open_files(&self, limit: u64) {
        let pid = Pid::from_raw(self.pid().try_into().unwrap());
        let maximum = getrlimit(Resource::Nofile).maximum;
        prlimit(pid, Resource::Nofile, Rlimit { current: Some(limit), maximum }).unwrap();
    }

    /// How many threads its process has.
    pub fn threads(&self) -> usize {
        fs::read_dir(format!("/proc/{}/task", self.pid())).unwrap().count()
    }

    /// How many files and sockets its process has open.
    pub fn open_files(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.pid())).unwrap().count()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Both fail only where the process has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- the daemon printed {:?} and logged:\n{}---", self.printed, self.log());
        }
    }
}

/// Starts a process that gets nothing that is meant for another.
pub(crate) fn started<T>(start: impl FnOnce() -> T) -> T {
    let _together = STARTING.read().unwrap_or_else(PoisonError::into_inner);
    start()
}

/// Leaves a child process nothing of the tester's environment but the search path, and a home of its own.
pub(crate) fn clean_environment(command: &mut Command, home: &Path) {
    let path = std::env::var_os("PATH").unwrap_or_default();
    command.env_clear().env("PATH", path).env("HOME", home).env("XDG_RUNTIME_DIR", home).env("XDG_STATE_HOME", home);
}
