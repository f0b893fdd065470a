//! The names of buckets, containers, keys and objects.

use super::error::DataError;
use super::limits::{MAX_BUCKET_NAME, MAX_KEY};

/// Checks the name of a bucket or a container.
///
/// # Errors
/// [`DataError::InvalidBucket`]
pub(super) fn check_bucket(name: &str) -> Result<(), DataError> {
    let is_valid = (1..=MAX_BUCKET_NAME).contains(&name.len()) && !name.chars().any(char::is_control);
    let shown = || name.chars().take(MAX_BUCKET_NAME).collect::<String>().into();
    if is_valid { Ok(()) } else { Err(DataError::InvalidBucket(shown())) }
}

/// Checks a key or the name of an object.
///
/// # Errors
/// [`DataError::InvalidKey`]
pub(super) fn check_key(key: &str) -> Result<(), DataError> {
    if (1..=MAX_KEY).contains(&key.len()) { Ok(()) } else { Err(DataError::InvalidKey(key.len())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bucket_name_has_bounds_and_no_control_characters() {
        for name in ["a", "default", "with space", "ä/ö", &"x".repeat(MAX_BUCKET_NAME)] {
            check_bucket(name).unwrap();
        }
        for name in ["", "a\nb", "a\0", &"x".repeat(MAX_BUCKET_NAME + 1)] {
            assert!(matches!(check_bucket(name), Err(DataError::InvalidBucket(_))), "{name:?}");
        }
    }

    #[test]
    fn key_has_bounds_in_bytes() {
        check_key("\0").unwrap();
        check_key(&"ä".repeat(MAX_KEY / 2)).unwrap();
        assert_eq!(check_key(""), Err(DataError::InvalidKey(0)));
        assert_eq!(check_key(&"ä".repeat(MAX_KEY / 2 + 1)), Err(DataError::InvalidKey(MAX_KEY + 2)));
    }
}
