//! The guest runtime: threads of their own for guests, so that one that spins starves neither timers nor sockets of the daemon.

use std::io;
use std::num::NonZeroUsize;
use std::thread;

use tokio::runtime::{Builder, Runtime};
use tokio_util::task::AbortOnDropHandle;

use crate::outcome::Outcome;

/// Threads for host calls that block, on files above all.
const MAX_BLOCKING_THREADS: usize = 64;
/// How much the kernel prefers the daemon's own threads to those of guests.
const NICE: i32 = 19;

#[derive(Debug)]
pub(super) struct Guests(Option<Runtime>);

impl Guests {
    /// Starts as many threads as there are processors.
    pub(super) fn start() -> io::Result<Self> {
        let workers = thread::available_parallelism().map_or(2, NonZeroUsize::get);
        // Intervals of 1: after every guest's slice the runtime looks at its timers and sockets, and at what waits for a thread.
        let runtime = Builder::new_multi_thread()
            .worker_threads(workers)
            .max_blocking_threads(MAX_BLOCKING_THREADS)
            .event_interval(1)
            .global_queue_interval(1)
            .thread_name("guest")
            .on_thread_start(|| {
                // On Linux this is the calling thread alone. Without it guests only get a larger share.
                let _ = rustix::process::setpriority_process(None, NICE);
            })
            .enable_all()
            .build()?;
        Ok(Self(Some(runtime)))
    }

    /// Runs `work` here and waits for it. Dropping the future drops the work at its next yield.
    pub(super) async fn run(&self, work: impl Future<Output = Outcome> + Send + 'static) -> Outcome {
        let runtime = self.0.as_ref().expect("the runtime is there until the drop");
        match AbortOnDropHandle::new(runtime.spawn(work)).await {
            Ok(outcome) => outcome,
            Err(error) => Outcome::HostError { message: format!("the run broke off: {error}") },
        }
    }
}

impl Drop for Guests {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            // A host call that blocks for ever, on a FIFO of a mount say, must not hold the daemon back.
            runtime.shutdown_background();
        }
    }
}
