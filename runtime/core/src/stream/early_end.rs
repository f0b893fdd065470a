//! [`EarlyEnd`]: ends a stream for its reader, whatever its writer does.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};

/// Ends a [`Source`](super::Source) before its content does. Clones end the same source.
#[derive(Clone, Debug, Default)]
pub struct EarlyEnd(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    has_ended: AtomicBool,
    reader: Mutex<Option<Waker>>,
}

impl EarlyEnd {
    /// Ends the source. What was not read is gone.
    pub fn end(&self) {
        self.0.has_ended.store(true, Ordering::SeqCst);
        let reader = self.0.reader.lock().expect("no panic while the lock is held").take();
        if let Some(reader) = reader {
            reader.wake();
        }
    }

    /// Returns whether the source was ended.
    pub fn has_ended(&self) -> bool {
        self.0.has_ended.load(Ordering::SeqCst)
    }

    /// Returns whether the source was ended. If not, wakes the task of `cx` when it is. Only the last task is woken.
    pub(super) fn check_or_wake(&self, cx: &Context<'_>) -> bool {
        *self.0.reader.lock().expect("no panic while the lock is held") = Some(cx.waker().clone());
        self.has_ended()
    }
}
