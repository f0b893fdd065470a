//! `Idempotency-Key`: by which a client asks for something once, however often it sends the request.

use hyper::header::HeaderMap;

use super::error::Error;

/// The name of the header.
const HEADER: &str = "idempotency-key";
/// Bytes of the longest key.
const LENGTH: usize = 255;

/// The key that `headers` have.
///
/// # Errors
/// [`Error`], 400, where there are several, or one that cannot be a key.
pub(super) fn of(headers: &HeaderMap) -> Result<Option<String>, Error> {
    let mut keys = headers.get_all(HEADER).iter();
    match (keys.next().map(|key| key.to_str()), keys.next()) {
        (None, _) => Ok(None),
        (Some(Ok(key)), None) => checked(key.to_owned()).map(Some),
        _ => Err(Error::bad_request(format!("{HEADER} is there twice, or is not text"))),
    }
}

/// `key`, if it can be one.
///
/// # Errors
/// [`Error`], 400.
pub(super) fn checked(key: String) -> Result<String, Error> {
    if (1..=LENGTH).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ') {
        Ok(key)
    } else {
        Err(Error::bad_request(format!("a key has 1 to {LENGTH} printable ASCII characters")))
    }
}

#[cfg(test)]
mod tests {
    use hyper::header::{HeaderName, HeaderValue};

    use super::*;

    fn keys(keys: &[&'static str]) -> Result<Option<String>, Error> {
        let name = HeaderName::from_static(HEADER);
        of(&keys.iter().map(|key| (name.clone(), HeaderValue::from_static(key))).collect())
    }

    #[test]
    fn one_key_or_none_is_taken() {
        assert_eq!(keys(&[]).unwrap(), None);
        assert_eq!(keys(&["\"a b\""]).unwrap().as_deref(), Some("\"a b\""));
        assert!(keys(&["a", "a"]).is_err());
    }

    #[test]
    fn what_can_be_no_key_is_refused() {
        for key in ["", "ü", "a\tb", "a\0", &"x".repeat(LENGTH + 1)] {
            assert!(checked(key.to_owned()).is_err(), "{key:?}");
        }
        assert!(checked("x".repeat(LENGTH)).is_ok());
    }
}
