//! A queue in lists of Redis. A job that is taken is in a list of its worker until its outcome is recorded, so a crash loses none.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;

use redis::{Connection, cmd, pipe};
use tempfile::TempDir;

use crate::Options;
use crate::server::{Error, Server, free_port, run_job, until, version as version_of};
use crate::workload::{Queue, Submit, System};

const QUEUE: &str = "queue";
/// Seconds after which a worker that waits for a job looks whether it is to stop.
const WAIT: f64 = 0.5;

/// When the log of Redis is synced.
#[derive(Clone, Copy, Debug)]
pub enum Fsync {
    Always,
    EachSecond,
}

pub struct RedisList {
    pub fsync: Fsync,
    pub process: bool,
}

struct Lists {
    url: String,
    next: Arc<AtomicUsize>,
    ended: Arc<AtomicUsize>,
    is_stopping: Arc<AtomicBool>,
    workers: Vec<JoinHandle<Result<(), Error>>>,
    _server: Server,
    _directory: TempDir,
}

pub fn version() -> Result<String, Error> {
    version_of(Path::new("redis-server"))
}

impl System for RedisList {
    fn name(&self) -> String {
        let fsync = match self.fsync {
            Fsync::Always => "fsync always",
            Fsync::EachSecond => "fsync each second",
        };
        format!("redis, {fsync}{}", if self.process { ", a process for each job" } else { "" })
    }

    fn start(&self, options: &Options) -> Result<Box<dyn Queue>, Error> {
        let directory = tempfile::tempdir()?;
        let port = free_port()?;
        let fsync = match self.fsync {
            Fsync::Always => "always",
            Fsync::EachSecond => "everysec",
        };
        let mut server = Command::new("redis-server");
        server.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "yes"]);
        server.args(["--appendfsync", fsync, "--dir"]).arg(directory.path());
        server.stdin(Stdio::null()).stdout(File::create(directory.path().join("log"))?);
        let server = Server(server.spawn()?);
        let url = format!("redis://127.0.0.1:{port}");
        until("a connection to Redis", || Ok(connect(&url)?))?;
        let (next, ended) = (Arc::default(), Arc::default());
        let is_stopping = Arc::default();
        let mut lists =
            Lists { url, next, ended, is_stopping, workers: Vec::new(), _server: server, _directory: directory };
        for number in 0..options.workers {
            lists.start_worker(number, self.process)?;
        }
        Ok(Box::new(lists))
    }
}

fn connect(url: &str) -> Result<Connection, redis::RedisError> {
    redis::Client::open(url)?.get_connection()
}

impl Lists {
    fn start_worker(&mut self, number: usize, process: bool) -> Result<(), Error> {
        let mut connection = connect(&self.url)?;
        let (ended, is_stopping) = (self.ended.clone(), self.is_stopping.clone());
        self.workers.push(std::thread::spawn(move || {
            let own = format!("worker:{number}");
            while !is_stopping.load(Ordering::Relaxed) {
                let mut take = cmd("BLMOVE");
                take.arg(QUEUE).arg(&own).arg("RIGHT").arg("LEFT").arg(WAIT);
                let Some(job) = take.query::<Option<String>>(&mut connection)? else { continue };
                run_job(process)?;
                let mut finish = pipe();
                finish.atomic().cmd("LREM").arg(&own).arg(1).arg(&job).ignore();
                finish.cmd("HSET").arg("outcomes").arg(&job).arg("{\"code\": 0}").ignore();
                finish.query::<()>(&mut connection)?;
                ended.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        }));
        Ok(())
    }
}

impl Drop for Lists {
    fn drop(&mut self) {
        self.is_stopping.store(true, Ordering::Relaxed);
        for worker in self.workers.drain(..) {
            if let Ok(Err(error)) = worker.join() {
                eprintln!("a worker of Redis: {error}");
            }
        }
    }
}

struct Client {
    connection: Connection,
    next: Arc<AtomicUsize>,
}

impl Queue for Lists {
    fn connect(&self) -> Result<Box<dyn Submit>, Error> {
        Ok(Box::new(Client { connection: connect(&self.url)?, next: self.next.clone() }))
    }

    fn ended(&self, _submitted: usize) -> Result<usize, Error> {
        Ok(self.ended.load(Ordering::Relaxed))
    }
}

impl Submit for Client {
    fn submit(&mut self) -> Result<(), Error> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let job = format!("{{\"id\": {id}, \"handler\": \"noop\"}}");
        cmd("LPUSH").arg(QUEUE).arg(job).query::<()>(&mut self.connection)?;
        Ok(())
    }
}
