//! Reads a body to its end before it is used, up to a limit of bytes, and rejects one that arrives too slowly.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use capstan_core::policy;
use futures_util::StreamExt as _;
use futures_util::stream::{self, Stream};
use http_body_util::BodyExt as _;
use hyper::body::Body;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use super::error::Error;
use super::http_limits::HttpLimits;

/// The byte order mark that some editors and shells write before UTF-8.
const BOM: &[u8] = b"\xEF\xBB\xBF";

/// Why a body cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BodyError {
    #[error("the body is larger than the limit of {0} bytes")]
    TooLarge(u64),
    #[error("the body ended early")]
    Truncated,
    #[error(
        "the body arrives too slowly: it paused for longer than http.body_timeout, or has fewer bytes per second \
         than http.body_rate"
    )]
    TooSlow,
}

impl From<BodyError> for Error {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::TooLarge(limit) => Self::too_large(limit),
            BodyError::Truncated => Self::bad_request(error.to_string()),
            BodyError::TooSlow => Self::too_slow(error.to_string()),
        }
    }
}

/// Reads a body to its end.
///
/// # Errors
/// [`BodyError`]
pub(super) async fn read_to_end(
    body: impl Body<Data = Bytes> + Send + Unpin,
    limit: u64,
    limits: &HttpLimits,
) -> Result<Bytes, BodyError> {
    let mut bytes = BytesMut::new();
    let mut pieces = std::pin::pin!(data_stream(body, limit, limits));
    while let Some(piece) = pieces.next().await {
        bytes.extend_from_slice(&piece?);
    }
    Ok(bytes.freeze())
}

/// Parses a body in JSON, which may begin with a byte order mark.
///
/// # Errors
/// [`Error`], 400, with what is wrong and where.
pub(super) fn parse_json<T: DeserializeOwned>(body: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(without_bom(body)).map_err(|error| {
        Error::bad_request(format!("cannot parse the body: {}", policy::with_suggestion(&error.to_string())))
    })
}

/// Returns a body without the byte order mark that it may begin with.
pub(super) fn without_bom(body: &[u8]) -> &[u8] {
    body.strip_prefix(BOM).unwrap_or(body)
}

/// Streams the data of a body. The stream ends with a [`BodyError`] where the body exceeds `limit` bytes or is too slow.
pub(super) fn data_stream<B: Body<Data = Bytes> + Send + Unpin>(
    body: B,
    limit: u64,
    limits: &HttpLimits,
) -> impl Stream<Item = Result<Bytes, BodyError>> + Send + use<B> {
    let deadline = Deadline::new(limits);
    stream::try_unfold((body, 0), move |(mut body, mut read)| async move {
        loop {
            let frame = tokio::time::timeout_at(deadline.after(read), body.frame()).await;
            let Some(frame) = frame.map_err(|_| BodyError::TooSlow)? else { return Ok(None) };
            let Ok(data) = frame.map_err(|_| BodyError::Truncated)?.into_data() else { continue };
            read += data.len() as u64;
            if read > limit {
                return Err(BodyError::TooLarge(limit));
            }
            return Ok(Some((data, (body, read))));
        }
    })
}

/// Computes when the next piece of a body must arrive.
#[derive(Clone, Copy, Debug)]
struct Deadline {
    started: Instant,
    timeout: Duration,
    /// Bytes per second; 0 for no limit.
    rate: u64,
}

impl Deadline {
    fn new(limits: &HttpLimits) -> Self {
        Self { started: Instant::now(), timeout: limits.body_timeout, rate: limits.body_rate }
    }

    /// Returns the deadline of the piece after the first `read` bytes.
    ///
    /// It is one timeout from now, but no later than one timeout from the start plus the time that those bytes take at `rate`.
    fn after(self, read: u64) -> Instant {
        let deadline = Instant::now() + self.timeout;
        match read.checked_div(self.rate) {
            Some(seconds) => deadline.min(self.started + self.timeout + Duration::from_secs(seconds)),
            None => deadline,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn deadline_is_limited_by_timeout_and_by_rate() {
        let second = Duration::from_secs(1);
        let deadline = Deadline { started: Instant::now(), timeout: 30 * second, rate: 1024 };
        assert_eq!(deadline.after(0), deadline.started + 30 * second);
        tokio::time::advance(29 * second).await;
        // One byte extends the deadline by nothing; a megabyte does, but not beyond one timeout from now.
        assert_eq!(deadline.after(1), deadline.started + 30 * second);
        assert_eq!(deadline.after(10 << 10), deadline.started + 40 * second);
        assert_eq!(deadline.after(1 << 20), deadline.started + 59 * second);
        assert_eq!(Deadline { rate: 0, ..deadline }.after(1), deadline.started + 59 * second);
    }
}
