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

/// The files of a language, below its directory in `templates/`.
macro_rules! files {
    ($folder:literal: $($file:literal),+) => {
        &[$(($file, include_str!(concat!("../../../templates/", $folder, "/", $file)))),+]
    };
}

/// What kind of job a template is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// A program that is built.
    Command,
    /// A program that answers HTTP requests.
    Http,
    /// A script that a runtime runs.
    Script,
}

/// The test cases of commands and scripts.
pub(super) const CASES: &str = include_str!("../../../templates/shared/cases.toml");

const NAMES: (&str, &str) = ("tests/names.txt", include_str!("../../../templates/shared/names.txt"));
const GREETINGS: (&str, &str) = ("tests/greetings.txt", include_str!("../../../templates/shared/greetings.txt"));

impl Form {
    pub(super) const ALL: [Self; 3] = [Self::Command, Self::Http, Self::Script];

    /// Returns the option of `capstan new` that asks for it.
    pub(super) fn option(self) -> Option<&'static str> {
        match self {
            Self::Command => None,
            Self::Http => Some("--http"),
            Self::Script => Some("--script"),
        }
    }

    /// Returns the templates, in the order of the list.
    pub(super) fn templates(self) -> &'static [Template] {
        match self {
            Self::Command => TEMPLATES,
            Self::Http => HTTP,
            Self::Script => SCRIPTS,
        }
    }

    /// Returns the template of a language.
    pub(super) fn find(self, language: Language) -> Option<&'static Template> {
        self.templates().iter().find(|template| template.language == language)
    }

    /// Returns the files of every template of this form.
    pub(super) fn shared(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Command => &[
                ("job.toml", include_str!("../../../templates/shared/job.toml")),
                ("README.md", include_str!("../../../templates/shared/README.md")),
                NAMES,
                GREETINGS,
            ],
            Self::Http => files!("http": "job.toml", "README.md"),
            Self::Script => &[
                ("job.toml", include_str!("../../../templates/script/job.toml")),
                ("README.md", include_str!("../../../templates/script/README.md")),
                NAMES,
                GREETINGS,
            ],
        }
    }
}

/// What components in languages without a library for WASI import and export.
const CLI_WIT: &str = include_str!("../../../templates/wit/cli.wit");
const IO_WIT: &str = include_str!("../../../templates/wit/io.wit");
const JS_WIT: &str = include_str!("../../../templates/wit/js.wit");

/// The templates of commands.
const TEMPLATES: &[Template] = &[
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
        memory: "32MiB",
        ignored: &[],
        files: files!("c": "src/main.c"),
    },
    Template {
        language: Language::Cpp,
        title: "C++",
        toolchain: "the WASI SDK, clang with wasi-libc and libc++, or `pip install ziglang`",
        source: "src/main.cpp",
        memory: "32MiB",
        ignored: &[],
        files: files!("cpp": "src/main.cpp"),
    },
    Template {
        language: Language::Zig,
        title: "Zig",
        toolchain: "Zig 0.17 or newer, from https://ziglang.org/download or with `pip install ziglang`",
        source: "src/main.zig",
        memory: "32MiB",
        ignored: &["/.zig-cache"],
        files: files!("zig": "src/main.zig"),
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
    Template {
        language: Language::Python,
        title: "Python",
        toolchain: "componentize-py, with `pip install componentize-py==0.25.1`",
        source: "app.py",
        memory: "128MiB",
        ignored: &["__pycache__"],
        files: &[
            ("app.py", include_str!("../../../templates/python/app.py")),
            ("wit/job.wit", include_str!("../../../templates/wit/python.wit")),
            ("wit/deps/cli/cli.wit", CLI_WIT),
            ("wit/deps/io/io.wit", IO_WIT),
        ],
    },
    Template {
        language: Language::JavaScript,
        title: "JavaScript",
        toolchain: "Node.js 20 or newer with npm, from https://nodejs.org/en/download",
        source: "src/main.js",
        memory: "32MiB",
        ignored: &["/node_modules"],
        files: &[
            ("package.json", include_str!("../../../templates/javascript/package.json")),
            ("src/main.js", include_str!("../../../templates/javascript/src/main.js")),
            ("src/streams.js", include_str!("../../../templates/javascript/src/streams.js")),
            ("wit/job.wit", JS_WIT),
            ("wit/deps/cli/cli.wit", CLI_WIT),
            ("wit/deps/io/io.wit", IO_WIT),
        ],
    },
    Template {
        language: Language::TypeScript,
        title: "TypeScript",
        toolchain: "Node.js 20 or newer with npm, from https://nodejs.org/en/download",
        source: "src/main.ts",
        memory: "32MiB",
        ignored: &["/node_modules"],
        files: &[
            ("package.json", include_str!("../../../templates/typescript/package.json")),
            ("tsconfig.json", include_str!("../../../templates/typescript/tsconfig.json")),
            ("src/main.ts", include_str!("../../../templates/typescript/src/main.ts")),
            ("src/streams.ts", include_str!("../../../templates/typescript/src/streams.ts")),
            ("src/wasi.d.ts", include_str!("../../../templates/typescript/src/wasi.d.ts")),
            ("wit/job.wit", JS_WIT),
            ("wit/deps/cli/cli.wit", CLI_WIT),
            ("wit/deps/io/io.wit", IO_WIT),
        ],
    },
    Template {
        language: Language::AssemblyScript,
        title: "AssemblyScript",
        toolchain: "Node.js 20 or newer with npm, from https://nodejs.org/en/download",
        source: "assembly/index.ts",
        memory: "16MiB",
        ignored: &["/node_modules"],
        files: files!("assemblyscript": "package.json", "asconfig.json", "assembly/index.ts"),
    },
];

/// The templates of programs that answer HTTP requests.
const HTTP: &[Template] = &[Template {
    language: Language::Rust,
    title: "Rust",
    toolchain: "Rust from https://rustup.rs with `rustup target add wasm32-wasip2`",
    source: "src/lib.rs",
    memory: "16MiB",
    ignored: &[],
    files: &[
        ("Cargo.toml", include_str!("../../../templates/http/Cargo.toml")),
        ("src/lib.rs", include_str!("../../../templates/http/lib.rs")),
    ],
}];

/// The templates of scripts.
const SCRIPTS: &[Template] = &[
    Template {
        language: Language::Python,
        title: "Python",
        toolchain: "the runtime `python`, which `capstan runtime add python FILE.wasm` installs",
        source: "app/main.py",
        memory: "128MiB",
        ignored: &["__pycache__"],
        files: &[("app/main.py", include_str!("../../../templates/script/main.py"))],
    },
    Template {
        language: Language::JavaScript,
        title: "JavaScript",
        toolchain: "the runtime `javascript`, which `capstan runtime add javascript FILE.wasm` installs",
        source: "app/main.js",
        memory: "32MiB",
        ignored: &[],
        files: &[("app/main.js", include_str!("../../../templates/script/main.js"))],
    },
];
