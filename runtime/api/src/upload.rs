//! `Upload`: the body of a push, which is a program, or a form with a program and its manifest.

use std::sync::Arc;

use bytes::Bytes;
use capstan_core::manifest::Manifest;
use hyper::header::CONTENT_TYPE;
use multer::Multipart;

use super::error::Error;
use super::request::Request;
use super::request_body::{self, BodyError};
use super::state::ApiState;

/// Bytes of the longest manifest.
const MAX_MANIFEST: usize = 1 << 20;

/// A program and its manifest.
#[derive(Debug)]
pub(super) struct Upload {
    pub(super) wasm: Bytes,
    pub(super) manifest: Manifest,
}

impl Upload {
    /// Reads the body of `request`.
    ///
    /// # Errors
    /// [`Error`]:
    /// - 413 as soon as it is known to exceed the limit; with `Content-Length`, before a byte of it is read
    /// - 400 where it is cut, or is a form that cannot be parsed
    /// - 408 where it arrives too slowly
    /// - 422 for an invalid manifest
    /// - 429 where too many large bodies are being read
    pub(super) async fn read(state: &Arc<ApiState>, request: Request) -> Result<Self, Error> {
        request.reject_encoded_body()?;
        let limit = state.settings.max_upload;
        if request.content_length().is_some_and(|length| length > limit) {
            return Err(Error::too_large(limit));
        }
        let _permit = state.slots.upload_of(request.content_length().unwrap_or(limit)).await?;
        let limits = &state.settings.http_limits;
        let content_type = request.head.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let content_type = content_type.unwrap_or_default();
        if content_type.trim_start().to_ascii_lowercase().starts_with("multipart/") {
            let boundary = multer::parse_boundary(content_type).map_err(|error| form_error(&error))?;
            return read_form(Multipart::new(request_body::data_stream(request.body, limit, limits), boundary)).await;
        }
        let wasm = request_body::read_to_end(request.body, limit, limits).await?;
        Ok(Self { wasm, manifest: Manifest::default() })
    }
}

async fn read_form(mut form: Multipart<'_>) -> Result<Upload, Error> {
    let (mut wasm, mut manifest) = (None, None);
    while let Some(field) = form.next_field().await.map_err(|error| form_error(&error))? {
        let name = field.name().unwrap_or_default().to_owned();
        let slot = match name.as_str() {
            "module" => &mut wasm,
            "manifest" => &mut manifest,
            _ => {
                let message = format!("unknown part {name:?} of the form; known: module, manifest");
                return Err(Error::bad_request(message));
            }
        };
        if slot.replace(field.bytes().await.map_err(|error| form_error(&error))?).is_some() {
            return Err(Error::bad_request(format!("the part {name:?} of the form occurs more than once")));
        }
    }
    let wasm = wasm.ok_or_else(|| Error::bad_request("the form has no part \"module\", which is the program"))?;
    let manifest = manifest.map_or(Ok(Manifest::default()), |text| parse_manifest(&text))?;
    Ok(Upload { wasm, manifest })
}

fn parse_manifest(manifest: &Bytes) -> Result<Manifest, Error> {
    if manifest.len() > MAX_MANIFEST {
        return Err(Error::too_large(MAX_MANIFEST as u64));
    }
    let text = std::str::from_utf8(manifest)
        .map_err(|error| Error::bad_request(format!("the manifest is not UTF-8: {error}")))?;
    Ok(capstan_engine::schedule::parse_manifest(text)?)
}

fn form_error(error: &multer::Error) -> Error {
    if let multer::Error::StreamReadFailed(source) = error
        && let Some(body_error) = source.downcast_ref::<BodyError>()
    {
        return (*body_error).into();
    }
    Error::bad_request(format!("cannot parse the form: {error}"))
}
