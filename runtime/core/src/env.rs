//! [`Env`]: the environment variables of a guest. A guest sees no others.
//!
//! An ordered list of text values in which the last value of a name wins. Values are text and stay text: no type is guessed from their
//! look, so `"1.10"` never becomes a number, and an object goes through JSON and back unchanged. The ancestor guessed types when it
//! wrote JSON, skipped `null` when it read JSON, and stored its own control flags among the variables. Here, control fields have a type
//! of their own (`Control` in the engine), which no request body can fill.

use std::fmt;
use std::str::FromStr;

use serde::de::{DeserializeOwned, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The maximum number of variables in a text from a client. Setting a variable takes time proportional to the number of variables before it.
pub const MAX_VARIABLES: usize = 4096;

/// An ordered list of variables. The last value set for a name wins and takes the position of the first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Env {
    vars: Vec<(String, String)>,
}

/// A variable is not valid, or its value does not have the requested type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvError {
    #[error("the name of the variable is empty")]
    EmptyName,
    #[error("variable name {0:?} contains `=` or NUL")]
    BadName(String),
    #[error("the value of variable {0} contains NUL")]
    BadValue(String),
    #[error("{0:?} does not have the form NAME=VALUE")]
    NotAPair(String),
    #[error("variable {name} is {value:?}, which is not {expected}")]
    Malformed { name: String, value: String, expected: &'static str },
}

impl Env {
    /// Returns an empty list.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets `name` to `value`. Replaces an earlier value at its position.
    ///
    /// # Errors
    /// [`EnvError`] if the name is empty or contains `=` or NUL, or if the value contains NUL. None of these could reach a guest unchanged.
    pub fn set(&mut self, name: impl Into<String>, value: impl Into<String>) -> Result<(), EnvError> {
        let (name, value) = (name.into(), value.into());
        if name.is_empty() {
            return Err(EnvError::EmptyName);
        }
        if name.contains(['=', '\0']) {
            return Err(EnvError::BadName(name));
        }
        if value.contains('\0') {
            return Err(EnvError::BadValue(name));
        }
        match self.vars.iter_mut().find(|(known, _)| *known == name) {
            Some((_, old)) => *old = value,
            None => self.vars.push((name, value)),
        }
        Ok(())
    }

    /// Sets a variable from the form `NAME=VALUE`. The first `=` ends the name.
    ///
    /// # Errors
    /// The errors of [`Env::set`], and [`EnvError::NotAPair`] if there is no `=`.
    pub fn set_pair(&mut self, pair: &str) -> Result<(), EnvError> {
        let (name, value) = pair.split_once('=').ok_or_else(|| EnvError::NotAPair(pair.to_owned()))?;
        self.set(name, value)
    }

    /// Sets every variable of `other`.
    pub fn extend(&mut self, other: &Env) {
        for (name, value) in other.iter() {
            self.set(name, value).expect("`set` checked every variable of an `Env`");
        }
    }

    /// Removes `name` and returns its value.
    pub fn remove(&mut self, name: &str) -> Option<String> {
        let position = self.vars.iter().position(|(known, _)| known == name)?;
        Some(self.vars.remove(position).1)
    }

    /// Returns the value of `name`, or `None` if it is not set. An empty value is not `None`.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.vars.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Parses the value of `name` as a `T`. Returns `Ok(None)` if it is not set.
    ///
    /// # Errors
    /// [`EnvError::Malformed`] if the value is not a `T`. Its text is "variable NAME is VALUE, which is not `expected`".
    pub fn get_as<T: FromStr>(&self, name: &str, expected: &'static str) -> Result<Option<T>, EnvError> {
        self.parse_value(name, expected, |value| value.trim().parse().ok())
    }

    /// Parses the value of `name` as a boolean: `1`, `true`, `yes`, `on`, or `0`, `false`, `no`, `off`, in upper or lower case.
    ///
    /// # Errors
    /// [`EnvError::Malformed`] for any other value. The ancestor read `off`, `n` and `00` as true.
    pub fn get_bool(&self, name: &str) -> Result<Option<bool>, EnvError> {
        self.parse_value(name, "a boolean (1, true, yes, on, 0, false, no or off)", |value| {
            match value.trim().to_ascii_lowercase().as_str() {
                "1" | "true" | "yes" | "on" => Some(true),
                "0" | "false" | "no" | "off" => Some(false),
                _ => None,
            }
        })
    }

    /// Parses the value of `name` as JSON, which is the form of lists and nested objects.
    ///
    /// # Errors
    /// [`EnvError::Malformed`] if the value is not JSON, or does not have the structure of `T`.
    pub fn get_json<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, EnvError> {
        self.parse_value(name, "JSON with the expected structure", |value| serde_json::from_str(value).ok())
    }

    /// Returns the variables in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.vars.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Returns the number of variables.
    pub fn len(&self) -> usize {
        self.vars.len()
    }

    /// Returns whether there are no variables.
    pub fn is_empty(&self) -> bool {
        self.vars.is_empty()
    }

    fn parse_value<T>(
        &self,
        name: &str,
        expected: &'static str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, EnvError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        parse(value).map(Some).ok_or_else(|| EnvError::Malformed {
            name: name.to_owned(),
            value: value.to_owned(),
            expected,
        })
    }
}

impl Serialize for Env {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.vars.len()))?;
        for (name, value) in self.iter() {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Env {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EnvVisitor)
    }
}

struct EnvVisitor;

impl<'de> Visitor<'de> for EnvVisitor {
    type Value = Env;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object whose values are strings")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Env, A::Error> {
        let mut env = Env::new();
        while let Some(name) = map.next_key::<String>()? {
            let unreadable = |error: A::Error| serde::de::Error::custom(format_args!("variable {name}: {error}"));
            let value = map.next_value::<String>().map_err(unreadable)?;
            if env.len() == MAX_VARIABLES {
                return Err(serde::de::Error::custom(format_args!(
                    "there are more than {MAX_VARIABLES} variables, the maximum"
                )));
            }
            if env.get(&name).is_some() {
                return Err(serde::de::Error::custom(format_args!("variable {name} is set twice")));
            }
            env.set(name, value).map_err(serde::de::Error::custom)?;
        }
        Ok(env)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env_from(pairs: &[(&str, &str)]) -> Env {
        let mut env = Env::new();
        for (name, value) in pairs {
            env.set(*name, *value).unwrap();
        }
        env
    }

    #[test]
    fn set_existing_name_replaces_value_at_its_position() {
        let env = env_from(&[("A", "1"), ("B", "2"), ("A", "3")]);
        assert_eq!(env.iter().collect::<Vec<_>>(), [("A", "3"), ("B", "2")]);
    }

    #[test]
    fn json_round_trip_keeps_every_value_as_text() {
        let text = r#"{"VERSION":"1.10","FLAG":"true","NULL":"null","ID":"9007199254740993","Q":"\"q\"","EMPTY":""}"#;
        let env: Env = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&env).unwrap(), text);
        assert_eq!(env.get("VERSION"), Some("1.10"));
    }

    #[test]
    fn deserialize_value_that_is_not_text_fails() {
        for text in [
            r#"{"A":1}"#,
            r#"{"A":null}"#,
            r#"{"A":["x"]}"#,
            r#"[]"#,
            r#"{"a=b":"x"}"#,
            r#"{"":"x"}"#,
            r#"{"A":"\u0000"}"#,
            r#"{"A":"1","B":"2","A":"1"}"#,
        ] {
            assert!(serde_json::from_str::<Env>(text).is_err(), "{text} was accepted");
        }
        for text in [r#"{"A":"1","LIMIT":16777216}"#, r#"{"LIMIT":null}"#, r#"{"LIMIT":{"a":1}}"#, r#"{"LIMIT":true}"#]
        {
            let error = serde_json::from_str::<Env>(text).unwrap_err().to_string();
            assert!(error.contains("variable LIMIT"), "{error}");
        }
    }

    /// Includes the texts that the ancestor changed, and random ones.
    #[test]
    fn json_round_trip_of_any_text_changes_nothing() {
        let special = [
            "1.10",
            "1.5",
            "true",
            "null",
            " 7 ",
            "\"q\"",
            "007",
            "1e3",
            "",
            "[1,2]",
            "{}",
            "a\nb",
            "ü\u{1f600}",
            "=x",
        ];
        let mut state = 0x9e37_79b9_u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state >> 8
        };
        for round in 0..500 {
            let mut env = Env::new();
            for number in 0..next() % 8 {
                let random: String = (0..next() % 12).filter_map(|_| char::from_u32(next() % 0x500 + 1)).collect();
                let value = if next() % 2 == 0 { special[next() as usize % special.len()].to_owned() } else { random };
                env.set(format!("V{number} ü"), value).unwrap();
            }
            let text = serde_json::to_string(&env).unwrap();
            assert_eq!(serde_json::from_str::<Env>(&text).unwrap(), env, "round {round}: {text}");
        }
    }

    #[test]
    fn remove_existing_name_returns_its_last_value() {
        let mut env = env_from(&[("A", "1"), ("B", "2"), ("A", "3")]);
        assert_eq!((env.len(), env.remove("A").as_deref(), env.remove("A")), (2, Some("3"), None));
        assert_eq!((env.len(), env.get("A"), env.get("B")), (1, None, Some("2")));
        env.remove("B");
        assert!(env.is_empty());
    }

    #[test]
    fn get_as_and_get_json_parse_lists_objects_and_times() {
        let env = env_from(&[
            ("LIST", r#"["a","b"]"#),
            ("NUMBERS", "[1,2]"),
            ("QUOTED", r#""s""#),
            ("NULL", "null"),
            ("INNER", r#"{"K":"1.10"}"#),
            ("AT", "2026-01-31T12:00:00.123456789Z"),
        ]);
        assert_eq!(env.get_json::<Vec<String>>("LIST"), Ok(Some(vec!["a".into(), "b".into()])));
        for name in ["NUMBERS", "QUOTED", "NULL", "AT"] {
            assert!(env.get_json::<Vec<String>>(name).is_err(), "{name}");
        }
        assert_eq!(env.get_json::<Env>("INNER").unwrap().unwrap().get("K"), Some("1.10"));
        assert!(env.get_json::<Env>("LIST").is_err() && env.get_json::<Env>("NULL").is_err());
        assert_eq!(env.get_json::<Env>("NONE"), Ok(None));
        let at = env.get_as::<jiff::Timestamp>("AT", "a time").unwrap().unwrap();
        assert_eq!(at.to_string(), "2026-01-31T12:00:00.123456789Z");
        assert!(env.get_as::<jiff::Timestamp>("LIST", "a time").is_err());
    }

    #[test]
    fn getters_distinguish_absent_from_malformed() {
        let env =
            env_from(&[("N", " 42 "), ("BIG", "9223372036854775808"), ("HEX", "0x10"), ("EMPTY", ""), ("L", "[1,2]")]);
        assert_eq!(env.get_as::<i64>("N", "a number"), Ok(Some(42)));
        assert_eq!(env.get_as::<i64>("NONE", "a number"), Ok(None));
        for name in ["BIG", "HEX", "EMPTY"] {
            assert!(matches!(env.get_as::<i64>(name, "a number"), Err(EnvError::Malformed { .. })), "{name}");
        }
        assert_eq!(env.get_json::<Vec<u8>>("L"), Ok(Some(vec![1, 2])));
        assert!(env.get_json::<Vec<String>>("L").is_err());
    }

    #[test]
    fn get_bool_of_unknown_word_fails() {
        let env = env_from(&[("A", "ON"), ("B", "off"), ("C", "n"), ("D", "00")]);
        assert_eq!(env.get_bool("A"), Ok(Some(true)));
        assert_eq!(env.get_bool("B"), Ok(Some(false)));
        assert!(env.get_bool("C").is_err() && env.get_bool("D").is_err());
    }

    #[test]
    fn set_invalid_name_or_value_fails() {
        let mut env = Env::new();
        assert_eq!(env.set("", "x"), Err(EnvError::EmptyName));
        assert!(env.set("a=b", "x").is_err() && env.set("a\0", "x").is_err() && env.set("a", "x\0").is_err());
        assert_eq!(env.set_pair("novalue"), Err(EnvError::NotAPair("novalue".into())));
        env.set_pair("K=a=b").unwrap();
        assert_eq!(env.get("K"), Some("a=b"));
    }
}
