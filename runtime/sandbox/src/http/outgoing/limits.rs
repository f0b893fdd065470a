//! Limits on the heads of outbound requests and their responses.

use http::{HeaderMap, Uri};
use wasmtime_wasi_http::Error;

/// Fields of a head or of trailers.
pub(in crate::http) const MAX_FIELDS: usize = 128;
/// Bytes of all fields together.
pub(in crate::http) const MAX_SECTION: usize = 64 << 10;
/// Bytes of a URL.
const MAX_URL: usize = 16 << 10;

/// Checks the size of the head of a request.
///
/// # Errors
/// The error for the guest.
pub(super) fn check_request(uri: &Uri, fields: &HeaderMap) -> Result<(), Error> {
    let length = |part: Option<&str>| part.map_or(0, str::len);
    let url = length(uri.authority().map(http::uri::Authority::as_str))
        + length(uri.path_and_query().map(http::uri::PathAndQuery::as_str));
    if url > MAX_URL {
        return Err(Error::HttpRequestUriTooLong);
    }
    match excess(fields) {
        Some(size) => Err(Error::HttpRequestHeaderSectionSize(Some(size))),
        None => Ok(()),
    }
}

/// Checks the size of the fields of a response, before or after its body.
///
/// # Errors
/// The error for the guest.
pub(in crate::http) fn check_response(fields: &HeaderMap) -> Result<(), Error> {
    match excess(fields) {
        Some(size) => Err(Error::HttpResponseHeaderSectionSize(Some(size))),
        None => Ok(()),
    }
}

/// Returns the bytes of `fields` if they are too many or too long.
fn excess(fields: &HeaderMap) -> Option<u32> {
    let size = fields.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum::<usize>();
    (size > MAX_SECTION || fields.len() > MAX_FIELDS).then(|| u32::try_from(size).unwrap_or(u32::MAX))
}
