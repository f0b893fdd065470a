//! [`Language`]: the languages that `capstan build` compiles, and how the files of a directory tell which one it is.

use cap_std::fs::Dir;
use clap::ValueEnum;
use schemars::JsonSchema;
use serde::Deserialize;

/// A language that `capstan build` compiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Language {
    Rust,
    C,
    #[serde(rename = "c++")]
    #[value(name = "c++", alias = "cpp")]
    Cpp,
    Zig,
    Go,
    Python,
    #[value(name = "javascript", alias = "js")]
    JavaScript,
    #[value(name = "typescript", alias = "ts")]
    TypeScript,
    #[value(name = "assemblyscript")]
    AssemblyScript,
}

/// Files that tell the language on their own.
const MARKERS: [(&str, Language); 6] = [
    ("Cargo.toml", Language::Rust),
    ("go.mod", Language::Go),
    ("build.zig", Language::Zig),
    ("asconfig.json", Language::AssemblyScript),
    ("tsconfig.json", Language::TypeScript),
    ("package.json", Language::JavaScript),
];

/// The extensions of sources that need no other file.
const EXTENSIONS: [(&str, Language); 7] = [
    ("cpp", Language::Cpp),
    ("cc", Language::Cpp),
    ("cxx", Language::Cpp),
    ("c", Language::C),
    ("zig", Language::Zig),
    ("go", Language::Go),
    ("py", Language::Python),
];

impl Language {
    /// Returns its name on the command line and in manifests.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Rust => "rust",
            Self::C => "c",
            Self::Cpp => "c++",
            Self::Zig => "zig",
            Self::Go => "go",
            Self::Python => "python",
            Self::JavaScript => "javascript",
            Self::TypeScript => "typescript",
            Self::AssemblyScript => "assemblyscript",
        }
    }

    /// Returns the extensions of its sources.
    pub(super) fn extensions(self) -> Vec<&'static str> {
        EXTENSIONS.iter().filter(|(_, language)| *language == self).map(|(extension, _)| *extension).collect()
    }

    /// Returns the language of the files in `dir`.
    ///
    /// # Errors
    /// Why it cannot be told.
    pub(super) fn detect(dir: &Dir) -> Result<Self, String> {
        let mut found: Vec<_> = MARKERS.into_iter().filter(|(file, _)| dir.is_file(file)).collect();
        // Each package of npm has a package.json. Other files say more about it.
        if found.iter().any(|(file, _)| ["asconfig.json", "tsconfig.json"].contains(file)) {
            found.retain(|(file, _)| *file != "package.json");
        }
        if found.iter().any(|(file, _)| *file == "asconfig.json") {
            found.retain(|(file, _)| *file != "tsconfig.json");
        }
        match found.as_slice() {
            [(_, language)] => return Ok(*language),
            [] => {}
            [(first, _), (second, _), ..] => return Err(format!("it has {first} and {second}")),
        }
        let names = source_names(dir);
        let by_extension = EXTENSIONS.into_iter().find(|(extension, _)| {
            names.iter().any(|name| name.strip_suffix(extension).is_some_and(|stem| stem.ends_with('.')))
        });
        by_extension.map(|(_, language)| language).ok_or_else(|| "it has no sources of a known language".to_owned())
    }
}

/// Returns the names of the files in `dir` and in its `src`, relative to `dir` and sorted.
pub(super) fn source_names(dir: &Dir) -> Vec<String> {
    let names = |folder: &str, prefix: &str| {
        let entries = dir.read_dir(folder).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        names.map(|name| format!("{prefix}{name}")).collect::<Vec<_>>()
    };
    let mut all = [names(".", ""), names("src", "src/")].concat();
    all.sort();
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(files: &[&str], expected: Result<Language, &str>) {
        let folder = tempfile::tempdir().unwrap();
        let dir = crate::cli::paths::open_dir(folder.path()).unwrap();
        dir.create_dir("src").unwrap();
        for file in files {
            dir.write(file, "").unwrap();
        }
        assert_eq!(Language::detect(&dir), expected.map_err(str::to_owned), "{files:?}");
    }

    #[test]
    fn files_tell_the_language() {
        check(&["Cargo.toml", "src/main.rs", "a.c"], Ok(Language::Rust));
        check(&["go.mod"], Ok(Language::Go));
        check(&["package.json"], Ok(Language::JavaScript));
        check(&["package.json", "tsconfig.json"], Ok(Language::TypeScript));
        check(&["package.json", "tsconfig.json", "asconfig.json"], Ok(Language::AssemblyScript));
        check(&["a.c", "a.h"], Ok(Language::C));
        check(&["src/a.c", "src/b.cpp"], Ok(Language::Cpp));
        check(&["größe.py"], Ok(Language::Python));
    }

    #[test]
    fn files_of_no_or_several_languages_are_rejected() {
        check(&["README.md", "abc"], Err("it has no sources of a known language"));
        check(&["Cargo.toml", "go.mod"], Err("it has Cargo.toml and go.mod"));
    }

    #[test]
    fn names_are_those_of_the_command_line() {
        for language in Language::value_variants() {
            assert_eq!(language.to_possible_value().unwrap().get_name(), language.name());
        }
    }
}
