//! I/O errors as a part of an error message.

use std::io;

/// Returns the message of the operating system, without the number of the error and with a small first letter: `no such file or directory`.
pub(super) fn describe(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split_once(" (os error").map_or(text.as_str(), |(text, _)| text);
    let mut characters = text.chars();
    characters.next().map_or_else(String::new, |first| first.to_lowercase().chain(characters).collect())
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
