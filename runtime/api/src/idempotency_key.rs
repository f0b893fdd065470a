//! The header `Idempotency-Key`: a client that repeats a request with the same key gets the job of the first one.

use hyper::header::HeaderMap;

use super::error::Error;

/// The name of the header.
const HEADER: &str = "idempotency-key";
/// Bytes of the longest key.
const MAX_LENGTH: usize = 255;

/// Returns the key in `headers`.
///
/// # Errors
/// [`Error`], 400, for several keys, and for one that [`validate`] rejects.
pub(super) fn from_headers(headers: &HeaderMap) -> Result<Option<String>, Error> {
    let mut keys = headers.get_all(HEADER).iter();
    match (keys.next().map(|key| key.to_str()), keys.next()) {
        (None, _) => Ok(None),
        (Some(Ok(key)), None) => validate(key.to_owned()).map(Some),
        _ => Err(Error::bad_request(format!("the header {HEADER} occurs more than once, or is not text"))),
    }
}

/// Returns `key` if it has 1 to 255 printable ASCII characters.
///
/// # Errors
/// [`Error`], 400.
pub(super) fn validate(key: String) -> Result<String, Error> {
    if (1..=MAX_LENGTH).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ') {
        Ok(key)
    } else {
        Err(Error::bad_request(format!("a key must have 1 to {MAX_LENGTH} printable ASCII characters")))
    }
}

#[cfg(test)]
mod tests {
    use hyper::header::{HeaderName, HeaderValue};

    use super::*;

    fn keys(keys: &[&'static str]) -> Result<Option<String>, Error> {
        let name = HeaderName::from_static(HEADER);
        from_headers(&keys.iter().map(|key| (name.clone(), HeaderValue::from_static(key))).collect())
    }

    #[test]
    fn from_headers_accepts_one_key_or_none() {
        assert_eq!(keys(&[]).unwrap(), None);
        assert_eq!(keys(&["\"a b\""]).unwrap().as_deref(), Some("\"a b\""));
        assert!(keys(&["a", "a"]).is_err());
    }

    #[test]
    fn validate_rejects_keys_that_are_empty_long_or_not_printable() {
        for key in ["", "ü", "a\tb", "a\0", &"x".repeat(MAX_LENGTH + 1)] {
            assert!(validate(key.to_owned()).is_err(), "{key:?}");
        }
        assert!(validate("x".repeat(MAX_LENGTH)).is_ok());
    }
}
