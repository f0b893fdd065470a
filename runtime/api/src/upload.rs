//! Reading a push: a program, or a form of a program and its manifest, up to the limit.

use std::sync::Arc;

use bytes::Bytes;
use capstan_core::manifest::Manifest;
use hyper::header::CONTENT_TYPE;
use multer::Multipart;

use super::Api;
use super::error::Error;
use super::read_progress::{self, Broken};
use super::request::Request;

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
/// cut, or is a form that is not as it should be; 408 where it comes too slowly; 422 for a bad manifest.
pub(super) async fn read(api: &Arc<Api>, request: Request) -> Result<Pushed, Error> {
    let limit = api.settings.upload;
    if request.content_length().is_some_and(|length| length > limit) {
        return Err(Error::too_large(limit));
    }
    let _one_of_few = api.one_of_few(&api.uploads).await?;
    let bounds = &api.settings.http;
    let content_type = request.head.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if content_type.trim_start().to_ascii_lowercase().starts_with("multipart/") {
        let boundary = multer::parse_boundary(content_type).map_err(|error| form_error(&error))?;
        return form(Multipart::new(read_progress::pieces(request.body, limit, bounds), boundary)).await;
    }
    let wasm = read_progress::whole(request.body, limit, bounds).await?;
    Ok(Pushed { wasm, manifest: Manifest::default() })
}

async fn form(mut form: Multipart<'_>) -> Result<Pushed, Error> {
    let (mut wasm, mut manifest) = (None, None);
    while let Some(field) = form.next_field().await.map_err(|error| form_error(&error))? {
        let name = field.name().unwrap_or_default().to_owned();
        let slot = match name.as_str() {
            "module" => &mut wasm,
            "manifest" => &mut manifest,
            _ => {
                return Err(Error::bad_request(format!("the form has a part {name:?}; module and manifest are known")));
            }
        };
        if slot.replace(field.bytes().await.map_err(|error| form_error(&error))?).is_some() {
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

fn form_error(error: &multer::Error) -> Error {
    if let multer::Error::StreamReadFailed(source) = error
        && let Some(broken) = source.downcast_ref::<Broken>()
    {
        return (*broken).into();
    }
    Error::bad_request(format!("the form is not as it should be: {error}"))
}
