//! [`measure`]: submits jobs from many clients, and waits until all have ended.

use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use crate::Options;
use crate::server::{Error, until};

/// A kind of queue.
pub trait System {
    fn name(&self) -> String;

    /// Starts its server in a new directory, and its workers.
    fn start(&self, options: &Options) -> Result<Box<dyn Queue>, Error>;
}

/// A queue whose workers run.
pub trait Queue: Sync {
    /// Connects a client.
    fn connect(&self) -> Result<Box<dyn Submit>, Error>;

    /// Returns how many jobs have ended and are known to be durable, of `submitted` ones that were acknowledged.
    fn ended(&self, submitted: usize) -> Result<usize, Error>;
}

/// A client.
pub trait Submit {
    /// Submits a job. Returns once that was acknowledged.
    fn submit(&mut self) -> Result<(), Error>;
}

/// Rates per second.
#[derive(Clone, Copy, Debug)]
pub struct Figures {
    /// Acknowledged submissions, while the workers work too.
    pub submits: f64,
    /// Jobs from the first submission to the last outcome.
    pub jobs: f64,
}

pub fn measure(system: &dyn System, options: &Options) -> Result<Figures, Error> {
    let queue = system.start(options)?;
    let barrier = Barrier::new(options.clients + 1);
    let submitted = AtomicUsize::new(0);
    let each = options.jobs / options.clients;
    std::thread::scope(|scope| {
        let client = || -> Result<(), Error> {
            let connected = queue.connect();
            barrier.wait();
            let mut client = connected?;
            for _ in 0..each {
                client.submit()?;
                submitted.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        };
        let clients: Vec<_> = (0..options.clients).map(|_| scope.spawn(client)).collect();
        barrier.wait();
        let began = Instant::now();
        for client in clients {
            client.join().map_err(|_| "a client panicked")??;
        }
        let submits = began.elapsed();
        until("the end of all jobs", || {
            let ended = queue.ended(options.jobs)?;
            if ended == options.jobs { Ok(()) } else { Err(format!("{ended} of {} have ended", options.jobs).into()) }
        })?;
        let total = began.elapsed();
        let rate = |time: std::time::Duration| submitted.load(Ordering::Relaxed) as f64 / time.as_secs_f64();
        Ok(Figures { submits: rate(submits), jobs: rate(total) })
    })
}
