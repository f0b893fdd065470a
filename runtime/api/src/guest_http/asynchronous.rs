//! `Prefer: respond-async` (RFC 7240, 4.1): a request becomes a durable job, and is answered with 202 and where the job is.

use std::sync::Arc;

use bytes::Bytes;
use capstan_engine::job::{CommandLine, IdempotencyKey};
use hyper::Response;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use sha2::{Digest as _, Sha256};

use super::super::body::Body;
use super::super::error::Error;
use super::super::request::Request;
use super::super::state::ApiState;
use super::super::{idempotency_key, jobs, request_body};
use super::Target;
use super::cgi;

const PREFER: HeaderName = HeaderName::from_static("prefer");
const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");
const RESPOND_ASYNC: &str = "respond-async";

/// Bytes of the longest body that is read without a slot. Larger bodies, and those of unknown length, share the slots of uploads.
const MAX_SMALL_BODY: u64 = 64 << 10;

/// Returns whether the client asks for an answer before the work is done.
pub(super) fn is_preferred(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(PREFER).iter().filter_map(|value| value.to_str().ok());
    let mut preferences = lines.flat_map(|line| line.split(','));
    preferences.any(|preference| {
        let name = preference.split([';', '=']).next().unwrap_or_default();
        name.trim().eq_ignore_ascii_case(RESPOND_ASYNC)
    })
}

/// Submits the request to a command as a durable job, and answers with its id. The job is on the disk once the response is sent.
///
/// `body` is the body if it was read already, as for a signature; else it is read here. The request is the variables and the stdin of the job,
/// and the output of the job is what the command would have answered, its head included. With `Idempotency-Key`, a repeated request is the
/// same job.
///
/// # Errors
/// [`Error`]: 413, 408, 429 as for other durable jobs.
pub(super) async fn answer_later(
    state: Arc<ApiState>,
    mut request: Request,
    target: Target,
    body: Option<Bytes>,
) -> Result<Response<Body>, Error> {
    let key = idempotency_key::from_headers(&request.head.headers)?;
    let body = match body {
        Some(body) => body,
        None => read_body(&state, &mut request).await?,
    };
    let env = cgi::from_request(&request, &target, cgi::Length::Known(body.len()))?;
    let key = key.map(|text| IdempotencyKey { text, request_digest: Some(digest(&request, &target, &body)) });
    let line = CommandLine { handler: target.handler, args: Vec::new(), env };
    let mut response = jobs::submit_command(&state, line, body, key, request.peer.caller()).await?;
    response.headers_mut().insert(PREFERENCE_APPLIED, HeaderValue::from_static(RESPOND_ASYNC));
    Ok(response)
}

async fn read_body(state: &ApiState, request: &mut Request) -> Result<Bytes, Error> {
    let (limit, limits) = (state.settings.max_upload, &state.settings.http_limits);
    let length = request.content_length();
    if length.is_some_and(|length| length > limit) {
        return Err(Error::too_large(limit));
    }
    let _permit = match length {
        Some(..=MAX_SMALL_BODY) => None,
        _ => Some(state.slots.upload_of(length.unwrap_or(limit)).await?),
    };
    Ok(request_body::read_to_end(&mut request.body, limit, limits).await?)
}

/// Returns a digest of what makes two requests the same.
fn digest(request: &Request, target: &Target, body: &[u8]) -> [u8; 32] {
    let head = &request.head;
    let content_type = head.headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    let mut digest = Sha256::new();
    for part in
        [head.method.as_str().as_bytes(), target.handler.as_bytes(), target.path_and_query.as_bytes(), content_type]
    {
        digest.update((part.len() as u64).to_le_bytes());
        digest.update(part);
    }
    digest.chain_update(body).finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_preferred_in(values: &[&'static str]) -> bool {
        is_preferred(&values.iter().map(|value| (PREFER, HeaderValue::from_static(value))).fold(
            HeaderMap::new(),
            |mut headers, (name, value)| {
                headers.append(name, value);
                headers
            },
        ))
    }

    #[test]
    fn preference_is_found_among_others() {
        for values in [&["respond-async"][..], &["wait=5, Respond-Async"], &["handling=lenient", "respond-async; x=1"]]
        {
            assert!(is_preferred_in(values), "{values:?}");
        }
        for values in [&[][..], &["respond-asynchronously"], &["return=respond-async"], &["wait=5"]] {
            assert!(!is_preferred_in(values), "{values:?}");
        }
    }
}
