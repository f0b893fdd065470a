//! `Upload`: the body of a push, which is a program, or a form with a program, its manifest and its files.

use std::fs::File;
use std::io::{self, Seek as _, Write as _};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use capstan_core::manifest::Manifest;
use capstan_engine::handler_store::StoreError;
use hyper::header::CONTENT_TYPE;
use multer::{Field, Multipart};

use super::error::Error;
use super::request::Request;
use super::request_body::{self, BodyError};
use super::state::ApiState;

/// Bytes of the longest manifest.
const MAX_MANIFEST: u64 = 1 << 20;
/// Bytes of an archive that are written at a time.
const PIECE: usize = 1 << 20;

/// What a push sends.
#[derive(Debug)]
pub(super) struct Upload {
    pub(super) wasm: Option<Bytes>,
    /// The archive of its files, at its start.
    pub(super) files: Option<File>,
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
        let content_type = request.head.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let content_type = content_type.unwrap_or_default().trim_start().to_owned();
        let is_form = content_type.to_ascii_lowercase().starts_with("multipart/");
        let max_upload = state.settings.max_upload;
        let limit = if is_form { max_upload.saturating_add(state.settings.max_files) } else { max_upload };
        if request.content_length().is_some_and(|length| length > limit) {
            return Err(Error::too_large(limit));
        }
        let _permit = state.slots.upload_of(request.content_length().unwrap_or(limit)).await?;
        let limits = &state.settings.http_limits;
        if is_form {
            let boundary = multer::parse_boundary(&content_type).map_err(|error| form_error(&error))?;
            let form = Multipart::new(request_body::data_stream(request.body, limit, limits), boundary);
            return read_form(state, form).await;
        }
        let wasm = request_body::read_to_end(request.body, limit, limits).await?;
        Ok(Self { wasm: Some(wasm), files: None, manifest: Manifest::default() })
    }
}

async fn read_form(state: &ApiState, mut form: Multipart<'_>) -> Result<Upload, Error> {
    let (mut wasm, mut manifest, mut files) = (None, None, None);
    while let Some(field) = form.next_field().await.map_err(|error| form_error(&error))? {
        let name = field.name().unwrap_or_default().to_owned();
        let is_repeated = match name.as_str() {
            "module" => wasm.replace(read_part(field, state.settings.max_upload).await?).is_some(),
            "manifest" => manifest.replace(read_part(field, MAX_MANIFEST).await?).is_some(),
            "files" => files.replace(store_part(field, state).await?).is_some(),
            _ => {
                let message = format!("unknown part {name:?} of the form; known: module, manifest, files");
                return Err(Error::bad_request(message));
            }
        };
        if is_repeated {
            return Err(Error::bad_request(format!("the part {name:?} of the form occurs more than once")));
        }
    }
    let manifest = manifest.map_or(Ok(Manifest::default()), |text| parse_manifest(&text))?;
    if wasm.is_none() && manifest.program.from.is_none() {
        let message = "the form has no part \"module\", which is the program, and its manifest names no program";
        return Err(Error::bad_request(message));
    }
    Ok(Upload { wasm, files, manifest })
}

/// Reads a part of the form into memory.
async fn read_part(mut field: Field<'_>, limit: u64) -> Result<Bytes, Error> {
    let mut bytes = BytesMut::new();
    while let Some(chunk) = field.chunk().await.map_err(|error| form_error(&error))? {
        bytes.extend_from_slice(&chunk);
        if bytes.len() as u64 > limit {
            return Err(Error::too_large(limit));
        }
    }
    Ok(bytes.freeze())
}

/// Reads a part of the form into a file without a name, because it may be larger than what should be in memory.
async fn store_part(mut field: Field<'_>, state: &ApiState) -> Result<File, Error> {
    let folder = state.settings.spill_folder.clone();
    let mut file = write_blocking(move || tempfile::tempfile_in(folder)).await?;
    let (mut size, limit) = (0, state.settings.max_files);
    loop {
        let mut pieces = Vec::new();
        let mut length = 0;
        while length < PIECE
            && let Some(chunk) = field.chunk().await.map_err(|error| form_error(&error))?
        {
            length += chunk.len();
            pieces.push(chunk);
        }
        if pieces.is_empty() {
            break;
        }
        size += length as u64;
        if size > limit {
            return Err(Error::files_too_large(limit));
        }
        file = write_blocking(move || {
            pieces.iter().try_for_each(|piece| file.write_all(piece))?;
            Ok(file)
        })
        .await?;
    }
    file.rewind().map_err(write_error)?;
    Ok(file)
}

async fn write_blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.expect("writing a file does not panic").map_err(write_error)
}

fn write_error(error: io::Error) -> Error {
    StoreError::io("write an archive", error).into()
}

fn parse_manifest(manifest: &Bytes) -> Result<Manifest, Error> {
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
