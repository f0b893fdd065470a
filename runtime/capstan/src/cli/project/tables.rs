//! The tables of `job.toml` that only the command reads: `[build]` and `[[test]]`.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use capstan_core::units;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};

use super::language::Language;

/// What the command reads of a manifest. The daemon checks all other keys.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Tables {
    pub(super) name: Option<String>,
    #[serde(default)]
    pub(super) build: BuildTable,
    #[serde(default)]
    pub(super) test: Vec<TestCase>,
    #[serde(default)]
    pub(super) program: Program,
    /// The directory of a script, or the script itself.
    pub(super) files: Option<PathBuf>,
}

/// Whose program the job runs.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Program {
    /// The runtime of a script.
    pub(super) from: Option<String>,
}

/// How `capstan build` compiles the job. Without it, the files of the directory tell the language.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(in crate::cli) struct BuildTable {
    /// The language of the sources.
    pub(super) lang: Option<Language>,
    /// A program and its arguments that build the job instead. It runs in the directory of the job and writes `output`.
    pub(super) command: Option<Vec<String>>,
    /// The file of the compiled program, relative to the directory of the job. Default: `target/NAME.wasm`.
    pub(super) output: Option<PathBuf>,
    /// Further arguments for the compiler.
    pub(super) flags: Vec<String>,
}

/// A test case: how `capstan test` runs the program, and what it expects.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::cli) struct TestCase {
    /// The name of the case, which must be unique.
    pub(super) name: String,
    /// The arguments of the program.
    #[serde(default)]
    pub(super) args: Vec<String>,
    /// Variables of the program. They replace those of the manifest.
    #[serde(default)]
    pub(super) env: BTreeMap<String, String>,
    /// The stdin of the program. Default: empty.
    pub(super) stdin: Option<String>,
    /// The file with its stdin, relative to the directory of the job.
    pub(super) stdin_file: Option<PathBuf>,
    /// The stdout that is expected. Default: anything.
    pub(super) stdout: Option<String>,
    /// The file with the stdout that is expected, relative to the directory of the job.
    pub(super) stdout_file: Option<PathBuf>,
    /// A text that stderr must contain.
    pub(super) stderr_contains: Option<String>,
    /// The exit code that is expected. Default: 0.
    #[serde(default)]
    pub(super) exit_code: u8,
    /// The maximum run time, such as `"5s"`. Default: that of the manifest.
    #[serde(default, deserialize_with = "timeout")]
    #[schemars(with = "Option<String>")]
    pub(super) timeout: Option<Duration>,
}

fn timeout<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(deserializer)?;
    units::time_limit(&text).map(Some).map_err(serde::de::Error::custom)
}

impl Tables {
    /// Reads the tables of a manifest.
    ///
    /// # Errors
    /// What is wrong with a table, with its line if the parser knows it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let tables: Self = toml::from_str(text).map_err(|error| error.to_string().trim_end().to_owned())?;
        tables.build.check()?;
        let mut names: Vec<&str> = Vec::new();
        for case in &tables.test {
            case.check().map_err(|reason| format!("test {:?}: {reason}", case.name))?;
            if names.contains(&case.name.as_str()) {
                return Err(format!("two tests have the name {:?}", case.name));
            }
            names.push(&case.name);
        }
        Ok(tables)
    }
}

impl BuildTable {
    fn check(&self) -> Result<(), String> {
        if let Some(command) = &self.command {
            if command.first().is_none_or(String::is_empty) {
                return Err("`command` under [build] is empty".to_owned());
            }
            if self.lang.is_some() || !self.flags.is_empty() {
                return Err("[build] has a `command`, which allows neither `lang` nor `flags`".to_owned());
            }
            if self.output.is_none() {
                return Err(
                    "[build] has a `command`, and must name its `output`, the program that it writes".to_owned()
                );
            }
        }
        self.output.as_deref().map_or(Ok(()), |output| {
            if output.extension().is_none_or(|extension| extension != "wasm") {
                return Err("`output` under [build] must end in .wasm".to_owned());
            }
            check_inside("output", output)
        })
    }
}

impl TestCase {
    fn check(&self) -> Result<(), String> {
        if self.name.is_empty() || self.name.contains(char::is_control) {
            return Err("the name is empty, or is more than one line".to_owned());
        }
        if self.stdin.is_some() && self.stdin_file.is_some() {
            return Err("it has `stdin` and `stdin_file`".to_owned());
        }
        if self.stdout.is_some() && self.stdout_file.is_some() {
            return Err("it has `stdout` and `stdout_file`".to_owned());
        }
        self.stdin_file.as_deref().map_or(Ok(()), |file| check_inside("stdin_file", file))?;
        self.stdout_file.as_deref().map_or(Ok(()), |file| check_inside("stdout_file", file))
    }
}

fn check_inside(key: &str, path: &Path) -> Result<(), String> {
    let is_inside = path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    if is_inside && path.file_name().is_some() {
        return Ok(());
    }
    Err(format!("`{key}` must be a file in the directory of the job, and {} is not", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_read_beside_keys_of_the_daemon() {
        let text = "name = \"n\"\nlater = 1\n[build]\nlang = \"c++\"\n[[test]]\nname = \"a\"\ntimeout = \"5s\"\n";
        let tables = Tables::parse(text).unwrap();
        assert_eq!((tables.name.as_deref(), tables.build.lang), (Some("n"), Some(Language::Cpp)));
        assert_eq!((tables.test[0].exit_code, tables.test[0].timeout), (0, Some(Duration::from_secs(5))));
        assert!(Tables::parse("").unwrap().test.is_empty());
    }

    #[test]
    fn tables_with_mistakes_are_rejected_and_the_key_is_named() {
        for (text, named) in [
            ("[build]\nlanguage = \"c\"", "language"),
            ("[build]\nlang = \"cobol\"", "cobol"),
            ("[build]\ncommand = []\noutput = \"a.wasm\"", "command"),
            ("[build]\ncommand = [\"make\"]", "output"),
            ("[build]\ncommand = [\"make\"]\nlang = \"c\"\noutput = \"a.wasm\"", "lang"),
            ("[build]\noutput = \"../a.wasm\"", "output"),
            ("[build]\noutput = \"/a.wasm\"", "output"),
            ("[build]\noutput = \"a.out\"", ".wasm"),
            ("[[test]]\nargs = []", "name"),
            ("[[test]]\nname = \"\"", "name"),
            ("[[test]]\nname = \"a\"\nstout = \"x\"", "stout"),
            ("[[test]]\nname = \"a\"\nexit_code = 256", "256"),
            ("[[test]]\nname = \"a\"\ntimeout = \"0s\"", "limit of 0"),
            ("[[test]]\nname = \"a\"\nstdin = \"\"\nstdin_file = \"b\"", "stdin_file"),
            ("[[test]]\nname = \"a\"\nstdout_file = \"../b\"", "stdout_file"),
            ("[[test]]\nname = \"a\"\n[[test]]\nname = \"a\"", "two tests"),
        ] {
            let error = Tables::parse(text).unwrap_err();
            assert!(error.contains(named), "{text}: {error}");
        }
    }
}
