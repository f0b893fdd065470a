//! A client that is attached over a WebSocket: each frame is a binary message, and each message of the client is a piece of stdin.
//!
//! A WebSocket cannot be closed by halves, so an empty message closes stdin. A client detaches with a Close, or by disconnecting.

use std::time::Duration;

use futures_util::{Sink, SinkExt as _, Stream, StreamExt as _};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Bytes, Error, Message};

use super::attachment::{Attachment, StdinWriter};

/// Bytes of the longest message of a client, in any number of fragments.
const MAX_MESSAGE: usize = 256 << 10;
/// Bytes that are read ahead.
const READ_BUFFER: usize = 16 << 10;
/// Bytes that may wait to be sent: a frame of output, and answers to pings.
const MAX_WRITE_BUFFER: usize = 4 << 20;
/// How often a client is pinged.
const PING_INTERVAL: Duration = Duration::from_secs(20);
/// How long a client may send nothing, not even a pong.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a client may take to read the Close and to answer it.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// Bytes of the longest reason in a Close (RFC 6455, section 5.5).
const MAX_REASON: usize = 123;

/// Copies in both directions until the job has ended and the client has been sent its outcome, or the client has disconnected.
pub(super) async fn serve(
    mut attachment: Attachment,
    stdin: Option<StdinWriter>,
    connection: impl AsyncRead + AsyncWrite + Send + Unpin,
) {
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(READ_BUFFER)
        .max_write_buffer_size(MAX_WRITE_BUFFER)
        .max_message_size(Some(MAX_MESSAGE))
        .max_frame_size(Some(MAX_MESSAGE));
    let socket = WebSocketStream::from_raw_socket(connection, Role::Server, Some(config)).await;
    let (mut writer, reader) = socket.split();
    let job = attachment.run.clone();
    let mut receiving = Box::pin(receive(reader, stdin));
    let sent = tokio::select! {
        result = send(&mut attachment, &mut writer) => result,
        close = &mut receiving => {
            if let Some(close) = close {
                // A client that violates the protocol may not read it.
                let _ = timeout(CLOSE_TIMEOUT, writer.send(Message::Close(Some(close)))).await;
            }
            return;
        }
    };
    match (sent, job) {
        (Ok(close), _) => {
            let closing = async {
                if writer.send(Message::Close(Some(close))).await.is_ok() {
                    receiving.await;
                }
            };
            // A client that does not answer the Close has had the outcome all the same.
            let _ = timeout(CLOSE_TIMEOUT, closing).await;
        }
        // The client reads no more, but what it has sent still reaches the job.
        (Err(_), Some(job)) => {
            tokio::select! {
                _ = receiving => {}
                _ = job.wait() => {}
            }
        }
        (Err(_), None) => {}
    }
}

/// Sends the output of the job and its outcome, each frame as a message. Returns the Close that follows.
async fn send(
    attachment: &mut Attachment,
    writer: &mut (impl Sink<Message, Error = Error> + Unpin),
) -> Result<CloseFrame, Error> {
    let mut ping = interval_at(Instant::now() + PING_INTERVAL, PING_INTERVAL);
    ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let piece = tokio::select! {
            piece = attachment.reader.next() => piece,
            _ = ping.tick() => {
                writer.send(Message::Ping(Bytes::new())).await?;
                continue;
            }
        };
        let Some(piece) = piece else { break };
        let frame = attachment.encoder.encode(&piece);
        if !frame.is_empty() {
            writer.send(Message::Binary(frame)).await?;
        }
    }
    let Some(ended) = attachment.end().await else {
        return Ok(close_frame(CloseCode::Error, "the output of the job cannot be read"));
    };
    writer.send(Message::Binary(attachment.encoder.encode_outcome(Some(&ended)))).await?;
    Ok(close_frame(CloseCode::Normal, &ended.end.outcome.to_string()))
}

/// Copies what the client sends to stdin, until the client has disconnected.
///
/// Returns the Close to send to a client that violates the protocol or is silent for too long.
async fn receive(
    mut reader: impl Stream<Item = Result<Message, Error>> + Unpin,
    mut stdin: Option<StdinWriter>,
) -> Option<CloseFrame> {
    loop {
        let Ok(message) = timeout(SILENCE_TIMEOUT, reader.next()).await else {
            let reason = format!("no message and no pong for {} s", SILENCE_TIMEOUT.as_secs());
            return Some(close_frame(CloseCode::Policy, &reason));
        };
        let message = message?;
        let bytes: &[u8] = match &message {
            Ok(Message::Binary(bytes)) => bytes,
            Ok(Message::Text(text)) => text.as_bytes(),
            // The next read sends the answers to a ping and to a Close.
            Ok(Message::Ping(_) | Message::Pong(_) | Message::Close(_) | Message::Frame(_)) => continue,
            Err(error) => return close_for(error),
        };
        match &mut stdin {
            Some(stdin) if bytes.is_empty() => stdin.close(),
            Some(stdin) => stdin.write(bytes).await,
            None => {}
        }
    }
}

/// Returns the Close for a client whose messages cannot be read; `None` where the connection is lost.
fn close_for(error: &Error) -> Option<CloseFrame> {
    let code = match error {
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => return None,
        Error::Protocol(_) => CloseCode::Protocol,
        Error::Capacity(_) => CloseCode::Size,
        Error::Utf8(_) => CloseCode::Invalid,
        _ => return None,
    };
    Some(close_frame(code, &error.to_string()))
}

fn close_frame(code: CloseCode, reason: &str) -> CloseFrame {
    let reason = &reason[..reason.floor_char_boundary(MAX_REASON)];
    CloseFrame { code, reason: reason.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn receive_ends_after_one_minute_of_silence() {
        let started = Instant::now();
        let pongs = futures_util::stream::unfold(0, async |count| {
            tokio::time::sleep(Duration::from_secs(59)).await;
            match count {
                3 => std::future::pending().await,
                _ => Some((Ok(Message::Pong(Bytes::new())), count + 1)),
            }
        });
        let close = receive(Box::pin(pongs), None).await.expect("the client gets a Close");
        assert_eq!((close.code, started.elapsed()), (CloseCode::Policy, Duration::from_secs(3 * 59 + 60)));
    }

    #[test]
    fn close_frame_cuts_reason_between_characters() {
        let close = close_frame(CloseCode::Normal, &"ü".repeat(100));
        assert_eq!(close.reason.as_str(), "ü".repeat(61));
        assert_eq!(close_frame(CloseCode::Normal, "exited 0").reason.as_str(), "exited 0");
    }
}
