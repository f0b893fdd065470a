//! A queue in a table of PostgreSQL, with the default durability of its configuration.

use std::fs::File;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use postgres::{Client, NoTls, Statement};
use tempfile::TempDir;

use crate::Options;
use crate::server::{Error, Server, free_port, run_job, until, version as version_of};
use crate::workload::{Queue, Submit, System};

const SCHEMA: &str = "
    CREATE TABLE jobs (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        queue text NOT NULL,
        priority smallint NOT NULL DEFAULT 1,
        state text NOT NULL DEFAULT 'available',
        args jsonb NOT NULL,
        scheduled_at timestamptz NOT NULL DEFAULT now(),
        attempt smallint NOT NULL DEFAULT 0,
        attempted_at timestamptz,
        finalized_at timestamptz,
        outcome jsonb
    );
    CREATE INDEX jobs_available ON jobs (queue, priority, scheduled_at, id) WHERE state = 'available';";

const SUBMIT: &str = "INSERT INTO jobs (queue, args) VALUES ('default', '{\"handler\": \"noop\"}')";

const CLAIM: &str = "
    UPDATE jobs SET state = 'running', attempt = attempt + 1, attempted_at = now()
    WHERE id IN (
        SELECT id FROM jobs WHERE queue = 'default' AND state = 'available' AND scheduled_at <= now()
        ORDER BY priority, scheduled_at, id LIMIT $1 FOR UPDATE SKIP LOCKED
    ) RETURNING id";

const FINISH: &str =
    "UPDATE jobs SET state = 'completed', finalized_at = now(), outcome = '{\"code\": 0}' WHERE id = ANY($1)";

/// How long a worker waits when the table has no job for it.
const POLL: Duration = Duration::from_millis(2);

pub struct PostgreSql {
    /// Jobs that a worker claims together.
    pub batch: i64,
    pub process: bool,
}

struct Table {
    config: String,
    ended: Arc<AtomicUsize>,
    is_stopping: Arc<AtomicBool>,
    workers: Vec<JoinHandle<Result<(), Error>>>,
    _server: Server,
    _directory: TempDir,
}

/// Returns the path of a program of PostgreSQL, which Debian keeps out of the search path.
fn program(name: &str) -> Result<PathBuf, Error> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut found: Vec<_> = versions.map(|version| version.path().join("bin").join(name)).collect();
    found.sort();
    found.retain(|path| path.exists());
    found.pop().ok_or_else(|| format!("{name} is not installed below /usr/lib/postgresql").into())
}

pub fn version() -> Result<String, Error> {
    version_of(&program("postgres")?)
}

/// The user for which the server runs if this process is root, whom PostgreSQL refuses.
fn server_user() -> Result<Option<u32>, Error> {
    let id = |args: &[&str]| -> Option<u32> {
        let output = Command::new("id").args(args).output().ok().filter(|output| output.status.success())?;
        String::from_utf8(output.stdout).ok()?.trim().parse().ok()
    };
    match id(&["-u"]) {
        Some(0) => Ok(Some(id(&["-u", "postgres"]).or(id(&["-u", "nobody"])).ok_or("there is no user but root")?)),
        _ => Ok(None),
    }
}

fn command(name: &str, user: Option<u32>, directory: &Path) -> Result<Command, Error> {
    let mut command = Command::new(program(name)?);
    command.current_dir(directory).stdin(Stdio::null()).stdout(Stdio::null());
    command.stderr(File::options().create(true).append(true).open(directory.join("log"))?);
    if let Some(user) = user {
        command.uid(user).gid(user);
    }
    Ok(command)
}

impl System for PostgreSql {
    fn name(&self) -> String {
        let process = if self.process { ", a process for each job" } else { "" };
        format!("postgres, claims of {}{process}", self.batch)
    }

    fn start(&self, options: &Options) -> Result<Box<dyn Queue>, Error> {
        let directory = tempfile::tempdir()?;
        let user = server_user()?;
        if let Some(user) = user {
            chown(directory.path(), Some(user), Some(user))?;
        }
        let data = directory.path().join("data");
        let mut initdb = command("initdb", user, directory.path())?;
        let made = initdb.arg("-D").arg(&data).args(["-U", "bench", "-A", "trust", "--no-sync"]).status()?;
        if !made.success() {
            return Err(std::fs::read_to_string(directory.path().join("log"))?.into());
        }
        let port = free_port()?;
        let mut server = command("postgres", user, directory.path())?;
        server.arg("-D").arg(&data).args(["-p", &port.to_string(), "-h", "127.0.0.1", "-k", ""]);
        for setting in ["fsync=on", "synchronous_commit=on", "full_page_writes=on"] {
            server.args(["-c", setting]);
        }
        let connections = options.clients + options.workers + 10;
        server.args(["-c", &format!("max_connections={connections}")]);
        let server = Server(server.spawn()?);
        let config = format!("host=127.0.0.1 port={port} user=bench dbname=postgres");
        let mut client = until("a connection to PostgreSQL", || Ok(Client::connect(&config, NoTls)?))?;
        client.batch_execute(SCHEMA)?;
        let (ended, is_stopping) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let mut table =
            Table { config, ended, is_stopping, workers: Vec::new(), _server: server, _directory: directory };
        for _ in 0..options.workers {
            table.start_worker(self.batch, self.process)?;
        }
        Ok(Box::new(table))
    }
}

impl Table {
    fn start_worker(&mut self, batch: i64, process: bool) -> Result<(), Error> {
        let mut client = Client::connect(&self.config, NoTls)?;
        let (claim, finish) = (client.prepare(CLAIM)?, client.prepare(FINISH)?);
        let (ended, is_stopping) = (self.ended.clone(), self.is_stopping.clone());
        self.workers.push(std::thread::spawn(move || {
            while !is_stopping.load(Ordering::Relaxed) {
                let jobs: Vec<i64> = client.query(&claim, &[&batch])?.iter().map(|row| row.get(0)).collect();
                if jobs.is_empty() {
                    std::thread::sleep(POLL);
                    continue;
                }
                for _ in &jobs {
                    run_job(process)?;
                }
                client.execute(&finish, &[&jobs])?;
                ended.fetch_add(jobs.len(), Ordering::Relaxed);
            }
            Ok(())
        }));
        Ok(())
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        self.is_stopping.store(true, Ordering::Relaxed);
        for worker in self.workers.drain(..) {
            if let Ok(Err(error)) = worker.join() {
                eprintln!("a worker of PostgreSQL: {error}");
            }
        }
    }
}

struct Connection {
    client: Client,
    submit: Statement,
}

impl Queue for Table {
    fn connect(&self) -> Result<Box<dyn Submit>, Error> {
        let mut client = Client::connect(&self.config, NoTls)?;
        let submit = client.prepare(SUBMIT)?;
        Ok(Box::new(Connection { client, submit }))
    }

    fn ended(&self, _submitted: usize) -> Result<usize, Error> {
        Ok(self.ended.load(Ordering::Relaxed))
    }
}

impl Submit for Connection {
    fn submit(&mut self) -> Result<(), Error> {
        self.client.execute(&self.submit, &[])?;
        Ok(())
    }
}
