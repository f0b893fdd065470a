//! [`Server`]: a process that serves for one round.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// How long a server may take to start, and the workers to end all jobs.
pub const TIMEOUT: Duration = Duration::from_secs(300);

/// A process that is ended when this is dropped.
pub struct Server(pub Child);

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only if it has ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Returns a port that was free a moment ago.
pub fn free_port() -> Result<u16, Error> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// Calls `attempt` until it succeeds.
pub fn until<T>(what: &str, mut attempt: impl FnMut() -> Result<T, Error>) -> Result<T, Error> {
    let began = Instant::now();
    loop {
        match attempt() {
            Ok(done) => return Ok(done),
            Err(error) if began.elapsed() > TIMEOUT => return Err(format!("{what}: {error}").into()),
            Err(_) => std::thread::sleep(Duration::from_millis(2)),
        }
    }
}

/// Returns what `program --version` prints first.
pub fn version(program: &Path) -> Result<String, Error> {
    let output = Command::new(program).arg("--version").output();
    let output = output.map_err(|error| format!("{}: {error}", program.display()))?;
    Ok(String::from_utf8(output.stdout)?.lines().next().unwrap_or_default().to_owned())
}

/// Does what a job does.
pub fn run_job(process: bool) -> Result<(), Error> {
    if process && !Command::new("/bin/true").status()?.success() {
        return Err("/bin/true failed".into());
    }
    Ok(())
}
