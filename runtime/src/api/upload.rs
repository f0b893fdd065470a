//! Reading a push: a program, or a form of a program and its manifest, up to the limit.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::stream::{self, Stream};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::header::CONTENT_TYPE;
use multer::Multipart;

use super::Api;
use super::error::Error;
use super::request::Request;
use crate::manifest::Manifest;

/// How long a client may pause in the middle of an upload.
const PAUSE: Duration = Duration::from_secs(30);
/// Bytes of the longest manifest.
const MANIFEST: usize = 1 << 20;

/// What was pushed.
#[derive(Debug)]
pub(super) struct Pushed {
    pub(super) wasm: Bytes,
    pub(super) manifest: Manifest,
}

/// Reads the body of `request`.
///
/// # Errors
/// [`Error`]: 413 as soon as it is known to be over the limit, before a byte of it is read where its length was told; 400 where it is
/// cut, stalls, or is a form that is not as it should be; 422 for a bad manifest.
pub(super) async fn read(api: &Arc<Api>, request: Request) -> Result<Pushed, Error> {
    let limit = api.settings.upload;
    if request.content_length().is_some_and(|length| length > limit) {
        return Err(Error::too_large(limit));
    }
    let _one_of_few = api.uploads.acquire().await.expect("the semaphore is never closed");
    let content_type = request.head.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if content_type.trim_start().to_ascii_lowercase().starts_with("multipart/") {
        let boundary = multer::parse_boundary(content_type).map_err(|error| form_error(&error, limit))?;
        return form(Multipart::new(pieces(request.body, limit), boundary), limit).await;
    }
    let mut wasm = BytesMut::new();
    let mut pieces = std::pin::pin!(pieces(request.body, limit));
    while let Some(piece) = futures_util::StreamExt::next(&mut pieces).await {
        wasm.extend_from_slice(&piece.map_err(|broken| broken.into_error(limit))?);
    }
    Ok(Pushed { wasm: wasm.freeze(), manifest: Manifest::default() })
}

async fn form(mut form: Multipart<'_>, limit: u64) -> Result<Pushed, Error> {
    let (mut wasm, mut manifest) = (None, None);
    while let Some(field) = form.next_field().await.map_err(|error| form_error(&error, limit))? {
        let name = field.name().unwrap_or_default().to_owned();
        let slot = match name.as_str() {
            "module" => &mut wasm,
            "manifest" => &mut manifest,
            _ => {
                return Err(Error::bad_request(format!("the form has a part {name:?}; module and manifest are known")));
            }
        };
        if slot.replace(field.bytes().await.map_err(|error| form_error(&error, limit))?).is_some() {
            return Err(Error::bad_request(format!("the form has two parts {name:?}")));
        }
    }
    let wasm = wasm.ok_or_else(|| Error::bad_request("the form has no part \"module\""))?;
    let manifest = manifest.map_or(Ok(Manifest::default()), |text| parse(&text))?;
    Ok(Pushed { wasm, manifest })
}

fn parse(manifest: &Bytes) -> Result<Manifest, Error> {
    if manifest.len() > MANIFEST {
        return Err(Error::too_large(MANIFEST as u64));
    }
    let text = std::str::from_utf8(manifest)
        .map_err(|error| Error::bad_request(format!("the manifest is not text: {error}")))?;
    Ok(Manifest::parse(text)?)
}

/// Why there is no next piece of an upload.
#[derive(Clone, Copy, Debug, thiserror::Error)]
enum Broken {
    #[error("the upload is too large")]
    TooLarge,
    #[error("the upload was broken off")]
    Cut,
    #[error("nothing came for {} s", PAUSE.as_secs())]
    Stalled,
}

impl Broken {
    fn into_error(self, limit: u64) -> Error {
        match self {
            Self::TooLarge => Error::too_large(limit),
            Self::Cut | Self::Stalled => Error::bad_request(self.to_string()),
        }
    }
}

/// The pieces of a body, and an error in the place of what is over the limit.
fn pieces(body: Incoming, limit: u64) -> impl Stream<Item = Result<Bytes, Broken>> + Send {
    stream::try_unfold((body, limit), async |(mut body, mut left)| {
        loop {
            let frame = tokio::time::timeout(PAUSE, body.frame()).await.map_err(|_| Broken::Stalled)?;
            let Some(frame) = frame else { return Ok(None) };
            let Ok(data) = frame.map_err(|_| Broken::Cut)?.into_data() else { continue };
            left = left.checked_sub(data.len() as u64).ok_or(Broken::TooLarge)?;
            return Ok(Some((data, (body, left))));
        }
    })
}

fn form_error(error: &multer::Error, limit: u64) -> Error {
    if let multer::Error::StreamReadFailed(source) = error
        && let Some(broken) = source.downcast_ref::<Broken>()
    {
        return broken.into_error(limit);
    }
    Error::bad_request(format!("the form is not as it should be: {error}"))
}
