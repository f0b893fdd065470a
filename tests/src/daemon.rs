//! `Daemon`: the real binary, started in its own directory and killed at the end of the test.

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
use crate::{Address, Client, TIMEOUT, eventually, guests};

/// The user id of `nobody`, who owns no files.
const NOBODY: u32 = 65_534;

/// The settings of a daemon. By default it listens on a unix socket and a free TCP port and has a data directory, all in a fresh directory.
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

/// Executes its arguments as the process that `LISTEN_PID` names, unless the test sets another.
const WITH_PID: &str = r#"export LISTEN_PID="${LISTEN_PID-$$}"; exec "$0" "$@""#;

/// The first descriptor number used to keep descriptors out of the way while a shell moves them to their final numbers.
const ASIDE: i32 = 200;

/// A tester can set this variable to run all daemons in one confinement mode. A test that sets a mode overrides it.
const CONFINE: &str = "CAPSTAN_TEST_CONFINE";

/// Held for reading while a process starts, and for writing while a process starts that inherits descriptors, so that no other process inherits them.
static STARTING: RwLock<()> = RwLock::new(());

impl Setup {
    /// Creates the settings of `binary`. A clone shares the directory, so that two daemons can compete for it.
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

    /// The directory that contains all files of the daemon.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Listens only on these addresses.
    #[must_use]
    pub fn hosts<H: Into<String>>(mut self, hosts: impl IntoIterator<Item = H>) -> Self {
        self.hosts = hosts.into_iter().map(Into::into).collect();
        self
    }

    /// Runs as a user to whom file modes apply, which they do not to root. If the tester is not root, runs as the tester. The setup's directory
    /// is given to that user.
    #[must_use]
    pub fn unprivileged(mut self) -> Self {
        if rustix::process::geteuid().is_root() {
            // The build directory of the tester may be unreadable to other users, so the binary is copied. Another process copies it: a child that a
            // parallel test starts at that moment would inherit the open file, and an executable that is open for writing cannot be run.
            let binary = self.folder().join("capstan");
            let copied = Command::new("cp").args([&self.binary, &binary]).status().unwrap();
            assert!(copied.success(), "cp {}", self.binary.display());
            self.binary = binary;
            self.user = Some(NOBODY);
            chown(self.folder(), Some(NOBODY), Some(NOBODY)).unwrap();
        }
        self
    }

    /// Creates the directory `path` in the setup's directory, owned by the daemon's user, with `mode`.
    pub fn folder_with_mode(&self, path: &str, mode: u32) -> PathBuf {
        let path = self.folder().join(path);
        fs::create_dir_all(&path).unwrap();
        chown(&path, self.user, self.user).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    /// Uses this data directory.
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

    /// Sets a variable in the environment of the daemon.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.variables.push((name.to_owned(), value.into()));
        self
    }

    /// Passes a descriptor to the daemon as systemd does, under the next number starting at 3.
    #[must_use]
    pub fn pass(mut self, name: &str, passed: impl Into<OwnedFd>) -> Self {
        let aside = rustix::io::fcntl_dupfd_cloexec(passed.into(), ASIDE).unwrap();
        self.passed.push((name.to_owned(), Arc::new(aside)));
        self
    }

    /// Serves TCP over TLS with this certificate.
    #[must_use]
    pub fn tls(self, own: &Leaf) -> Self {
        let [cert, key] = own.write(self.folder(), "own");
        self.arg("--tls-cert").arg(cert).arg("--tls-key").arg(key)
    }

    /// Requires clients over TCP to present a certificate of this authority.
    #[must_use]
    pub fn tls_ca(self, ca: &Authority) -> Self {
        let file = tls::write(self.folder(), "ca.pem", ca.pem());
        self.arg("--tls-ca").arg(file)
    }

    /// Starts with a configuration file that has this content.
    #[must_use]
    pub fn config(self, toml: &str) -> Self {
        let file = self.folder().join("capstan.toml");
        fs::write(&file, toml).unwrap();
        self.arg("--config").arg(file)
    }

    /// Starts the daemon and waits until it is ready.
    ///
    /// # Panics
    /// If the daemon exits instead.
    pub fn start(self) -> Daemon {
        let mut daemon = self.spawn();
        match daemon.wait_for_line("ready") {
            Ok(()) => daemon,
            Err(failed) => panic!("the daemon did not start: {failed:?}"),
        }
    }

    /// Starts a daemon and expects that it fails to start.
    ///
    /// # Panics
    /// If the daemon becomes ready.
    pub fn start_must_fail(self) -> FailedStart {
        let mut daemon = self.spawn();
        daemon.wait_for_line("ready").expect_err("the daemon must fail to start")
    }

    /// Starts the daemon and returns immediately; see [`Daemon::wait_for_line`].
    pub fn spawn(self) -> Daemon {
        let log = self.folder().join(format!("daemon-{}.log", fs::read_dir(self.folder()).unwrap().count()));
        let mut command = self.command();
        command.arg("daemon").arg("--data").arg(&self.data).args(&self.args);
        if let Some(mode) = std::env::var_os(CONFINE).filter(|_| !self.args.iter().any(|arg| arg == "--confine")) {
            command.arg("--confine").arg(mode);
        }
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
                // Drain the pipe to its end, even if the test reads no more lines.
                let _ = sender.send(line);
            }
        });
        Daemon { child, lines, printed: Vec::new(), log, setup: self }
    }

    /// Starts the process so that no other process inherits the passed descriptors.
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

    /// Builds the command that runs the binary in its environment, with the passed descriptors.
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
        // `sh` accepts only descriptor numbers of one digit, so this needs bash.
        let mut command = Command::new("bash");
        command.arg("-c").arg(script + WITH_PID).arg(&self.binary);
        clean_environment(&mut command, self.folder());
        let names: Vec<_> = self.passed.iter().map(|(name, _)| name.as_str()).collect();
        command.env("LISTEN_FDS", names.len().to_string()).env("LISTEN_FDNAMES", names.join(":"));
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }
}

/// A running daemon. Dropping it kills the process, and prints its log if the test failed.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    lines: Receiver<String>,
    printed: Vec<String>,
    log: PathBuf,
    setup: Setup,
}

/// The remains of a daemon that failed to start.
#[derive(Debug)]
pub struct FailedStart {
    /// The exit status of the process.
    pub status: ExitStatus,
    /// The lines it printed.
    pub stdout: Vec<String>,
    /// Its log.
    pub stderr: String,
}

impl Daemon {
    /// Starts `binary` with the defaults of [`Setup::new`].
    pub fn start(binary: &str) -> Self {
        Setup::new(binary).start()
    }

    /// Waits until the daemon prints a line that starts with `prefix`.
    ///
    /// # Errors
    /// If the daemon exits first.
    pub fn wait_for_line(&mut self, prefix: &str) -> Result<(), FailedStart> {
        let began = Instant::now();
        while let Ok(line) = self.lines.recv_timeout(TIMEOUT.saturating_sub(began.elapsed())) {
            self.printed.push(line);
            if self.printed.last().is_some_and(|line| line.starts_with(prefix)) {
                return Ok(());
            }
        }
        assert!(began.elapsed() < TIMEOUT, "the daemon neither printed {prefix:?} nor exited:\n{}", self.log());
        let status = self.child.wait().unwrap();
        Err(FailedStart { status, stdout: std::mem::take(&mut self.printed), stderr: self.log() })
    }

    /// Returns a client that uses the TCP address.
    pub fn client(&self) -> Client {
        Client::new(Address::Tcp(self.addr()))
    }

    /// Returns a client that uses the TCP address over TLS.
    pub fn tls_client(&self, config: ClientConfig) -> Client {
        Client::new(Address::Tls(self.addr(), config.into()))
    }

    /// Returns a client that uses the unix socket.
    pub fn unix_client(&self) -> Client {
        Client::new(Address::Unix(self.unix()))
    }

    /// Returns the first TCP address that the daemon printed.
    pub fn addr(&self) -> SocketAddr {
        let host = self.printed.iter().find_map(|line| line.strip_prefix("listening on tcp://"));
        host.expect("the daemon listens on TCP").parse().unwrap()
    }

    /// Returns the first unix socket that the daemon printed.
    pub fn unix(&self) -> PathBuf {
        let path = self.printed.iter().find_map(|line| line.strip_prefix("listening on unix://"));
        path.expect("the daemon listens on a unix socket").into()
    }

    /// Returns the lines that the daemon printed until it was ready.
    pub fn printed(&self) -> &[String] {
        &self.printed
    }

    /// Returns the settings that the daemon was started with, to start a second one.
    pub fn setup(&self) -> Setup {
        self.setup.clone()
    }

    /// Waits until the log contains each of `texts`. The daemon writes a line shortly after the event that it describes.
    ///
    /// # Panics
    /// If a text does not appear in time.
    pub async fn until_logged(&self, texts: &[&str]) {
        eventually(format_args!("{texts:?} in the log"), async || {
            let log = self.log();
            texts.iter().all(|text| log.contains(text)).then_some(())
        })
        .await;
    }

    /// Returns the log so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap()).into_owned()
    }

    /// Kills the daemon and starts it again with the same data.
    pub async fn kill_and_restart(mut self) -> (Self, Client) {
        self.signal(Signal::KILL);
        self.wait_exit().await;
        let setup = self.setup();
        drop(self);
        let daemon = setup.start();
        let client = daemon.client();
        (daemon, client)
    }

    /// Returns the process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.pid().try_into().unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Returns whether the process is still running.
    pub fn is_alive(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits until the daemon exits by itself.
    pub async fn wait_exit(&mut self) -> ExitStatus {
        let child = &mut self.child;
        eventually("the daemon to exit", async || child.try_wait().unwrap()).await
    }

    /// Returns the resident memory of the process in bytes.
    pub fn memory(&self) -> u64 {
        self.status("VmRSS:")
    }

    /// Returns the peak resident memory of the process in bytes.
    pub fn peak_memory(&self) -> u64 {
        self.status("VmHWM:")
    }

    /// Returns a memory figure of `/proc/PID/status` in bytes.
    fn status(&self, name: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("Linux reports memory");
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }

    /// Returns the running child processes, such as compilers.
    pub fn children(&self) -> Vec<Pid> {
        let processes =
            fs::read_dir("/proc").unwrap().filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
        let is_child = |process: &i32| {
            // The process may have exited in the meantime.
            let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
            // The name, in parentheses, can contain any character. The state and the parent follow.
            let parent = stat.rsplit_once(") ").and_then(|(_, fields)| fields.split(' ').nth(1)?.parse().ok());
            parent == Some(self.pid())
        };
        processes.filter(is_child).filter_map(Pid::from_raw).collect()
    }

    /// Returns the processor time that the process has used.
    pub fn processor_time(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap();
        // The name, in parentheses, can contain any character. 11 fields follow before user and system time.
        let (_, fields) = stat.rsplit_once(") ").expect("a name is in parentheses");
        let ticks: u64 = fields.split(' ').skip(11).take(2).map(|field| field.parse::<u64>().unwrap()).sum();
        Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second())
    }

    /// Limits the number of files that the process can have open at a time.
    pub fn limit_open_files(&self, limit: u64) {
        let pid = Pid::from_raw(self.pid().try_into().unwrap());
        let maximum = getrlimit(Resource::Nofile).maximum;
        prlimit(pid, Resource::Nofile, Rlimit { current: Some(limit), maximum }).unwrap();
    }

    /// Returns the number of threads of the process.
    pub fn threads(&self) -> usize {
        fs::read_dir(format!("/proc/{}/task", self.pid())).unwrap().count()
    }

    /// Returns the number of files and sockets that the process has open.
    pub fn open_files(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.pid())).unwrap().count()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Both fail only if the process has already exited.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- the daemon printed {:?} and logged:\n{}---", self.printed, self.log());
        }
    }
}

/// Starts a process that inherits no descriptor that is meant for another process.
pub(crate) fn started<T>(start: impl FnOnce() -> T) -> T {
    let _together = STARTING.read().unwrap_or_else(PoisonError::into_inner);
    start()
}

/// Clears the environment of a child process except for the search path, and sets a home directory.
pub(crate) fn clean_environment(command: &mut Command, home: &Path) {
    let path = std::env::var_os("PATH").unwrap_or_default();
    command.env_clear().env("PATH", path).env("HOME", home).env("XDG_RUNTIME_DIR", home).env("XDG_STATE_HOME", home);
    // All commands share a cache of compiled code, as those of a user do.
    command.env("CAPSTAN_CACHE", guests::target().join("tmp/code-cache"));
}
