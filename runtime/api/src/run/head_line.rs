//! Reads the first line of a body, which describes the run; the rest is stdin.

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

use super::super::error::Error;
use super::super::state::ApiState;

/// Bytes of the longest line. The job itself has a lower limit on arguments and variables, but JSON may escape each character.
const MAX_LINE: usize = 8 << 20;
/// Bytes of the longest line that is read without a slot. Longer lines share the slots of uploads.
const MAX_SMALL_LINE: usize = 64 << 10;

/// Returns the first line of `body`, and what was read after it.
///
/// # Errors
/// [`Error`]:
/// - 413 if the line is too long
/// - 408 if it arrives too slowly
/// - 429 if too many large bodies are being read
/// - 400 if the body is cut
pub(in super::super) async fn read(state: &ApiState, body: &mut Incoming) -> Result<(Bytes, Bytes), Error> {
    let timeout = state.settings.http_limits.body_timeout;
    let mut line = BytesMut::new();
    let mut permit = None;
    loop {
        let searched = line.len();
        let frame = tokio::time::timeout(timeout, body.frame())
            .await
            .map_err(|_| Error::too_slow("the first line of the body paused for longer than http.body_timeout"))?;
        let Some(frame) = frame else { return Ok((line.freeze(), Bytes::new())) };
        let frame = frame.map_err(|_| Error::bad_request("the body ended early"))?;
        let Ok(data) = frame.into_data() else { continue };
        line.extend_from_slice(&data);
        if let Some(end) = line[searched..].iter().position(|byte| *byte == b'\n') {
            let rest = line.split_off(searched + end + 1);
            return Ok((line.freeze(), rest.freeze()));
        }
        if line.len() > MAX_LINE {
            return Err(Error::too_large(MAX_LINE as u64));
        }
        if line.len() > MAX_SMALL_LINE && permit.is_none() {
            permit = Some(state.slots.upload().await?);
        }
    }
}
