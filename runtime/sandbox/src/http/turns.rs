//! [`take_turns`]: a guest and the one who takes its response, in the same task.

use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use super::response::ResponseError;

/// How long one poll goes on for. A guest and its response wake each other for each piece of a body, and a run that is over within its first
/// poll costs no task. A longer one must not hold up its thread.
const MAX_TURNS: Duration = Duration::from_micros(500);

/// Polls `guest` and `response` in turns until both have ended, and returns how the response ended. `taken` counts what was taken of the
/// response: while it grows, the guest may have room again.
///
/// # Errors
/// That of the guest, whatever was taken of its response.
pub(super) async fn take_turns(
    guest: impl Future<Output = wasmtime::Result<()>>,
    response: impl Future<Output = Result<(), ResponseError>>,
    taken: impl Fn() -> u64,
) -> wasmtime::Result<Result<(), ResponseError>> {
    let (mut guest, mut response) = (pin!(guest), pin!(response));
    let (mut has_returned, mut sent) = (false, None);
    std::future::poll_fn(|cx| {
        let started = Instant::now();
        loop {
            if !has_returned && let Poll::Ready(returned) = guest.as_mut().poll(cx) {
                if let Err(error) = returned {
                    return Poll::Ready(Err(error));
                }
                has_returned = true;
            }
            let before = taken();
            if sent.is_none()
                && let Poll::Ready(ended) = response.as_mut().poll(cx)
            {
                sent = Some(ended);
            }
            if has_returned {
                return sent.take().map_or(Poll::Pending, |sent| Poll::Ready(Ok(sent)));
            }
            if taken() == before || started.elapsed() >= MAX_TURNS {
                return Poll::Pending;
            }
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::{pending, poll_fn, ready};
    use std::task::{Context, Waker};

    use super::*;

    /// Polls once.
    fn poll_once<F: Future>(future: F) -> Poll<F::Output> {
        pin!(future).poll(&mut Context::from_waker(Waker::noop()))
    }

    /// Becomes ready when `counter` has reached `end`, and adds 1 to `own` each time it is polled before.
    async fn until(counter: &Cell<u64>, end: u64, own: &Cell<u64>) {
        poll_fn(|_| {
            if counter.get() >= end {
                return Poll::Ready(());
            }
            own.set(own.get() + 1);
            Poll::Pending
        })
        .await;
    }

    #[test]
    fn guest_that_waits_for_its_response_ends_within_one_poll() {
        let (written, taken) = (Cell::new(0), Cell::new(0));
        let guest = async {
            until(&taken, 9, &written).await;
            written.set(10);
            Ok(())
        };
        let response = async {
            until(&written, 10, &taken).await;
            Ok(())
        };
        let ended = poll_once(take_turns(guest, response, || taken.get()));
        assert!(matches!(ended, Poll::Ready(Ok(Ok(())))));
    }

    #[test]
    fn guest_is_polled_once_if_nothing_is_taken() {
        let (polls, never) = (Cell::new(0), Cell::new(0));
        let guest = async {
            until(&never, 1, &polls).await;
            Ok(())
        };
        assert!(poll_once(take_turns(guest, pending(), || 0)).is_pending());
        assert_eq!(polls.get(), 1);
    }

    #[test]
    fn poll_ends_after_its_time_although_more_is_taken() {
        let (polls, never) = (Cell::new(0), Cell::new(0));
        let guest = async {
            until(&never, 1, &polls).await;
            Ok(())
        };
        // Each turn takes something.
        let both = take_turns(guest, pending(), || {
            never.set(0);
            polls.set(polls.get() + 1);
            polls.get()
        });
        let started = Instant::now();
        assert!(poll_once(both).is_pending());
        assert!(started.elapsed() >= MAX_TURNS && polls.get() > 2);
    }

    #[test]
    fn error_of_the_guest_ends_both() {
        let guest = ready(Err(wasmtime::format_err!("it traps")));
        let Poll::Ready(Err(error)) = poll_once(take_turns(guest, pending(), || 0)) else { panic!("it goes on") };
        assert_eq!(error.to_string(), "it traps");
    }

    #[test]
    fn response_is_taken_to_its_end_after_the_guest_has_returned() {
        assert!(poll_once(take_turns(ready(Ok(())), pending(), || 0)).is_pending());
        let missing = ready(Err(ResponseError::Missing));
        let ended = poll_once(take_turns(ready(Ok(())), missing, || 0));
        assert!(matches!(ended, Poll::Ready(Ok(Err(ResponseError::Missing)))));
    }
}
