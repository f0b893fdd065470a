//! [`wait_for`]: waits until a check succeeds that a notification announces.

use tokio::sync::Notify;

/// Returns the first value that `check` returns. Calls it now and after each [`Notify::notify_waiters`] of `notify`. Cancel-safe.
pub(crate) async fn wait_for<T>(notify: &Notify, mut check: impl FnMut() -> Option<T>) -> T {
    loop {
        // Created before the check, so that it notices a change that follows the check.
        let notified = notify.notified();
        if let Some(value) = check() {
            return value;
        }
        notified.await;
    }
}
