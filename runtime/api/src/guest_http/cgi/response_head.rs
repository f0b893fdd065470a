//! The head of a response, made of the fields that a command has printed (RFC 3875, 6.3).

use hyper::StatusCode;
use hyper::header::{
    CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, LOCATION, PROXY_AUTHENTICATE, TE,
    TRAILER, TRANSFER_ENCODING, UPGRADE,
};

use super::head::HeadFields;

const STATUS: HeaderName = HeaderName::from_static("status");

/// Fields of the connection, which is not the command's. They are dropped.
const OF_THE_CONNECTION: [HeaderName; 7] =
    [CONNECTION, PROXY_AUTHENTICATE, TE, TRAILER, TRANSFER_ENCODING, UPGRADE, HeaderName::from_static("keep-alive")];

/// The head of a response.
#[derive(Debug, PartialEq)]
pub(super) struct CgiHead {
    pub(super) status: StatusCode,
    /// Without `Content-Length`.
    pub(super) headers: HeaderMap,
    /// The length of the body, if the command has printed it.
    pub(super) length: Option<u64>,
}

/// Why fields make no head.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum FieldsError {
    #[error("the status {0:?} is none from 200 to 599")]
    Status(String),
    #[error("the field {0} occurs more than once")]
    Repeated(HeaderName),
    #[error("the content-length {0:?} is no number of bytes")]
    Length(String),
}

impl CgiHead {
    /// Creates a head. The status is that of `Status`; without it, 302 with `Location` and else 200.
    ///
    /// # Errors
    /// [`FieldsError`]
    pub(super) fn new(fields: HeadFields) -> Result<Self, FieldsError> {
        let mut headers = HeaderMap::with_capacity(fields.len());
        for (name, value) in fields {
            if [STATUS, LOCATION, CONTENT_TYPE, CONTENT_LENGTH].contains(&name) && headers.contains_key(&name) {
                return Err(FieldsError::Repeated(name));
            }
            if !OF_THE_CONNECTION.contains(&name) {
                headers.append(name, value);
            }
        }
        let status = match headers.remove(STATUS) {
            Some(value) => parse_status(&value)?,
            None if headers.contains_key(LOCATION) => StatusCode::FOUND,
            None => StatusCode::OK,
        };
        let length = headers.remove(CONTENT_LENGTH).map(|value| parse_length(&value)).transpose()?;
        Ok(Self { status, headers, length })
    }

    /// Returns whether a response with this status has no body (RFC 9110, 6.4.1).
    pub(super) fn has_no_body(&self) -> bool {
        matches!(self.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
    }
}

/// Parses `404` or `404 Not Found`.
fn parse_status(value: &HeaderValue) -> Result<StatusCode, FieldsError> {
    let bytes = value.as_bytes();
    let code = bytes.split(|byte| *byte == b' ').next().unwrap_or_default();
    StatusCode::from_bytes(code)
        .ok()
        // 101 would change the protocol, and no other informational response is the answer.
        .filter(|status| (200..600).contains(&status.as_u16()))
        .ok_or_else(|| FieldsError::Status(String::from_utf8_lossy(&bytes[..bytes.len().min(80)]).into_owned()))
}

fn parse_length(value: &HeaderValue) -> Result<u64, FieldsError> {
    let text = value.to_str().unwrap_or_default();
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = is_number.then(|| text.parse().ok()).flatten();
    number.ok_or_else(|| FieldsError::Length(text.chars().take(80).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(fields: &[(&'static str, &'static str)]) -> Result<CgiHead, FieldsError> {
        let fields =
            fields.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        CgiHead::new(fields.collect())
    }

    #[test]
    fn status_comes_from_its_field_or_from_location() {
        for (fields, expected) in [
            (&[("status", "404 Not Found")][..], 404),
            (&[("status", "201")], 201),
            (&[("content-type", "text/plain")], 200),
            (&[("location", "/x")], 302),
            (&[("location", "https://example.com"), ("status", "303 See Other")], 303),
        ] {
            assert_eq!(head(fields).unwrap().status, expected, "{fields:?}");
        }
    }

    #[test]
    fn invalid_fields_are_errors() {
        for status in ["", "0", "20", "2000", "101 Switching", "100", "600", "abc", "-200", "200OK"] {
            assert_eq!(head(&[("status", status)]), Err(FieldsError::Status(status.to_owned())));
        }
        for length in ["", "-1", "+1", "1,1", "18446744073709551616"] {
            assert_eq!(head(&[("content-length", length)]), Err(FieldsError::Length(length.to_owned())));
        }
        let repeated = head(&[("content-length", "1"), ("content-length", "2")]);
        assert_eq!(repeated, Err(FieldsError::Repeated(CONTENT_LENGTH)));
    }

    #[test]
    fn fields_of_the_connection_are_dropped_and_others_kept() {
        let head = head(&[
            ("content-length", "7"),
            ("connection", "close"),
            ("transfer-encoding", "chunked"),
            ("set-cookie", "a"),
            ("set-cookie", "b"),
        ])
        .unwrap();
        let fields: Vec<_> =
            head.headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        assert_eq!((head.length, fields), (Some(7), vec![("set-cookie", "a"), ("set-cookie", "b")]));
    }
}
