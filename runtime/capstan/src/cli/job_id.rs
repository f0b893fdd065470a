//! Job ids on the command line: a whole id, or a prefix that matches one job.

use capstan_engine::job::JobId;

/// The minimum number of digits of a prefix.
const MIN_PREFIX: usize = 4;
/// The number of digits of a whole id.
const ID_DIGITS: usize = 32;

/// Why a text does not name one job.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum JobIdError {
    #[error(
        "{0:?} is not a job id: expected {ID_DIGITS} lower-case hexadecimal digits, or at least the first {MIN_PREFIX}"
    )]
    Malformed(String),
    #[error("no job has an id that starts with {0}: list the jobs with `capstan ps -a`")]
    Unknown(String),
    /// The message of the daemon.
    #[error("{0}")]
    Ambiguous(String),
}

/// A text that has the form of an id, or of the beginning of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Text {
    Whole(JobId),
    Prefix,
}

/// Returns what `text` is.
///
/// # Errors
/// [`JobIdError::Malformed`]
pub(super) fn parse(text: &str) -> Result<Text, JobIdError> {
    if let Ok(id) = text.parse() {
        return Ok(Text::Whole(id));
    }
    let has_form = (MIN_PREFIX..ID_DIGITS).contains(&text.len())
        && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if has_form { Ok(Text::Prefix) } else { Err(JobIdError::Malformed(text.to_owned())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn id_or_prefix_is_accepted() {
        let whole = "00ff00ff00ff00ff00ff00ff00ff00ff";
        assert_eq!(parse(whole), Ok(Text::Whole(whole.parse().unwrap())));
        assert_eq!((parse("1234"), parse(&whole[..31])), (Ok(Text::Prefix), Ok(Text::Prefix)));
    }

    #[test]
    fn malformed_id_is_rejected() {
        for text in ["", "abc", "ABCD", "wordcount", "12 34", &"0".repeat(33)] {
            assert_eq!(parse(text), Err(JobIdError::Malformed(text.to_owned())));
        }
    }
}
