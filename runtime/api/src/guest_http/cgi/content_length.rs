//! Holds a streamed body to the length that its head has promised.

use bytes::Bytes;
use futures_util::stream::{self, Stream, StreamExt as _};
use hyper::body::Frame;

use super::super::super::body::Aborted;
use super::super::super::disconnect::FrameResult;

/// Returns `pieces` as frames. With a length, a body that is longer or shorter ends with an error.
pub(super) fn frames(
    pieces: impl Stream<Item = Bytes> + Send,
    length: Option<u64>,
) -> impl Stream<Item = FrameResult> + Send {
    let ended = stream::once(std::future::ready(None));
    pieces
        .map(Some)
        .chain(ended)
        .scan(length, |left, piece| {
            let frame = match (piece, left) {
                (Some(piece), None) => Some(Ok(Frame::data(piece))),
                (Some(piece), Some(left)) => match left.checked_sub(piece.len() as u64) {
                    Some(rest) => {
                        *left = rest;
                        Some(Ok(Frame::data(piece)))
                    }
                    None => Some(Err(Aborted)),
                },
                (None, Some(1..)) => Some(Err(Aborted)),
                (None, _) => None,
            };
            std::future::ready(Some(frame))
        })
        .filter_map(std::future::ready)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the bytes of the frames, and whether they end with an error.
    async fn sent(pieces: &[&'static str], length: Option<u64>) -> (String, bool) {
        let pieces = stream::iter(pieces.iter().map(|piece| Bytes::from_static(piece.as_bytes())));
        let frames: Vec<_> = frames(pieces, length).collect().await;
        let is_cut = frames.last().is_some_and(Result::is_err);
        let text = frames.into_iter().flatten().filter_map(|frame| frame.into_data().ok());
        (text.map(|piece| String::from_utf8(piece.to_vec()).unwrap()).collect(), is_cut)
    }

    #[tokio::test]
    async fn body_of_another_length_than_promised_is_cut() {
        assert_eq!(sent(&["ab", "c"], None).await, ("abc".to_owned(), false));
        assert_eq!(sent(&["ab", "c"], Some(3)).await, ("abc".to_owned(), false));
        assert_eq!(sent(&["ab", "c"], Some(4)).await, ("abc".to_owned(), true));
        assert_eq!(sent(&["ab", "c"], Some(2)).await, ("ab".to_owned(), true));
        assert_eq!(sent(&[], Some(0)).await, (String::new(), false));
    }
}
