//! The errors that hyper answers by itself: bytes that are not HTTP, and heads beyond its limits.
//!
//! It sends only a status, and has no setting for more. A client should learn which limit it exceeded, so [`PeerIo`](super::hyper_io::PeerIo)
//! sends a complete error in its place.

use hyper::StatusCode;

use super::super::error::Error;
use super::super::http_limits::HttpLimits;

/// Returns the response to send in place of `bytes`, which hyper writes although no response is due. `None` if they are not an error.
pub(super) fn replacement(bytes: &[u8], limits: &HttpLimits) -> Option<String> {
    let rest = bytes.strip_prefix(b"HTTP/1.1 ").or_else(|| bytes.strip_prefix(b"HTTP/1.0 "))?;
    let status = StatusCode::from_bytes(rest.get(..3)?).ok().filter(StatusCode::is_client_error)?;
    Some(error(status, limits).into_text())
}

/// Returns the error for a status with which hyper rejects a request.
fn error(status: StatusCode, limits: &HttpLimits) -> Error {
    match status {
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => Error::head_too_large(limits),
        StatusCode::URI_TOO_LONG => Error::new(
            status,
            "uri_too_long",
            "the request target is longer than 65,534 bytes; send arguments in the body of the request",
        ),
        _ => Error::new(status, "bad_request", "the request is not valid HTTP/1.1"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replacement_keeps_the_status_and_names_the_limit() {
        let limits = HttpLimits::default();
        let text = |bytes: &[u8]| replacement(bytes, &limits);
        let too_large = text(b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\n\r\n").unwrap();
        assert!(too_large.starts_with("HTTP/1.1 431 "), "{too_large}");
        assert!(too_large.contains("headers_too_large") && too_large.contains("http.headers"), "{too_large}");
        assert!(text(b"HTTP/1.0 400 Bad Request\r\n\r\n").unwrap().contains("bad_request"));
        assert!(text(b"HTTP/1.1 414 URI Too Long\r\n\r\n").unwrap().contains("uri_too_long"));
        for other in [&b"HTTP/1.1 200 OK\r\n"[..], b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 ", b"400", b""] {
            assert_eq!(text(other), None);
        }
    }
}
