//! Waiting for a condition, with patience instead of a guessed pause.

use std::fmt::Display;
use std::time::{Duration, Instant};

/// How long a test waits for what must come. Generous, since it is spent only by tests that fail: the machine may be busy, and what
/// compiles waits for all others.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// Calls `probe` until it gives something.
///
/// # Panics
/// After [`PATIENCE`], with `what` was waited for.
pub async fn eventually<T>(what: impl Display, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = probe().await {
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "waited {PATIENCE:?} in vain for {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Awaits `future` for [`PATIENCE`].
///
/// # Panics
/// If that was not enough, with `what` was waited for.
pub async fn within<T>(what: impl Display, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited {PATIENCE:?} in vain for {what}"),
    }
}
