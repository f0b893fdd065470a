//! Job ids on the command line: a whole id, or a prefix that matches one job.

use capstan_engine::job::JobId;

use super::format;

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
    #[error("{text} matches {count} jobs, among them {first} and {second}: give more digits")]
    Ambiguous { text: String, count: usize, first: String, second: String },
}

/// Whether `text` has the form of an id prefix and is shorter than a whole id.
pub(super) fn is_prefix(text: &str) -> bool {
    (MIN_PREFIX..ID_DIGITS).contains(&text.len()) && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Returns the id of the job that `text` names: `text` itself if it is a whole id, or the one id among `known` that starts with `text`.
///
/// A whole id does not need to be `known`. The daemon reports if it has no such job.
///
/// # Errors
/// [`JobIdError`]
pub(super) fn find(text: &str, known: &[JobId]) -> Result<JobId, JobIdError> {
    if let Ok(id) = text.parse() {
        return Ok(id);
    }
    if !is_prefix(text) {
        return Err(JobIdError::Malformed(text.to_owned()));
    }
    let matches: Vec<_> = known.iter().filter(|id| id.to_string().starts_with(text)).collect();
    match *matches.as_slice() {
        [] => Err(JobIdError::Unknown(text.to_owned())),
        [id] => Ok(*id),
        [first, second, ..] => {
            // Whole ids, if the digits that tables show do not differ.
            let (mut shown, mut other) = (format::short_id(*first), format::short_id(*second));
            if shown == other {
                (shown, other) = (first.to_string(), second.to_string());
            }
            Err(JobIdError::Ambiguous { text: text.to_owned(), count: matches.len(), first: shown, second: other })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id_with_prefix(prefix: &str) -> JobId {
        format!("{prefix:0<32}").parse().unwrap()
    }

    #[test]
    fn prefix_finds_the_one_job_that_matches() {
        let known = [id_with_prefix("abcd1"), id_with_prefix("abcd2"), id_with_prefix("1234")];
        assert_eq!(find("1234", &known), Ok(id_with_prefix("1234")));
        assert_eq!(find("abcd2", &known), Ok(id_with_prefix("abcd2")));
        assert_eq!(find("abce", &known), Err(JobIdError::Unknown("abce".into())));
        let error = find("abcd", &known).unwrap_err().to_string();
        assert_eq!(error, "abcd matches 2 jobs, among them abcd10000000 and abcd20000000: give more digits");
    }

    #[test]
    fn ambiguous_prefix_error_shows_whole_ids_if_short_ids_are_equal() {
        let known = [id_with_prefix("abcdabcdabcd1"), id_with_prefix("abcdabcdabcd2")];
        let error = find("abcdabcdabcd", &known).unwrap_err().to_string();
        assert!(error.contains(&known[0].to_string()) && error.contains(&known[1].to_string()), "{error}");
    }

    #[test]
    fn whole_id_is_accepted_without_known_jobs() {
        let whole = id_with_prefix("00ff");
        assert_eq!(find(&whole.to_string(), &[]), Ok(whole));
        assert!(!is_prefix(&whole.to_string()));
    }

    #[test]
    fn malformed_id_is_rejected() {
        for text in ["", "abc", "ABCD", "wordcount", "12 34", &"0".repeat(33)] {
            assert_eq!(find(text, &[]), Err(JobIdError::Malformed(text.to_owned())));
        }
    }
}
