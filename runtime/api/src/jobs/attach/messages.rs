//! A client that is attached over a WebSocket: each frame is a binary message, and each message of the client a piece of stdin.
//!
//! A WebSocket has no half that could be closed, so an empty message is the end of stdin. Closing it, or leaving without, detaches.

use std::time::Duration;

use capstan_engine::job::JobState;
use futures_util::{Sink, SinkExt as _, Stream, StreamExt as _};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Bytes, Error, Message};

use super::{Attached, Feed};

/// Bytes of the longest message that is taken from a client, in however many fragments.
const MESSAGE: usize = 256 << 10;
/// Bytes that are read ahead.
const READ: usize = 16 << 10;
/// Bytes that may wait to be sent: a frame of output, and answers to pings.
const WRITE: usize = 4 << 20;
/// How often a client is asked whether it is there.
const PING: Duration = Duration::from_secs(20);
/// How long a client may say nothing, not even that it is there.
const SILENCE: Duration = Duration::from_secs(60);
/// How long a client may take for the last message and its answer to that.
const FAREWELL: Duration = Duration::from_secs(2);
/// Bytes of the reason in a Close.
const REASON: usize = 123;

/// Tells and listens until the job has ended and the client knows, or the client has left.
pub(crate) async fn serve(
    mut attached: Attached,
    stdin: Option<Feed>,
    connection: impl AsyncRead + AsyncWrite + Send + Unpin,
) {
    let limits = WebSocketConfig::default()
        .read_buffer_size(READ)
        .write_buffer_size(READ)
        .max_write_buffer_size(WRITE)
        .max_message_size(Some(MESSAGE))
        .max_frame_size(Some(MESSAGE));
    let socket = WebSocketStream::from_raw_socket(connection, Role::Server, Some(limits)).await;
    let (mut to, from) = socket.split();
    let job = attached.record.job().cloned();
    let mut listening = Box::pin(listen(from, stdin));
    let told = tokio::select! {
        told = tell(&mut attached, &mut to) => told,
        fault = &mut listening => {
            if let Some(fault) = fault {
                // A client that is at fault need not listen.
                let _ = timeout(FAREWELL, to.send(Message::Close(Some(fault)))).await;
            }
            return;
        }
    };
    match (told, job) {
        (Ok(end), _) => {
            let farewell = async {
                if to.send(Message::Close(Some(end))).await.is_ok() {
                    listening.await;
                }
            };
            // Who does not answer is told all the same.
            let _ = timeout(FAREWELL, farewell).await;
        }
        // It reads no more, but what it had sent by then arrives.
        (Err(_), Some(job)) => {
            tokio::select! {
                _ = listening => {}
                _ = job.wait() => {}
            }
        }
        (Err(_), None) => {}
    }
}

/// Sends what the job prints, and how it ended, each frame as a message; gives the Close that follows.
async fn tell(
    attached: &mut Attached,
    to: &mut (impl Sink<Message, Error = Error> + Unpin),
) -> Result<CloseFrame, Error> {
    let mut ping = interval_at(Instant::now() + PING, PING);
    ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let piece = tokio::select! {
            piece = attached.follower.next() => piece,
            _ = ping.tick() => {
                to.send(Message::Ping(Bytes::new())).await?;
                continue;
            }
        };
        let Some(piece) = piece else { break };
        let frame = attached.telling.text(&piece);
        if !frame.is_empty() {
            to.send(Message::Binary(frame)).await?;
        }
    }
    // Its streams are closed a moment before it has ended.
    if let Some(job) = attached.record.job() {
        job.wait().await;
    }
    to.send(Message::Binary(attached.telling.end(&attached.record))).await?;
    let reason = match attached.record.state() {
        JobState::Done(end) => end.outcome.to_string(),
        going => going.token().to_owned(),
    };
    Ok(close(CloseCode::Normal, &reason))
}

/// Hands on what the client sends, until it has left; gives the Close that tells it what it did wrong.
async fn listen(
    mut from: impl Stream<Item = Result<Message, Error>> + Unpin,
    mut stdin: Option<Feed>,
) -> Option<CloseFrame> {
    loop {
        let Ok(message) = timeout(SILENCE, from.next()).await else {
            return Some(close(CloseCode::Policy, "nothing was heard for a minute, no pong either"));
        };
        let message = message?;
        let bytes: &[u8] = match &message {
            Ok(Message::Binary(bytes)) => bytes,
            Ok(Message::Text(text)) => text.as_bytes(),
            // Answers to a ping and to a Close are given by the next read.
            Ok(Message::Ping(_) | Message::Pong(_) | Message::Close(_) | Message::Frame(_)) => continue,
            Err(error) => return fault(error),
        };
        match &mut stdin {
            Some(stdin) if bytes.is_empty() => stdin.end(),
            Some(stdin) => stdin.write(bytes).await,
            None => {}
        }
    }
}

/// What a client is told whose messages cannot be read; nothing where there is none to tell.
fn fault(error: &Error) -> Option<CloseFrame> {
    let code = match error {
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => return None,
        Error::Protocol(_) => CloseCode::Protocol,
        Error::Capacity(_) => CloseCode::Size,
        Error::Utf8(_) => CloseCode::Invalid,
        _ => return None,
    };
    Some(close(code, &error.to_string()))
}

fn close(code: CloseCode, reason: &str) -> CloseFrame {
    let reason = &reason[..reason.floor_char_boundary(REASON)];
    CloseFrame { code, reason: reason.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_client_that_says_nothing_for_a_minute_is_let_go() {
        let began = Instant::now();
        let pongs = futures_util::stream::unfold(0, async |sent| {
            tokio::time::sleep(Duration::from_secs(59)).await;
            match sent {
                3 => std::future::pending().await,
                _ => Some((Ok(Message::Pong(Bytes::new())), sent + 1)),
            }
        });
        let told = listen(Box::pin(pongs), None).await.expect("it is told");
        assert_eq!((told.code, began.elapsed()), (CloseCode::Policy, Duration::from_secs(3 * 59 + 60)));
    }

    #[test]
    fn a_reason_is_cut_between_characters() {
        let told = close(CloseCode::Normal, &"ü".repeat(100));
        assert_eq!(told.reason.as_str(), "ü".repeat(61));
        assert_eq!(close(CloseCode::Normal, "exited 0").reason.as_str(), "exited 0");
    }
}
