//! The limit on open files of the process. Guests together use at most three quarters of it; the rest is for clients and the daemon itself.
//!
//! The limit on handles applies to one run. A thousand runs could still use every descriptor of the process, and then no client could
//! connect to stop them.

use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _};

use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};

/// Returns whether a guest may open one more file, directory or socket.
///
/// The kernel assigns the lowest free descriptor, so at least that many files are open. This asks the kernel and does not count, because
/// libraries open and close most of the files.
pub(super) fn may_open_another() -> bool {
    let Some(limit) = getrlimit(Resource::Nofile).current else { return true };
    match io::stdin().as_fd().try_clone_to_owned() {
        Ok(lowest) => u64::try_from(lowest.as_raw_fd()).is_ok_and(|number| number < limit - limit / 4),
        Err(error) => !matches!(Errno::from_io_error(&error), Some(Errno::MFILE | Errno::NFILE)),
    }
}
