//! `Cli`: runs the real command as a user does.

use std::ffi::OsStr;
use std::io::{Seek as _, Write as _};
use std::path::Path;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::daemon::{clean_environment, started};
use crate::{Daemon, within};

/// One call of the command, not started yet. It has a fresh working directory.
#[derive(Debug)]
pub struct Cli {
    command: Command,
    folder: TempDir,
    stdin: Option<Vec<u8>>,
    /// Whether stdin is set on the command already.
    has_stdin: bool,
}

impl Cli {
    /// Creates a call that names no daemon.
    pub fn new(binary: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("capstan-cli-").tempdir().unwrap();
        let mut command = std::process::Command::new(binary);
        clean_environment(&mut command, folder.path());
        command.current_dir(folder.path());
        Self { command: command.into(), folder, stdin: None, has_stdin: false }
    }

    /// Creates a call that names a daemon with `-H`.
    pub fn for_daemon(binary: &str, daemon: &Daemon) -> Self {
        Self::new(binary).args(["-H", &format!("unix://{}", daemon.unix().display())])
    }

    /// The working directory, in which a test creates files. It is deleted with the value that comes of this call.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a file in the working directory.
    #[must_use]
    pub fn file(self, name: &str, content: &[u8]) -> Self {
        std::fs::write(self.folder().join(name), content).unwrap();
        self
    }

    #[must_use]
    pub fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.command.args(args);
        self
    }

    /// Adds a subcommand with options, then the name of a program, a word, and further words.
    #[must_use]
    pub fn arg_list(self, command: &str, options: &[String], name: &str, word: &str, words: &[String]) -> Self {
        self.args([command]).args(options).args([name, word]).args(words)
    }

    #[must_use]
    pub fn env(mut self, key: &str, value: &str) -> Self {
        self.command.env(key, value);
        self
    }

    /// Sets the content of the file from which stdin is redirected. By default stdin is empty.
    #[must_use]
    pub fn stdin(mut self, stdin: impl Into<Vec<u8>>) -> Self {
        self.stdin = Some(stdin.into());
        self
    }

    /// Sets the file or pipe that is stdin.
    #[must_use]
    pub fn stdin_from(mut self, stdin: impl Into<Stdio>) -> Self {
        self.command.stdin(stdin);
        self.has_stdin = true;
        self
    }

    /// Runs the command and waits for its end.
    pub async fn run(mut self) -> Finished {
        if let Some(bytes) = self.stdin.take() {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&bytes).unwrap();
            file.rewind().unwrap();
            self = self.stdin_from(file);
        } else if !self.has_stdin {
            self = self.stdin_from(Stdio::null());
        }
        self.spawn().finish().await
    }

    /// Starts the command with pipes that the test reads and writes.
    pub fn spawn(mut self) -> Running {
        if !self.has_stdin {
            self.command.stdin(Stdio::piped());
        }
        self.command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = started(|| self.command.spawn()).unwrap();
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take().expect("stdout is piped"));
        Running { child, stdin, stdout, read: Vec::new(), folder: self.folder }
    }
}

/// A running command. Dropping it kills the process.
#[derive(Debug)]
pub struct Running {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: ChildStdout,
    read: Vec<u8>,
    folder: TempDir,
}

impl Running {
    /// Writes to stdin.
    pub async fn feed(&mut self, bytes: &[u8]) {
        let stdin = self.stdin.as_mut().expect("stdin is still open");
        within("space in the pipe", stdin.write_all(bytes)).await.unwrap();
        stdin.flush().await.unwrap();
    }

    /// Closes stdin.
    pub fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// Reads stdout until it contains `needle`.
    ///
    /// # Panics
    /// If stdout ends first.
    pub async fn read_until(&mut self, needle: &str) {
        while !self.read.windows(needle.len()).any(|window| window == needle.as_bytes()) {
            let count = within(format!("{needle:?}"), self.stdout.read_buf(&mut self.read)).await.unwrap();
            assert_ne!(count, 0, "stdout ended after {:?}", String::from_utf8_lossy(&self.read));
        }
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        let id = self.child.id().expect("the command is running");
        kill_process(Pid::from_raw(id.try_into().unwrap()).unwrap(), signal).unwrap();
    }

    /// Waits for the end of the process. Does not close stdin.
    pub async fn finish(mut self) -> Finished {
        let mut stderr = Vec::new();
        let mut pipe = self.child.stderr.take().expect("stderr is piped");
        let status = within("the command to end", async {
            let (out, err, status) =
                tokio::join!(self.stdout.read_to_end(&mut self.read), pipe.read_to_end(&mut stderr), self.child.wait());
            out.and(err).and(status).unwrap()
        })
        .await;
        Finished {
            code: status.code(),
            stdout: self.read,
            stderr: String::from_utf8_lossy(&stderr).into_owned(),
            folder: self.folder,
        }
    }
}

/// A finished command.
#[derive(Debug)]
pub struct Finished {
    /// The exit code, or `None` if a signal ended the process.
    pub code: Option<i32>,
    pub stdout: Vec<u8>,
    pub stderr: String,
    folder: TempDir,
}

impl Finished {
    /// The working directory of the command. It is deleted with this value.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Returns stdout as text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }

    /// Returns stdout as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.stdout).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }

    /// Reads a file in the working directory.
    pub fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.folder.path().join(name)).unwrap_or_else(|error| panic!("{name}: {error}; {self:?}"))
    }

    /// Compares the exit code and returns `self`.
    #[track_caller]
    pub fn assert_exit_code(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:?}");
        self
    }
}
