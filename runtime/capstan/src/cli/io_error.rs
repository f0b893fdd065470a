//! I/O errors as a part of an error message.

use std::io;

use capstan_store::StoreError;

/// Returns the message of the operating system, without the number of the error and with a small first letter: `no such file or directory`.
pub(super) fn describe(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split_once(" (os error").map_or(text.as_str(), |(text, _)| text);
    let mut characters = text.chars();
    characters.next().map_or_else(String::new, |first| first.to_lowercase().chain(characters).collect())
}

/// Returns why the cache of the user failed, which the store takes for a data directory.
pub(super) fn describe_store(error: &StoreError) -> String {
    match error {
        StoreError::Io { source, .. } => describe(source),
        StoreError::Full => "the disk or a quota has no space left".to_owned(),
        StoreError::Damaged(what) => format!("{what} is damaged"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn os_error_is_described_without_its_number() {
        assert_eq!(describe(&io::Error::from_raw_os_error(2)), "no such file or directory");
        assert_eq!(describe(&io::Error::other("Odd")), "odd");
    }
}
