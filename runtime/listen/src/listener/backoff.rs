//! Accepts connections without failing: an error that will pass is waited out.

use std::io;
use std::time::Duration;

use super::address::Address;

const MIN_DELAY: Duration = Duration::from_millis(5);
const MAX_DELAY: Duration = Duration::from_secs(1);

/// Calls `accept` until it succeeds. Cancel-safe if `accept` is.
///
/// A connection that was aborted before it was accepted is skipped. Other errors, such as too many open files, do not go away at once: the
/// delay between two attempts doubles from 5 ms to 1 s, which also limits the lines in the log.
pub(super) async fn accept_with_backoff<T, F>(address: &Address, mut accept: impl FnMut() -> F) -> T
where
    F: Future<Output = io::Result<T>>,
{
    let mut delay = MIN_DELAY;
    loop {
        match accept().await {
            Ok(accepted) => return accepted,
            Err(error) if is_connection_error(&error) => {}
            Err(error) => {
                tracing::warn!(%address, %error, "cannot accept, trying again in {delay:?}");
                tokio::time::sleep(delay).await;
                delay = (delay * 2).min(MAX_DELAY);
            }
        }
    }
}

/// Returns whether the error concerns one connection only, and not the listener.
fn is_connection_error(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::time::Instant;

    use super::*;

    /// Returns the time that an `accept` takes which fails `failures` times.
    async fn time_with_failures(failures: u32, error: impl Fn() -> io::Error) -> Duration {
        let calls = Cell::new(0);
        let start = Instant::now();
        let accept = || {
            calls.set(calls.get() + 1);
            std::future::ready(if calls.get() > failures { Ok(()) } else { Err(error()) })
        };
        accept_with_backoff(&"localhost:0".parse().unwrap(), accept).await;
        assert_eq!(calls.get(), failures + 1);
        start.elapsed()
    }

    #[tokio::test]
    async fn accept_with_too_many_open_files_waits_longer_each_time() {
        let too_many_files = || io::Error::from_raw_os_error(rustix::io::Errno::MFILE.raw_os_error());
        assert!(time_with_failures(4, too_many_files).await >= Duration::from_millis(5 + 10 + 20 + 40));
    }

    #[tokio::test]
    async fn accept_of_an_aborted_connection_does_not_wait() {
        assert!(time_with_failures(10_000, || io::ErrorKind::ConnectionAborted.into()).await < MAX_DELAY);
    }
}
