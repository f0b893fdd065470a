//! [`ManifestError`]: why a manifest is not valid.

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::Spanned;

/// A manifest is not valid. The text says where and what was expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ManifestError(pub(super) String);

/// Where the schedules of a manifest are in its text.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Positions {
    schedule: Vec<Spanned<BTreeMap<String, Spanned<toml::Value>>>>,
}

impl ManifestError {
    /// Returns the error of the schedule with this index in the manifest `text`. It names the line of the field that has one of these names, or
    /// else that of the schedule.
    pub fn of_schedule(text: &str, index: usize, field: &[&str], reason: &str) -> Self {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let positions = toml::from_str::<Positions>(text).unwrap_or_default();
        let place = positions.schedule.get(index).map(|schedule| {
            let value = field.iter().find_map(|name| schedule.get_ref().get(*name));
            value.map_or(schedule.span().start, |value| value.span().start)
        });
        match place.and_then(|start| text.get(..start)) {
            Some(before) => Self(format!("line {}: {reason}", before.matches('\n').count() + 1)),
            None => Self(reason.to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_of_a_schedule_names_the_line_of_the_field() {
        let text = "\u{feff}name = \"a\"\n\n[[schedule]]\ncron = \"x\"\n[[schedule]]\nargs = []\ncron = \"y\"\n";
        let line = |index, field: &[&str]| ManifestError::of_schedule(text, index, field, "no").to_string();
        assert_eq!(line(0, &["cron"]), "line 4: no");
        assert_eq!(line(1, &["x", "cron"]), "line 7: no");
        assert_eq!(line(1, &["jitter"]), "line 5: no");
        assert_eq!(line(2, &[]), "no");
    }
}
