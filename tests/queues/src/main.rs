//! Measures durable jobs of Capstan from their submission to their recorded end, beside queues in PostgreSQL and Redis.
//!
//! All systems do the same: so many clients submit jobs one by one, each on a connection of its own over loopback TCP, and wait for the
//! acknowledgement of each. Workers take the jobs at the same time, do nothing, and record the outcome. A job counts when its outcome is
//! acknowledged as durable. The systems take turns, and the medians of all rounds are printed.
//!
//! - `capstan`: `POST /jobs`, then a run of an empty guest in a fresh sandbox. `limits.runs` is the number of workers.
//! - `postgres, claims of 1`: a table as that of Solid Queue, `SELECT … FOR UPDATE SKIP LOCKED`, one transaction for each claim and for each
//!   end. `fsync` and `synchronous_commit` are on. Each worker has a connection.
//! - `postgres, claims of 100`: the same, as River does it: a worker claims up to 100 jobs, and records their ends together.
//! - `redis, fsync always`: `LPUSH`, `BLMOVE` into a list of the worker, then `LREM` and `HSET` in one transaction, with `appendfsync always`.
//! - `redis, fsync each second`: the same with `appendfsync everysec`. A power cut loses up to a second of acknowledged jobs, so this is no
//!   durable queue.
//!
//! The workers of PostgreSQL and Redis call an empty function, so the rows leave out what it costs there to start the code of a job in a
//! sandbox or in a process. `process` adds rows in which their workers start `/bin/true` for each job.

mod capstan;
mod postgresql;
mod redis_list;
mod server;
mod workload;

use std::path::PathBuf;

use self::server::Error;
use self::workload::{Figures, System};

/// What is measured, and how much of it.
#[derive(Clone, Debug)]
pub struct Options {
    /// Jobs of one round.
    jobs: usize,
    /// Clients that submit at the same time.
    clients: usize,
    /// Jobs that run at the same time.
    workers: usize,
    rounds: usize,
    /// Whether the workers of PostgreSQL and Redis also start a process for each job.
    process: bool,
    /// The binary of Capstan.
    capstan: PathBuf,
}

const USAGE: &str = "queues [smoke] [process] [jobs=N] [clients=N] [workers=N] [rounds=N] capstan=PATH";

fn parse(args: impl Iterator<Item = String>) -> Result<Options, Error> {
    let (jobs, clients, workers, rounds) = (20_000, 64, 16, 3);
    let mut options = Options { jobs, clients, workers, rounds, process: false, capstan: PathBuf::new() };
    for arg in args {
        let number = |text: &str| text.parse::<usize>().map_err(|error| format!("{arg}: {error}; {USAGE}"));
        match arg.split_once('=') {
            None if arg == "smoke" => (options.jobs, options.rounds) = (640, 1),
            None if arg == "process" => options.process = true,
            Some(("jobs", text)) => options.jobs = number(text)?,
            Some(("clients", text)) => options.clients = number(text)?.max(1),
            Some(("workers", text)) => options.workers = number(text)?.max(1),
            Some(("rounds", text)) => options.rounds = number(text)?.max(1),
            Some(("capstan", path)) => options.capstan = path.into(),
            _ => return Err(format!("unknown argument {arg}; {USAGE}").into()),
        }
    }
    options.jobs = options.jobs.div_ceil(options.clients) * options.clients;
    if options.capstan.as_os_str().is_empty() {
        Err(format!("no binary is named; {USAGE}").into())
    } else {
        Ok(options)
    }
}

fn systems(options: &Options) -> Vec<Box<dyn System>> {
    let mut systems: Vec<Box<dyn System>> = vec![Box::new(capstan::Capstan)];
    for process in [false, true].into_iter().filter(|process| options.process || !process) {
        for batch in [1, 100] {
            systems.push(Box::new(postgresql::PostgreSql { batch, process }));
        }
        for fsync in [redis_list::Fsync::Always, redis_list::Fsync::EachSecond] {
            systems.push(Box::new(redis_list::RedisList { fsync, process }));
        }
    }
    systems
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

fn main() -> Result<(), Error> {
    let options = parse(std::env::args().skip(1))?;
    let systems = systems(&options);
    for version in [server::version(&options.capstan)?, postgresql::version()?, redis_list::version()?] {
        println!("{version}");
    }
    let mut measured: Vec<Vec<Figures>> = vec![Vec::new(); systems.len()];
    for round in 1..=options.rounds {
        for (system, measured) in systems.iter().zip(&mut measured) {
            let figures = workload::measure(&**system, &options)?;
            eprintln!("round {round}: {}: {figures:?}", system.name());
            measured.push(figures);
        }
    }
    println!(
        "{} clients, {} workers, {} jobs, median of {} rounds",
        options.clients, options.workers, options.jobs, options.rounds
    );
    println!("{:56} {:>12} {:>12} {:>8}", "", "submits/s", "jobs/s", "÷");
    let rate = |figures: &[Figures], rate: fn(&Figures) -> f64| median(figures.iter().map(rate).collect());
    let own = rate(&measured[0], |figures| figures.jobs);
    for (system, figures) in systems.iter().zip(&measured) {
        let (submits, jobs) = (rate(figures, |figures| figures.submits), rate(figures, |figures| figures.jobs));
        println!("{:56} {submits:12.0} {jobs:12.0} {:8.2}", system.name(), own / jobs);
    }
    Ok(())
}
