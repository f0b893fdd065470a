//! The threads of the compiling child: those that compile, and one that ends the process when it uses too much memory.
//!
//! The memory that counts is the resident memory of the process. Its address space says little: an allocator reserves some for each thread. The
//! kernel has no limit on resident memory that a process could set, so a thread compares it with the limit every few milliseconds.

use std::fs::File;
use std::io;
use std::num::NonZeroUsize;
use std::os::unix::fs::FileExt as _;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// The time between two comparisons. In this time, a compiler fills less than 20 MiB.
const WATCH_INTERVAL: Duration = Duration::from_millis(3);
/// The most threads that compile.
const MAX_THREADS: usize = 16;

/// The resident memory of this process.
#[derive(Debug)]
pub(super) struct ResidentMemory {
    statm: File,
    page_size: u64,
}

impl ResidentMemory {
    /// Opens the kernel's count. Later reads open nothing.
    ///
    /// # Errors
    /// If there is no `/proc`.
    pub(super) fn open() -> io::Result<Self> {
        #[expect(clippy::disallowed_methods, reason = "the path is constant, and the child has no other authority yet")]
        let statm = File::open("/proc/self/statm")?;
        let memory = Self { statm, page_size: rustix::param::page_size() as u64 };
        memory.bytes()?;
        Ok(memory)
    }

    fn bytes(&self) -> io::Result<u64> {
        let mut text = [0; 128];
        let length = self.statm.read_at(&mut text, 0)?;
        // The second number is the resident pages.
        let text = std::str::from_utf8(&text[..length]).map_err(io::Error::other)?;
        let pages = text.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok());
        Ok(pages.ok_or(io::ErrorKind::InvalidData)? * self.page_size)
    }
}

/// Starts the threads that compile. Returns whether there are several.
pub(super) fn start_compilers() -> bool {
    let threads = thread::available_parallelism().map_or(1, NonZeroUsize::get).min(MAX_THREADS);
    let has_started = rayon::ThreadPoolBuilder::new().num_threads(threads).build_global().is_ok();
    if has_started {
        // Returns when each thread has started, and makes no more of the system calls that only a start needs.
        rayon::broadcast(|_| ());
    }
    has_started && threads > 1
}

/// Ends the process, whatever its other threads do. The daemon takes the signal for a lack of memory.
#[expect(clippy::disallowed_methods, reason = "a limit was exceeded: there is nothing to be saved")]
fn abort() -> ! {
    std::process::abort()
}

/// Starts a thread that aborts the process when `memory` exceeds `limit` bytes. Returns whether it was started.
pub(super) fn start_watchdog(memory: ResidentMemory, limit: u64) -> bool {
    let (started, has_started) = mpsc::channel();
    let watchdog = thread::Builder::new().name("watchdog".to_owned()).spawn(move || {
        let _ = started.send(());
        while memory.bytes().is_ok_and(|bytes| bytes <= limit) {
            thread::sleep(WATCH_INTERVAL);
        }
        abort()
    });
    watchdog.is_ok() && has_started.recv().is_ok()
}
