//! Removes from a manifest the tables that only the command reads. A daemon rejects keys that it does not know.

use std::borrow::Cow;

/// The keys that the daemon does not get.
const KEYS: [&str; 2] = ["build", "test"];

/// Returns the manifest as the daemon gets it: without `[build]` and `[[test]]`. Text that is not TOML is returned unchanged; the daemon
/// reports what is wrong with it.
pub(in crate::cli) fn daemon_manifest(text: &str) -> Cow<'_, str> {
    let parse = |text: &str| text.strip_prefix('\u{feff}').unwrap_or(text).parse::<toml::Table>();
    let Ok(mut table) = parse(text) else { return Cow::Borrowed(text) };
    let has_keys = KEYS.map(|key| table.remove(key).is_some()).contains(&true);
    if !has_keys {
        return Cow::Borrowed(text);
    }
    // Lines stay where they are, so that the daemon names the right ones in its errors.
    let blanked = with_blank_lines(text);
    if parse(&blanked).is_ok_and(|parsed| parsed == table) {
        return Cow::Owned(blanked);
    }
    // An unusual layout, for example `build = { … }` or a line of a string that looks like a header.
    Cow::Owned(toml::to_string(&table).expect("it was read from TOML"))
}

/// Replaces the lines of the tables by empty ones.
fn with_blank_lines(text: &str) -> String {
    let mut is_removed = false;
    let lines = text.split_inclusive('\n').map(|line| {
        if line.starts_with('[') {
            let header = line.trim_start_matches('[').trim_start();
            let name = header.split(['.', ']', ' ', '\t']).next().unwrap_or_default();
            is_removed = KEYS.contains(&name);
        }
        if is_removed { "\n" } else { line }
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manifest_without_tables_is_unchanged() {
        for text in ["name = \"a\"\n[env]\nbuild = \"x\"\n", "= =", "[policy]\ntest = 1"] {
            assert_eq!(daemon_manifest(text), text);
        }
    }

    #[test]
    fn tables_become_empty_lines() {
        let text = "name = \"a\"\n[build]\nlang = \"c\"\n[policy]\nmemory = 1\n[[test]]\nname = \"t\"\n[test.env]\nA = \"1\"\n[env]\nB = \"2\"\n";
        assert_eq!(daemon_manifest(text), "name = \"a\"\n\n\n[policy]\nmemory = 1\n\n\n\n\n[env]\nB = \"2\"\n");
    }

    #[test]
    fn unusual_layout_loses_only_the_tables() {
        for text in [
            "build = { lang = \"c\" }\nname = \"a\"\n",
            "build.lang = \"c\"\nname = \"a\"\n",
            "name = \"a\"\n[[test]]\nname = \"t\"\nstdin = \"\"\"\n[env]\nX = \"\"\"\n",
        ] {
            assert_eq!(daemon_manifest(text).trim(), "name = \"a\"", "{text}");
        }
    }
}
