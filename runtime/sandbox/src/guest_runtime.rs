//! [`GuestRuntime`]: a tokio runtime with its own threads for guests, so that a guest that spins does not block the timers and sockets of the
//! daemon.
//!
//! Moving a short run to these threads costs a third of its throughput. So a program whose last runs were short gets its first slice on
//! the thread of the caller, and moves only if it does not end within it. See [`ShortRunStreak`].

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

/// Threads for host calls that block, mostly on files.
const MAX_BLOCKING_THREADS: usize = 64;
/// The nice value of guest threads: the kernel prefers the daemon's other threads.
const NICE: i32 = 19;
/// How many runs in a row must end within their first slice before the next one starts on the thread of the caller.
const MIN_SHORT_RUNS: u32 = 8;

/// The work of one run.
pub(super) type Work = Pin<Box<dyn Future<Output = Outcome> + Send>>;

/// The limit on the CPU time of a run. It is checked after each slice.
#[derive(Debug)]
pub(super) struct CpuBudget {
    /// `None` is no limit.
    pub(super) limit: Option<Duration>,
    pub(super) usage: Arc<Usage>,
    /// Stops the run when the limit is exceeded.
    pub(super) stop: Stop,
}

/// The threads of guests. Dropping it does not wait for host calls that block.
#[derive(Debug)]
pub(super) struct GuestRuntime(Option<Runtime>);

/// How many of a program's last runs in a row ended within their first slice.
#[derive(Debug, Default)]
pub(super) struct ShortRunStreak(AtomicU32);

impl GuestRuntime {
    /// Starts one thread for each processor.
    pub(super) fn start() -> io::Result<Self> {
        let workers = thread::available_parallelism().map_or(2, NonZeroUsize::get);
        // Intervals of 1: after each slice of a guest, the runtime polls its timers and sockets and its global queue.
        let runtime = Builder::new_multi_thread()
            .worker_threads(workers)
            .max_blocking_threads(MAX_BLOCKING_THREADS)
            .event_interval(1)
            .global_queue_interval(1)
            .thread_name("guest")
            .on_thread_start(|| {
                // On Linux this sets the calling thread only. If it fails, guests merely get a larger share of the processor.
                let _ = rustix::process::setpriority_process(None, NICE);
            })
            .enable_all()
            .build()?;
        Ok(Self(Some(runtime)))
    }

    /// Runs `work` to its end and returns its outcome. `streak` is that of the program: it decides where the first slice runs, and is
    /// updated.
    ///
    /// Dropping the future drops the work at its next yield.
    pub(super) async fn run(&self, mut work: Work, budget: CpuBudget, streak: &ShortRunStreak) -> Outcome {
        if streak.is_long_enough() {
            // Reading the CPU clock of the thread would take a tenth of a short run. The wall clock is as good: nothing else runs on this
            // thread between the two readings.
            let started = Instant::now();
            let polled = self.poll_first_slice(&mut work);
            budget.charge(started.elapsed());
            match polled {
                Poll::Ready(outcome) => return outcome,
                Poll::Pending => streak.record(false),
            }
            return self.run_on_guest_threads(work, budget).await.0;
        }
        let (outcome, was_short) = self.run_on_guest_threads(work, budget).await;
        streak.record(was_short);
        outcome
    }

    /// Polls `work` once on this thread. Timers, sockets and file calls bind to the current runtime, which must be that of the guests, since
    /// the work may continue there.
    fn poll_first_slice(&self, work: &mut Work) -> Poll<Outcome> {
        let _guard = self.runtime().enter();
        work.as_mut().poll(&mut Context::from_waker(Waker::noop()))
    }

    /// Runs `work` on the threads of guests. Also returns whether it ended within its first slice there.
    async fn run_on_guest_threads(&self, mut work: Work, budget: CpuBudget) -> (Outcome, bool) {
        let counted = async move {
            let mut polls = 0_u32;
            let outcome = std::future::poll_fn(|cx| {
                polls = polls.saturating_add(1);
                let before = thread_cpu_time();
                let polled = work.as_mut().poll(cx);
                budget.charge(thread_cpu_time().saturating_sub(before));
                polled
            });
            (outcome.await, polls == 1)
        };
        match AbortOnDropHandle::new(self.runtime().spawn(counted)).await {
            Ok(result) => result,
            Err(error) => (Outcome::HostError { message: format!("the task of the run ended early: {error}") }, false),
        }
    }

    /// Spawns a task on the threads of guests, for what is freed there.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> AbortOnDropHandle<()> {
        AbortOnDropHandle::new(self.runtime().spawn(task))
    }

    /// Returns how many threads guests compute on.
    pub(super) fn thread_count(&self) -> usize {
        self.runtime().metrics().num_workers()
    }

    fn runtime(&self) -> &Runtime {
        self.0.as_ref().expect("the runtime exists until it is dropped")
    }
}

impl CpuBudget {
    /// Counts the time of a slice, and requests the stop of the run if its limit is exceeded. A run that ended within the slice keeps its
    /// outcome.
    fn charge(&self, time: Duration) {
        self.usage.cpu.add_time(time);
        if let Some(limit) = self.limit
            && self.usage.cpu.time() > limit
        {
            self.stop.request(Outcome::CpuSpent { limit: limit.as_secs_f64() });
        }
    }
}

impl ShortRunStreak {
    fn is_long_enough(&self) -> bool {
        self.0.load(Ordering::Relaxed) >= MIN_SHORT_RUNS
    }

    /// Counts a run that ended within its first slice. Any other run resets the count.
    fn record(&self, was_short: bool) {
        if was_short {
            // All threads share the counter, so it is not written once it is high enough.
            if !self.is_long_enough() {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        } else {
            self.0.store(0, Ordering::Relaxed);
        }
    }
}

impl Drop for GuestRuntime {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            // A host call that never returns, for example on a FIFO of a mount, must not delay the end of the daemon.
            runtime.shutdown_background();
        }
    }
}

/// Returns the CPU time that this thread has used.
fn thread_cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unlimited() -> CpuBudget {
        CpuBudget { limit: None, usage: Arc::default(), stop: Stop::default() }
    }

    #[test]
    fn streak_grows_with_short_runs_and_is_reset_by_a_long_one() {
        let streak = ShortRunStreak::default();
        for _ in 0..MIN_SHORT_RUNS {
            assert!(!streak.is_long_enough());
            streak.record(true);
        }
        assert!(streak.is_long_enough());
        streak.record(false);
        assert!(!streak.is_long_enough());
    }

    #[tokio::test]
    async fn run_that_outlasts_its_first_slice_moves_to_guest_threads() {
        let guests = GuestRuntime::start().unwrap();
        let streak = ShortRunStreak::default();
        let short = || -> Work { Box::pin(async { Outcome::SUCCESS }) };
        for _ in 0..MIN_SHORT_RUNS {
            guests.run(short(), unlimited(), &streak).await;
        }
        let caller = thread::current().id();
        let stays: Work = Box::pin(async move {
            assert_eq!(thread::current().id(), caller);
            Outcome::SUCCESS
        });
        assert_eq!(guests.run(stays, unlimited(), &streak).await, Outcome::SUCCESS);
        assert!(streak.is_long_enough());
        let moves: Work = Box::pin(async move {
            assert_eq!(thread::current().id(), caller);
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            assert_eq!(thread::current().name(), Some("guest"));
            Outcome::SUCCESS
        });
        assert_eq!(guests.run(moves, unlimited(), &streak).await, Outcome::SUCCESS);
        assert!(!streak.is_long_enough());
    }
}
