//! `Parameters`: the query of a request, read key by key. What is not known, or given twice, is refused by name.

use capstan_core::units;
use jiff::Timestamp;

use super::error::Error;
use super::request::Request;

/// The parameters of a query.
#[derive(Debug)]
pub(super) struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// The query of `request`, which may have the keys `known`, and those of `many` more than once.
    ///
    /// # Errors
    /// [`Error`], 400, for what is not UTF-8, not known, or given twice.
    pub(super) fn of(request: &Request, known: &[&str], many: &[&str]) -> Result<Self, Error> {
        Self::new(request.query()?, known, many)
    }

    fn new(pairs: Vec<(String, String)>, known: &[&str], many: &[&str]) -> Result<Self, Error> {
        for (at, (key, _)) in pairs.iter().enumerate() {
            if many.contains(&key.as_str()) {
                continue;
            }
            if !known.contains(&key.as_str()) {
                let all = [known, many].concat().join(", ");
                let known = if all.is_empty() { "none is".to_owned() } else { format!("known: {all}") };
                return Err(Error::bad_request(format!("query parameter {key:?} is not known; {known}")));
            }
            if pairs[..at].iter().any(|(earlier, _)| earlier == key) {
                return Err(Error::bad_request(format!("query parameter {key} is given twice")));
            }
        }
        Ok(Self(pairs))
    }

    /// The value of `key`.
    pub(super) fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// The values of `key`, in their order.
    pub(super) fn all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// The value of `key` as `read` understands it; `None` where it is absent.
    ///
    /// # Errors
    /// [`Error`], 400, where there is a value that `read` does not understand; `expected` completes the sentence "is not …".
    pub(super) fn read<T>(
        &self,
        key: &str,
        expected: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, Error> {
        let Some(value) = self.get(key) else { return Ok(None) };
        read(value).map(Some).ok_or_else(|| Error::bad_request(format!("{key}={value:?} is not {expected}")))
    }

    /// The value of `key` as a truth value; a key without a value is true.
    ///
    /// # Errors
    /// [`Error`], 400.
    pub(super) fn flag(&self, key: &str) -> Result<Option<bool>, Error> {
        self.read(key, "1, true, 0 or false", |value| match value {
            "1" | "true" | "" => Some(true),
            "0" | "false" => Some(false),
            _ => None,
        })
    }

    /// The value of `key` as a point in time: a time, or how long ago it was.
    ///
    /// # Errors
    /// [`Error`], 400.
    pub(super) fn time(&self, key: &str) -> Result<Option<Timestamp>, Error> {
        self.read(key, TIME, |value| time(value, Timestamp::now()))
    }

    /// The value of `key` as a duration.
    ///
    /// # Errors
    /// [`Error`], 400.
    pub(super) fn duration(&self, key: &str) -> Result<Option<std::time::Duration>, Error> {
        self.read(key, "a duration such as 30s, 500ms or 1.5 (seconds)", |value| units::duration(value).ok())
    }
}

/// What [`time`] reads.
pub(super) const TIME: &str =
    "a time such as 2026-01-31T12:00:00Z, or how long ago that was, such as 10m or 90 (seconds)";

/// A time in RFC 3339, or a duration before `now`.
pub(super) fn time(text: &str, now: Timestamp) -> Option<Timestamp> {
    if let Ok(time) = text.parse() {
        return Some(time);
    }
    now.checked_sub(units::duration(text).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(text: &str) -> Result<Parameters, Error> {
        let pairs = text.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        let pairs = pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        Parameters::new(pairs, &["a", "b"], &["c"])
    }

    #[test]
    fn what_is_not_known_or_given_twice_is_named() {
        for (text, named) in [("x=1", "\"x\" is not known; known: a, b, c"), ("a=1&b=1&a=2", "a is given twice")] {
            let error = query(text).unwrap_err().to_string();
            assert!(error.starts_with("bad_request") && error.contains(named), "{error}");
        }
        assert_eq!(query("c=1&a=3&c=2").unwrap().all("c").collect::<Vec<_>>(), ["1", "2"]);
    }

    #[test]
    fn flags_have_their_words() {
        for (text, flag) in [("a", true), ("a=1", true), ("a=true", true), ("a=0", false), ("a=false", false)] {
            assert_eq!(query(text).unwrap().flag("a").unwrap(), Some(flag), "{text}");
        }
        assert_eq!(query("b=1").unwrap().flag("a").unwrap(), None);
        for text in ["a=2", "a=yes", "a=TRUE"] {
            assert!(query(text).unwrap().flag("a").is_err(), "{text}");
        }
    }

    #[test]
    fn a_time_is_itself_and_a_duration_is_ago() {
        let now: Timestamp = "2026-01-02T00:00:00Z".parse().unwrap();
        for (text, expected) in [
            ("2026-01-31T12:00:00.5Z", "2026-01-31T12:00:00.5Z"),
            ("2026-01-31T12:00:00+01:00", "2026-01-31T11:00:00Z"),
            ("10m", "2026-01-01T23:50:00Z"),
            ("90", "2026-01-01T23:58:30Z"),
        ] {
            assert_eq!(time(text, now).map(|time| time.to_string()).as_deref(), Some(expected), "{text}");
        }
        for text in ["", "soon", "-5m", "2026-01-31", "1e30", "9999999y"] {
            assert_eq!(time(text, now), None, "{text}");
        }
    }
}
