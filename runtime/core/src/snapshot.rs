//! [`Snapshot`]: how a program is initialised once, at its push, so that its runs start from the image of its memory.

use std::fmt;

use schemars::JsonSchema;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};

/// How a program is initialised for its snapshot. Written `true` for the defaults, or as a table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Snapshot {
    /// The arguments of the initialisation, without the program name. A scripting language takes them as its command line: a script that imports modules.
    pub args: Vec<String>,
    /// Whether the initialisation may read random bytes. Default: it may not.
    pub random: SnapshotRandom,
}

/// Whether the initialisation of a snapshot may read random bytes. All runs start from the same image, so what it stores of them is the same in
/// each run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SnapshotRandom {
    /// The push of a program that reads random bytes fails.
    #[default]
    Refused,
    /// The bytes come from the random number generator of the host, once for all runs. The program must seed its generators again in each run.
    Once,
}

/// The form of the key `snapshot` in a manifest.
#[derive(JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
#[expect(dead_code, reason = "only its schema is used")]
pub(crate) enum SnapshotRepr {
    Flag(bool),
    Settings(Snapshot),
}

/// Reads the key `snapshot` of a manifest: `false`, `true` or a table.
///
/// # Errors
/// Anything else, and a key of the table that is unknown.
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Snapshot>, D::Error> {
    struct FlagOrSettings;

    impl<'de> Visitor<'de> for FlagOrSettings {
        type Value = Option<Snapshot>;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("true, false or a table with the keys args and random")
        }

        fn visit_bool<E>(self, is_on: bool) -> Result<Self::Value, E> {
            Ok(is_on.then(Snapshot::default))
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
            Snapshot::deserialize(MapAccessDeserializer::new(map)).map(Some)
        }
    }

    deserializer.deserialize_any(FlagOrSettings)
}

#[cfg(test)]
mod tests {
    use crate::manifest::Manifest;

    use super::*;

    #[test]
    fn snapshot_is_a_flag_or_a_table() {
        let parse = |text: &str| Manifest::parse(text).map(|manifest| manifest.snapshot);
        assert_eq!(parse("").unwrap(), None);
        assert_eq!(parse("snapshot = false").unwrap(), None);
        assert_eq!(parse("snapshot = true").unwrap(), Some(Snapshot::default()));
        let settings = Snapshot { args: vec!["json".to_owned()], random: SnapshotRandom::Once };
        assert_eq!(parse("[snapshot]\nargs = [\"json\"]\nrandom = \"once\"").unwrap(), Some(settings.clone()));
        let manifest = Manifest { snapshot: Some(settings), ..Manifest::default() };
        let json = serde_json::to_string(&manifest).unwrap();
        assert_eq!(serde_json::from_str::<Manifest>(&json).unwrap(), manifest);
        for (text, expected) in [
            ("snapshot = 3", "true, false or a table"),
            ("[snapshot]\nrandon = \"once\"", "randon"),
            ("[snapshot]\nrandom = \"twice\"", "twice"),
            ("[snapshot]\nargs = [\"a\\u0000b\"]", "NUL"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
