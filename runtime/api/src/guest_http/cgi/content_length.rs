//! Holds a streamed body to the length that its head has promised.

use bytes::Bytes;
use futures_util::stream::{self, Stream, StreamExt as _};
use hyper::body::Frame;

use super::super::super::body::Aborted;
use super::super::super::disconnect::FrameResult;

/// Returns `pieces` as frames. They end with an error if the run has not `succeeded`, or the body has another length than `length`.
///
/// The piece that completes the length waits for the end of the run: with it, the response is complete for its client.
pub(super) fn frames(
    pieces: impl Stream<Item = Bytes> + Send + Unpin,
    length: Option<u64>,
    succeeded: impl Future<Output = bool> + Send,
) -> impl Stream<Item = FrameResult> + Send {
    let start = Some((pieces, length, Bytes::new(), succeeded));
    stream::unfold(start, |state| async move {
        let (mut pieces, mut left, mut last, succeeded) = state?;
        while let Some(piece) = pieces.next().await {
            if let Some(left) = &mut left {
                let Some(rest) = left.checked_sub(piece.len() as u64) else { return Some((Err(Aborted), None)) };
                *left = rest;
                if rest == 0 {
                    last = piece;
                    continue;
                }
            }
            return Some((Ok(Frame::data(piece)), Some((pieces, left, last, succeeded))));
        }
        if left.is_some_and(|left| left > 0) || !succeeded.await {
            return Some((Err(Aborted), None));
        }
        (!last.is_empty()).then(|| (Ok(Frame::data(last)), None))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the bytes of the frames, and whether they end with an error.
    async fn sent(pieces: &[&'static str], length: Option<u64>, is_success: bool) -> (String, bool) {
        let pieces = stream::iter(pieces.iter().map(|piece| Bytes::from_static(piece.as_bytes())));
        let frames: Vec<_> = frames(pieces, length, std::future::ready(is_success)).collect().await;
        let is_cut = frames.last().is_some_and(Result::is_err);
        let text = frames.into_iter().flatten().filter_map(|frame| frame.into_data().ok());
        (text.map(|piece| String::from_utf8(piece.to_vec()).unwrap()).collect(), is_cut)
    }

    #[tokio::test]
    async fn body_of_another_length_than_promised_is_cut() {
        assert_eq!(sent(&["ab", "c"], None, true).await, ("abc".to_owned(), false));
        assert_eq!(sent(&["ab", "c"], Some(3), true).await, ("abc".to_owned(), false));
        assert_eq!(sent(&["ab", "c"], Some(4), true).await, ("abc".to_owned(), true));
        assert_eq!(sent(&["ab", "c"], Some(2), true).await, (String::new(), true));
    }

    #[tokio::test]
    async fn body_of_a_run_that_fails_is_never_complete() {
        assert_eq!(sent(&["ab", "c"], None, false).await, ("abc".to_owned(), true));
        assert_eq!(sent(&["ab", "c"], Some(3), false).await, ("ab".to_owned(), true));
    }
}
