//! A client that is attached by `POST`: it gets frames, and sends the bytes of stdin.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio_util::sync::CancellationToken;

use super::super::super::peer::{Peer, PeerState};
use super::super::super::run::framed;
use super::attachment::{Attachment, StdinWriter};

/// Bytes of stdin that are read at a time.
const CHUNK: usize = 16 << 10;
/// How often to check whether a client that sends nothing more is still there.
const CHECK_INTERVAL: Duration = Duration::from_millis(250);

/// Copies in both directions until the job has ended and the client has been sent its outcome, or the client has disconnected.
pub(super) async fn serve(
    mut attachment: Attachment,
    stdin: Option<StdinWriter>,
    connection: impl AsyncRead + AsyncWrite + Send,
    peer: Arc<Peer>,
) {
    let (reader, writer) = tokio::io::split(connection);
    let half_closed = CancellationToken::new();
    let job = attachment.run.clone();
    let mut receiving = Box::pin(receive(reader, stdin, &peer, &half_closed));
    tokio::select! {
        result = send(&mut attachment, writer, &half_closed) => if result.is_ok() { return },
        () = &mut receiving => return,
    }
    // The client reads no more, but what it has sent still reaches the job.
    if let Some(job) = job {
        tokio::select! {
            () = receiving => {}
            _ = job.wait() => {}
        }
    }
}

/// Sends the output of the job and its outcome.
async fn send(
    attachment: &mut Attachment,
    mut writer: impl AsyncWrite + Unpin,
    half_closed: &CancellationToken,
) -> io::Result<()> {
    let mut is_probed = false;
    loop {
        let piece = tokio::select! {
            piece = attachment.reader.next() => piece,
            () = half_closed.cancelled(), if !is_probed => {
                is_probed = true;
                // A client that has closed both halves answers an empty frame with a reset.
                writer.write_all(&framed::frame_head(framed::STDOUT, 0)).await?;
                continue;
            }
        };
        let Some(piece) = piece else { break };
        writer.write_all(&attachment.encoder.encode(&piece)).await?;
    }
    let end = attachment.end().await;
    writer.write_all(&attachment.encoder.encode_outcome(end.as_ref())).await?;
    writer.shutdown().await
}

/// Copies what the client sends to stdin, and waits until the client has disconnected.
async fn receive(
    mut reader: impl AsyncRead + Unpin,
    mut stdin: Option<StdinWriter>,
    peer: &Peer,
    half_closed: &CancellationToken,
) {
    let mut buffer = vec![0; CHUNK];
    loop {
        match reader.read(&mut buffer).await {
            Ok(0) => break,
            Ok(count) => {
                if let Some(stdin) = &mut stdin {
                    stdin.write(&buffer[..count]).await;
                }
            }
            Err(_) => return,
        }
    }
    if peer.is_disconnected_at_end() {
        return;
    }
    if let Some(stdin) = &mut stdin {
        stdin.close();
    }
    half_closed.cancel();
    while peer.state() != PeerState::Disconnected {
        tokio::time::sleep(CHECK_INTERVAL).await;
    }
}
