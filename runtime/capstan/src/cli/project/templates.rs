//! The templates of `capstan new`. Their files are in `templates/` and in the binary.

use super::language::Language;

/// A job to start from.
#[derive(Debug)]
pub(super) struct Template {
    pub(super) language: Language,
    /// The name of the language in sentences.
    pub(super) title: &'static str,
    /// What compiles it, for the README.
    pub(super) toolchain: &'static str,
    /// The main source.
    pub(super) source: &'static str,
    /// The memory limit in the manifest.
    pub(super) memory: &'static str,
    /// What its compiler leaves beside `target`.
    pub(super) ignored: &'static [&'static str],
    /// Paths and contents of the files of this language.
    pub(super) files: &'static [(&'static str, &'static str)],
}

/// Files of every template.
pub(super) const SHARED: &[(&str, &str)] = &[
    ("job.toml", include_str!("../../../templates/shared/job.toml")),
    ("README.md", include_str!("../../../templates/shared/README.md")),
    ("tests/names.txt", include_str!("../../../templates/shared/names.txt")),
    ("tests/greetings.txt", include_str!("../../../templates/shared/greetings.txt")),
];

/// The files of a language, below its directory in `templates/`.
macro_rules! files {
    ($folder:literal: $($file:literal),+) => {
        &[$(($file, include_str!(concat!("../../../templates/", $folder, "/", $file)))),+]
    };
}

pub(super) const TEMPLATES: &[Template] = &[
    Template {
        language: Language::Rust,
        title: "Rust",
        toolchain: "Rust from https://rustup.rs with `rustup target add wasm32-wasip1`",
        source: "src/main.rs",
        memory: "16MiB",
        ignored: &[],
        files: files!("rust": "Cargo.toml", "src/main.rs"),
    },
    Template {
        language: Language::C,
        title: "C",
        toolchain: "the WASI SDK, clang with wasi-libc, or `pip install ziglang`",
        source: "src/main.c",
        memory: "16MiB",
        ignored: &[],
        files: files!("c": "src/main.c"),
    },
    Template {
        language: Language::Cpp,
        title: "C++",
        toolchain: "the WASI SDK, clang with wasi-libc and libc++, or `pip install ziglang`",
        source: "src/main.cpp",
        memory: "16MiB",
        ignored: &[],
        files: files!("cpp": "src/main.cpp"),
    },
    Template {
        language: Language::Go,
        title: "Go",
        toolchain: "Go 1.21 or newer, from https://go.dev/doc/install",
        source: "main.go",
        memory: "64MiB",
        ignored: &[],
        files: files!("go": "go.mod", "main.go"),
    },
];

/// Returns the template of a language.
pub(super) fn find(language: Language) -> Option<&'static Template> {
    TEMPLATES.iter().find(|template| template.language == language)
}
