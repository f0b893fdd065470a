//! Typed environment variables.

use crate::{InputError, Value};

/// The environment variables of a job, in their original order.
///
/// A run inherits no variables from the daemon. They come only from the manifest and the request. If a name occurs twice, the last value
/// wins.
///
/// ```
/// use capstan_guest::Env;
///
/// let env = Env::new([("RETRIES", "3"), ("LEVEL", "high")]);
/// assert_eq!(env.get("RETRIES"), Ok(Some(3_u8)));
/// assert_eq!(env.get::<u8>("DEPTH"), Ok(None));
///
/// let malformed = env.get::<u8>("LEVEL").unwrap_err();
/// assert_eq!(malformed.to_string(), r#"variable LEVEL: expected a whole number from 0 to 255, found "high""#);
/// let missing = env.required::<u8>("DEPTH").unwrap_err();
/// assert_eq!(missing.to_string(), "variable DEPTH: expected a whole number from 0 to 255, but it is not set");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Env {
    variables: Vec<(String, String)>,
}

impl Env {
    /// Returns the variables of this job.
    ///
    /// Replaces bytes that are not UTF-8 with U+FFFD. Capstan never passes such bytes, but other callers may.
    pub fn of_job() -> Self {
        let lossy = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
        Self::new(std::env::vars_os().map(|(name, value)| (lossy(name), lossy(value))))
    }

    /// Creates variables from a list, for example in tests.
    pub fn new<I, K, V>(variables: I) -> Self
    where
        I: IntoIterator<Item = (K, V)>,
        K: Into<String>,
        V: Into<String>,
    {
        let variables = variables.into_iter().map(|(name, value)| (name.into(), value.into()));
        Self { variables: variables.collect() }
    }

    /// Returns the value of a variable. Returns `None` if it is not set. A variable with an empty value is set.
    ///
    /// # Errors
    ///
    /// Returns an error if the variable is set and malformed.
    pub fn get<T: Value>(&self, name: &str) -> Result<Option<T>, InputError> {
        let Some((_, text)) = self.variables.iter().rfind(|(key, _)| key == name) else {
            return Ok(None);
        };
        T::parse(text).map(Some).ok_or_else(|| InputError::MalformedVar {
            name: name.to_owned(),
            expected: T::EXPECTED,
            found: text.clone(),
        })
    }

    /// Returns the value of a required variable.
    ///
    /// # Errors
    ///
    /// Returns an error if the variable is not set or malformed.
    pub fn required<T: Value>(&self, name: &str) -> Result<T, InputError> {
        let missing = || InputError::MissingVar { name: name.to_owned(), expected: T::EXPECTED };
        self.get(name)?.ok_or_else(missing)
    }

    /// Returns the names and values of all variables, in their original order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.variables.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_of_a_name_counts_and_the_order_is_kept() {
        let env = Env::new([("B", "1"), ("A", "2"), ("B", "3")]);
        assert_eq!(env.get("B"), Ok(Some(3_u8)));
        assert_eq!(env.iter().collect::<Vec<_>>(), [("B", "1"), ("A", "2"), ("B", "3")]);
    }

    #[test]
    fn set_to_nothing_is_not_absent() {
        let env = Env::new([("EMPTY", "")]);
        assert_eq!(env.get("EMPTY"), Ok(Some(String::new())));
        let malformed =
            InputError::MalformedVar { name: "EMPTY".to_owned(), expected: "true or false", found: String::new() };
        assert_eq!(env.get::<bool>("EMPTY"), Err(malformed));
    }

    #[test]
    fn names_are_compared_exactly() {
        let env = Env::new([("Path", "x")]);
        assert_eq!(env.get::<String>("PATH"), Ok(None));
    }
}
