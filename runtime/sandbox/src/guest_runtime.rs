//! The guest runtime: threads of their own for guests, so that one that spins starves neither timers nor sockets of the daemon.
//!
//! Crossing to it costs a short run a third of its throughput. A program whose runs have been short therefore gets its first slice
//! where it was asked for, and crosses over only when it has not ended by then. It earns that and loses it again; see [`Pace`].

use std::io;
use std::num::NonZeroUsize;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use capstan_core::outcome::Outcome;
use capstan_core::usage::Usage;
use capstan_engine::job::Stop;
use tokio::runtime::{Builder, Runtime};
use tokio_util::task::AbortOnDropHandle;

/// Threads for host calls that block, on files above all.
const MAX_BLOCKING_THREADS: usize = 64;
/// How much the kernel prefers the daemon's own threads to those of guests.
const NICE: i32 = 19;
/// Runs in a row that must fit in their first slice before the next begins in place.
const TRUST: u32 = 8;

/// The work of one run.
pub(super) type Work = Pin<Box<dyn Future<Output = Outcome> + Send>>;

/// The processor time that a run may take, looked at after each of its slices.
#[derive(Debug)]
pub(super) struct Budget {
    pub(super) limit: Option<Duration>,
    pub(super) usage: Arc<Usage>,
    pub(super) stop: Stop,
}

#[derive(Debug)]
pub(super) struct Guests(Option<Runtime>);

/// How a program's runs have gone lately: whether its next may begin in place.
#[derive(Debug, Default)]
pub(super) struct Pace(AtomicU32);

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

    /// Runs `work` to its end. Dropping the future drops the work at its next yield.
    pub(super) async fn run(&self, mut work: Work, budget: Budget, pace: &Pace) -> Outcome {
        if pace.is_trusted() {
            // The thread's clock would cost a short run a tenth of its time; nothing else runs between these two looks.
            let begun = Instant::now();
            let polled = self.first_slice(&mut work);
            budget.spend(begun.elapsed());
            match polled {
                Poll::Ready(outcome) => return outcome,
                Poll::Pending => pace.note(false),
            }
            return self.cross(work, budget).await.0;
        }
        let (outcome, fitted) = self.cross(work, budget).await;
        pace.note(fitted);
        outcome
    }

    /// Polls `work` here, once. Timers, sockets and file calls bind to the runtime that is entered, which must be the guests' own:
    /// the work may go on there.
    fn first_slice(&self, work: &mut Work) -> Poll<Outcome> {
        let _entered = self.runtime().enter();
        work.as_mut().poll(&mut Context::from_waker(Waker::noop()))
    }

    /// Runs `work` on the guests' threads; also whether it ended in its first slice there.
    async fn cross(&self, mut work: Work, budget: Budget) -> (Outcome, bool) {
        let counted = async move {
            let mut polls = 0_u32;
            let outcome = std::future::poll_fn(|cx| {
                polls = polls.saturating_add(1);
                let before = thread_cpu();
                let polled = work.as_mut().poll(cx);
                budget.spend(thread_cpu().saturating_sub(before));
                polled
            });
            (outcome.await, polls == 1)
        };
        match AbortOnDropHandle::new(self.runtime().spawn(counted)).await {
            Ok(ended) => ended,
            Err(error) => (Outcome::HostError { message: format!("the run broke off: {error}") }, false),
        }
    }

    /// How many threads guests compute on.
    pub(super) fn threads(&self) -> usize {
        self.runtime().metrics().num_workers()
    }

    fn runtime(&self) -> &Runtime {
        self.0.as_ref().expect("the runtime is there until the drop")
    }
}

impl Budget {
    /// Counts the time of a slice, and asks for the end where that was too much. A run that ended in the slice has ended.
    fn spend(&self, time: Duration) {
        self.usage.cpu.add_time(time);
        if let Some(limit) = self.limit
            && self.usage.cpu.time() > limit
        {
            self.stop.request(Outcome::CpuSpent { limit: limit.as_secs_f64() });
        }
    }
}

impl Pace {
    fn is_trusted(&self) -> bool {
        self.0.load(Ordering::Relaxed) >= TRUST
    }

    /// Notes whether a run fitted in its first slice; one that did not begins the count again.
    fn note(&self, fitted: bool) {
        if fitted {
            self.0.fetch_add(1, Ordering::Relaxed);
        } else {
            self.0.store(0, Ordering::Relaxed);
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

/// Processor time of this thread so far.
fn thread_cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unlimited() -> Budget {
        Budget { limit: None, usage: Arc::default(), stop: Stop::default() }
    }

    #[test]
    fn the_first_slice_in_place_is_earned_and_lost() {
        let pace = Pace::default();
        for _ in 0..TRUST {
            assert!(!pace.is_trusted());
            pace.note(true);
        }
        assert!(pace.is_trusted());
        pace.note(false);
        assert!(!pace.is_trusted());
    }

    #[tokio::test]
    async fn what_outlasts_its_first_slice_goes_on_among_the_guests() {
        let guests = Guests::start().unwrap();
        let pace = Pace::default();
        let short = || -> Work { Box::pin(async { Outcome::SUCCESS }) };
        for _ in 0..TRUST {
            guests.run(short(), unlimited(), &pace).await;
        }
        let here = thread::current().id();
        let stays: Work = Box::pin(async move {
            assert_eq!(thread::current().id(), here);
            Outcome::SUCCESS
        });
        assert_eq!(guests.run(stays, unlimited(), &pace).await, Outcome::SUCCESS);
        assert!(pace.is_trusted());
        let moves: Work = Box::pin(async move {
            assert_eq!(thread::current().id(), here);
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            assert_eq!(thread::current().name(), Some("guest"));
            Outcome::SUCCESS
        });
        assert_eq!(guests.run(moves, unlimited(), &pace).await, Outcome::SUCCESS);
        assert!(!pace.is_trusted());
    }
}
