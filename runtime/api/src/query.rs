//! `Parameters`: the query of a request by key. Unknown and repeated keys are rejected by name.

use capstan_core::units;
use jiff::Timestamp;

use super::error::Error;
use super::request::Request;

/// The parameters of a query.
#[derive(Debug)]
pub(super) struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// Parses the query of `request`, which may have each of the keys `single` once, and each of `repeatable` any number of times.
    ///
    /// # Errors
    /// [`Error`], 400, for an unknown key, a repeated one of `single`, and text that is not UTF-8.
    pub(super) fn parse(request: &Request, single: &[&str], repeatable: &[&str]) -> Result<Self, Error> {
        Self::new(request.query()?, single, repeatable)
    }

    fn new(pairs: Vec<(String, String)>, single: &[&str], repeatable: &[&str]) -> Result<Self, Error> {
        for (index, (key, _)) in pairs.iter().enumerate() {
            if repeatable.contains(&key.as_str()) {
                continue;
            }
            if !single.contains(&key.as_str()) {
                let known = [single, repeatable].concat().join(", ");
                let known = if known.is_empty() { "this path has none".to_owned() } else { format!("known: {known}") };
                return Err(Error::bad_request(format!("unknown query parameter {key:?}; {known}")));
            }
            if pairs[..index].iter().any(|(earlier, _)| earlier == key) {
                return Err(Error::bad_request(format!("query parameter {key} occurs more than once")));
            }
        }
        Ok(Self(pairs))
    }

    /// Returns the first value of `key`.
    pub(super) fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// Returns the values of `key` in their order.
    pub(super) fn all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// Returns the value of `key` as `parse` reads it; `None` where the key is absent.
    ///
    /// # Errors
    /// [`Error`], 400, where `parse` returns `None`; `expected` completes the sentence "is not …".
    pub(super) fn parse_value<T>(
        &self,
        key: &str,
        expected: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, Error> {
        let Some(value) = self.get(key) else { return Ok(None) };
        parse(value).map(Some).ok_or_else(|| Error::bad_request(format!("{key}={value:?} is not {expected}")))
    }

    /// Returns the value of `key` as a flag; a key without a value is true.
    ///
    /// # Errors
    /// [`Error`], 400, for a value that is not a flag.
    pub(super) fn flag(&self, key: &str) -> Result<Option<bool>, Error> {
        self.parse_value(key, "1, true, 0 or false", |value| match value {
            "1" | "true" | "" => Some(true),
            "0" | "false" => Some(false),
            _ => None,
        })
    }

    /// Returns the value of `key` as a point in time, which may be given as how long ago it was.
    ///
    /// # Errors
    /// [`Error`], 400, for a value that is neither a time nor a duration.
    pub(super) fn time(&self, key: &str) -> Result<Option<Timestamp>, Error> {
        self.parse_value(key, TIME, |value| units::time(value, Timestamp::now()))
    }

    /// Returns the value of `key` as a duration.
    ///
    /// # Errors
    /// [`Error`], 400, for a value that is not a duration.
    pub(super) fn duration(&self, key: &str) -> Result<Option<std::time::Duration>, Error> {
        self.parse_value(key, "a duration such as 30s, 500ms or 1.5 (seconds)", |value| units::duration(value).ok())
    }
}

/// What [`units::time`] accepts.
const TIME: &str = "a time such as 2026-01-31T12:00:00Z, a Unix time of 10 digits or more such as 1769860800, or how long ago that was, such \
                    as 10m or 90 (seconds)";

#[cfg(test)]
mod tests {
    use super::*;

    fn query(text: &str) -> Result<Parameters, Error> {
        let pairs = text.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        let pairs = pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        Parameters::new(pairs, &["a", "b"], &["c"])
    }

    #[test]
    fn parameters_rejects_unknown_and_repeated_keys_by_name() {
        for (text, expected) in
            [("x=1", "unknown query parameter \"x\"; known: a, b, c"), ("a=1&b=1&a=2", "a occurs more than once")]
        {
            let error = query(text).unwrap_err().to_string();
            assert!(error.starts_with("bad_request") && error.contains(expected), "{error}");
        }
        assert_eq!(query("c=1&a=3&c=2").unwrap().all("c").collect::<Vec<_>>(), ["1", "2"]);
    }

    #[test]
    fn flag_accepts_listed_words_only() {
        for (text, flag) in [("a", true), ("a=1", true), ("a=true", true), ("a=0", false), ("a=false", false)] {
            assert_eq!(query(text).unwrap().flag("a").unwrap(), Some(flag), "{text}");
        }
        assert_eq!(query("b=1").unwrap().flag("a").unwrap(), None);
        for text in ["a=2", "a=yes", "a=TRUE"] {
            assert!(query(text).unwrap().flag("a").is_err(), "{text}");
        }
    }

    #[test]
    fn time_accepts_time_and_duration_before_now() {
        let now: Timestamp = "2026-01-02T00:00:00Z".parse().unwrap();
        for (text, expected) in [
            ("2026-01-31T12:00:00.5Z", "2026-01-31T12:00:00.5Z"),
            ("2026-01-31T12:00:00+01:00", "2026-01-31T11:00:00Z"),
            ("10m", "2026-01-01T23:50:00Z"),
            ("90", "2026-01-01T23:58:30Z"),
        ] {
            assert_eq!(units::time(text, now).map(|time| time.to_string()).as_deref(), Some(expected), "{text}");
        }
        for text in ["", "soon", "-5m", "2026-01-31", "1e30", "9999999y"] {
            assert_eq!(units::time(text, now), None, "{text}");
        }
    }
}
