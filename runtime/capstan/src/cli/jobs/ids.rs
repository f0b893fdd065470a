//! Ids as people type them: whole, or as much of the beginning as tells one job from the others.

use capstan_engine::job::JobId;

use crate::cli::show;

/// Digits that the beginning of an id must have.
const SHORTEST: usize = 4;
/// Digits of a whole id.
const WHOLE: usize = 32;

/// Why a text names no job.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::cli) enum IdError {
    #[error("{0:?} is no job id: {WHOLE} hexadecimal digits, or {SHORTEST} and more of the first")]
    Malformed(String),
    #[error("no job's id begins with {0}")]
    Unknown(String),
    #[error("the ids of {count} jobs begin with {text}, {first} and {second} among them; give more of it")]
    Ambiguous { text: String, count: usize, first: String, second: String },
}

/// Whether `text` is the beginning of an id, and not a whole one.
pub(super) fn is_beginning(text: &str) -> bool {
    (SHORTEST..WHOLE).contains(&text.len()) && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// The job that `text` names. A whole id names a job whether or not it is `known`; the daemon says what it is.
pub(super) fn find(text: &str, known: &[JobId]) -> Result<JobId, IdError> {
    if let Ok(id) = text.parse() {
        return Ok(id);
    }
    if !is_beginning(text) {
        return Err(IdError::Malformed(text.to_owned()));
    }
    let found: Vec<_> = known.iter().filter(|id| id.to_string().starts_with(text)).collect();
    match *found.as_slice() {
        [] => Err(IdError::Unknown(text.to_owned())),
        [id] => Ok(*id),
        [first, second, ..] => {
            // Where not even what tables show tells them apart, nothing shorter than the whole does.
            let (mut short, mut other) = (show::short(*first), show::short(*second));
            if short == other {
                (short, other) = (first.to_string(), second.to_string());
            }
            Err(IdError::Ambiguous { text: text.to_owned(), count: found.len(), first: short, second: other })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(beginning: &str) -> JobId {
        format!("{beginning:0<32}").parse().unwrap()
    }

    #[test]
    fn a_beginning_names_the_one_job_that_has_it() {
        let known = [id("abcd1"), id("abcd2"), id("1234")];
        assert_eq!(find("1234", &known), Ok(id("1234")));
        assert_eq!(find("abcd2", &known), Ok(id("abcd2")));
        assert_eq!(find("abce", &known), Err(IdError::Unknown("abce".into())));
        let error = find("abcd", &known).unwrap_err().to_string();
        assert_eq!(
            error,
            "the ids of 2 jobs begin with abcd, abcd10000000 and abcd20000000 among them; give more of it"
        );
    }

    #[test]
    fn ids_that_tables_show_alike_are_told_apart() {
        let known = [id("abcdabcdabcd1"), id("abcdabcdabcd2")];
        let error = find("abcdabcdabcd", &known).unwrap_err().to_string();
        assert!(error.contains(&known[0].to_string()) && error.contains(&known[1].to_string()), "{error}");
    }

    #[test]
    fn a_whole_id_is_taken_as_it_is() {
        let whole = id("00ff");
        assert_eq!(find(&whole.to_string(), &[]), Ok(whole));
        assert!(!is_beginning(&whole.to_string()));
    }

    #[test]
    fn what_is_no_id_is_refused() {
        for text in ["", "abc", "ABCD", "wordcount", "12 34", &"0".repeat(33)] {
            assert_eq!(find(text, &[]), Err(IdError::Malformed(text.to_owned())));
        }
    }
}
