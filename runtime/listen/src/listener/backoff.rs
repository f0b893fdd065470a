//! Accepting that does not fail: what is wrong for the moment is waited out.

use std::io;
use std::time::Duration;

use super::Address;

const FIRST: Duration = Duration::from_millis(5);
const LONGEST: Duration = Duration::from_secs(1);

/// Calls `accept` until it succeeds. Cancel-safe if `accept` is.
///
/// A connection that is gone before it was accepted costs nothing. Anything else, such as too many open files, is not cured by trying
/// again at once: the pause doubles from 5 ms to 1 s, which also bounds what is logged.
pub(super) async fn persistently<T, F>(address: &Address, mut accept: impl FnMut() -> F) -> T
where
    F: Future<Output = io::Result<T>>,
{
    let mut pause = FIRST;
    loop {
        match accept().await {
            Ok(accepted) => return accepted,
            Err(error) if is_of_the_connection(&error) => {}
            Err(error) => {
                tracing::warn!(%address, %error, "cannot accept, trying again in {pause:?}");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST);
            }
        }
    }
}

fn is_of_the_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::time::Instant;

    use super::*;

    async fn after(failures: u32, error: impl Fn() -> io::Error) -> Duration {
        let calls = Cell::new(0);
        let began = Instant::now();
        let accept = || {
            calls.set(calls.get() + 1);
            std::future::ready(if calls.get() > failures { Ok(()) } else { Err(error()) })
        };
        persistently(&"localhost:0".parse().unwrap(), accept).await;
        assert_eq!(calls.get(), failures + 1);
        began.elapsed()
    }

    #[tokio::test]
    async fn too_many_open_files_are_waited_out_ever_longer() {
        let full = || io::Error::from_raw_os_error(rustix::io::Errno::MFILE.raw_os_error());
        assert!(after(4, full).await >= Duration::from_millis(5 + 10 + 20 + 40));
    }

    #[tokio::test]
    async fn a_connection_that_is_gone_is_not_waited_for() {
        assert!(after(10_000, || io::ErrorKind::ConnectionAborted.into()).await < LONGEST);
    }
}
