//! Waits for a condition by polling, with a timeout, instead of sleeping for a guessed time.

use std::fmt::Display;
use std::time::{Duration, Instant};

/// The timeout of every wait in the tests. It is generous, since only failing tests use it up: the machine may be busy, and compilation
/// slows down everything else.
pub const TIMEOUT: Duration = Duration::from_secs(180);

/// Calls `probe` until it returns a value.
///
/// # Panics
/// If [`TIMEOUT`] passes first. The message names `what`.
pub async fn eventually<T>(what: impl Display, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = probe().await {
            return found;
        }
        assert!(began.elapsed() < TIMEOUT, "timed out after {TIMEOUT:?} waiting for {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Awaits `future` with the timeout [`TIMEOUT`].
///
/// # Panics
/// If the timeout passes. The message names `what`.
pub async fn within<T>(what: impl Display, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(TIMEOUT, future).await {
        Ok(value) => value,
        Err(_) => panic!("timed out after {TIMEOUT:?} waiting for {what}"),
    }
}
