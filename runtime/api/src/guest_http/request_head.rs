//! Converts the head of a request to plain data.

use bytes::Bytes;
use capstan_core::http::{Fields, RequestHead, Scheme};
use hyper::header::{
    CONNECTION, HOST, HeaderMap, HeaderName, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING, UPGRADE,
};
use hyper::http::request::Parts;

use super::super::error::Error;
use super::super::request::Request;

/// The fields that are about the connection and not about the request (RFC 9110, 7.6.1).
const OF_THE_CONNECTION: [HeaderName; 8] = [
    CONNECTION,
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// Returns the head as a guest sees it, with this path.
///
/// # Errors
/// [`Error`], 400, if the request names no host.
pub(super) fn from_request(request: &Request, path_and_query: String) -> Result<RequestHead, Error> {
    let head = &request.head;
    let authority = authority(head)?;
    let scheme = if request.peer.is_tls() { Scheme::Https } else { Scheme::Http };
    let fields = to_fields(&head.headers, |name| !OF_THE_CONNECTION.contains(name) && *name != HOST);
    Ok(RequestHead { method: head.method.as_str().to_owned(), scheme, authority, path_and_query, fields })
}

/// Returns the host that the client addressed, with the port if there is one.
///
/// # Errors
/// [`Error`], 400, if it is not ASCII.
pub(super) fn authority(head: &Parts) -> Result<String, Error> {
    if let Some(authority) = head.uri.authority() {
        return Ok(authority.as_str().to_owned());
    }
    match head.headers.get(HOST).map(|host| host.to_str()) {
        Some(Ok(host)) if !host.is_empty() => Ok(host.to_owned()),
        // A client of HTTP/1.0, or one at a unix socket.
        Some(Ok(_)) | None => Ok("localhost".to_owned()),
        Some(Err(_)) => Err(Error::bad_request("the header Host is not ASCII")),
    }
}

/// Converts all fields to plain data.
pub(in super::super) fn to_all_fields(headers: &HeaderMap) -> Fields {
    to_fields(headers, |_| true)
}

/// Converts the fields that `is_kept` keeps.
pub(super) fn to_fields(headers: &HeaderMap, is_kept: impl Fn(&HeaderName) -> bool) -> Fields {
    let kept = headers.iter().filter(|(name, _)| is_kept(name));
    kept.map(|(name, value)| (name.as_str(), Bytes::copy_from_slice(value.as_bytes()))).collect()
}
