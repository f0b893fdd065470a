//! The open files of the process, of which guests together leave a quarter to those who speak to the daemon, and to the daemon itself.
//!
//! The limit on handles bounds one run; a thousand runs could still take every file that the process may have open, and nobody would be
//! let in to stop them.

use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _};

use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};

/// Whether a guest may open one more: a file, a directory or a socket.
///
/// The kernel gives the lowest number that is free, so at least as many files are open as that number says. It is asked rather than
/// counted: most are opened by libraries, and closed by them too.
pub(super) fn is_there_room() -> bool {
    let Some(most) = getrlimit(Resource::Nofile).current else { return true };
    match io::stdin().as_fd().try_clone_to_owned() {
        Ok(lowest) => u64::try_from(lowest.as_raw_fd()).is_ok_and(|number| number < most - most / 4),
        Err(error) => !matches!(Errno::from_io_error(&error), Some(Errno::MFILE | Errno::NFILE)),
    }
}
