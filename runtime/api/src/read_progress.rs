//! Reading a body that is needed whole: up to a limit of bytes, and no slower than it may come.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use futures_util::stream::{self, Stream};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::time::Instant;

use super::bounds::Bounds;
use super::error::Error;

/// Why there is no next piece of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Broken {
    #[error("the body is larger than the {0} bytes that are taken")]
    TooLarge(u64),
    #[error("the body was broken off")]
    Cut,
    #[error("the body comes too slowly")]
    TooSlow,
}

impl From<Broken> for Error {
    fn from(broken: Broken) -> Self {
        match broken {
            Broken::TooLarge(limit) => Self::too_large(limit),
            Broken::Cut => Self::bad_request(broken.to_string()),
            Broken::TooSlow => Self::too_slow(broken.to_string()),
        }
    }
}

/// The whole of a body.
///
/// # Errors
/// [`Broken`]
pub(super) async fn whole(body: Incoming, limit: u64, bounds: &Bounds) -> Result<Bytes, Broken> {
    let mut whole = BytesMut::new();
    let mut pieces = std::pin::pin!(pieces(body, limit, bounds));
    while let Some(piece) = pieces.next().await {
        whole.extend_from_slice(&piece?);
    }
    Ok(whole.freeze())
}

/// The pieces of a body, and an error in the place of what is over the limit or too late.
pub(super) fn pieces(
    body: Incoming,
    limit: u64,
    bounds: &Bounds,
) -> impl Stream<Item = Result<Bytes, Broken>> + Send + use<> {
    let deadline = Deadline::new(bounds);
    stream::try_unfold((body, 0), move |(mut body, mut read)| async move {
        loop {
            let frame = tokio::time::timeout_at(deadline.after(read), body.frame()).await;
            let Some(frame) = frame.map_err(|_| Broken::TooSlow)? else { return Ok(None) };
            let Ok(data) = frame.map_err(|_| Broken::Cut)?.into_data() else { continue };
            read += data.len() as u64;
            if read > limit {
                return Err(Broken::TooLarge(limit));
            }
            return Ok(Some((data, (body, read))));
        }
    })
}

/// When the next piece of a body must be there.
#[derive(Clone, Copy, Debug)]
struct Deadline {
    began: Instant,
    pause: Duration,
    rate: u64,
}

impl Deadline {
    fn new(bounds: &Bounds) -> Self {
        Self { began: Instant::now(), pause: bounds.body_timeout, rate: bounds.body_rate }
    }

    /// The deadline of the piece after the first `read` bytes: a pause from now, and from the beginning no more than a pause and the
    /// time that those bytes may take.
    fn after(self, read: u64) -> Instant {
        let pause = Instant::now() + self.pause;
        match read.checked_div(self.rate) {
            Some(seconds) => pause.min(self.began + self.pause + Duration::from_secs(seconds)),
            None => pause,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_pause_is_bounded_and_so_is_the_time_of_all() {
        let second = Duration::from_secs(1);
        let deadline = Deadline { began: Instant::now(), pause: 30 * second, rate: 1024 };
        assert_eq!(deadline.after(0), deadline.began + 30 * second);
        tokio::time::advance(29 * second).await;
        // One byte buys no time; a megabyte does, but not for a pause that is longer.
        assert_eq!(deadline.after(1), deadline.began + 30 * second);
        assert_eq!(deadline.after(10 << 10), deadline.began + 40 * second);
        assert_eq!(deadline.after(1 << 20), deadline.began + 59 * second);
        assert_eq!(Deadline { rate: 0, ..deadline }.after(1), deadline.began + 59 * second);
    }
}
