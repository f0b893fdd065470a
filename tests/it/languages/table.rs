//! The rows of the language matrix, and one test for each.

use std::fmt::Write as _;

use super::{Cell, Failure, Language, check};

/// Declares the rows, and a test of each.
macro_rules! languages {
    ($($test:ident: $row:expr;)*) => {
        const LANGUAGES: &[Language] = &[$($row),*];

        mod each {
            $(
                #[tokio::test]
                async fn $test() {
                    static ROW: super::Language = $row;
                    super::check(&ROW).await;
                }
            )*
            #[allow(unused_imports, reason = "the rows name them")]
            use super::*;
        }
    };
}

/// WASI 0.2 has only success and failure.
const SUCCESS_OR_FAILURE: Cell =
    Cell::Instead { reason: "`wasi:cli/exit` has only success and failure: 7 is 1", code: 1, stderr: "" };

/// A row in which everything works.
const fn language(name: &'static str, program: &'static str, failure: Failure) -> Language {
    Language { name, program, script: None, files: "yes", exit: Cell::Works, catch: Cell::Works, failure }
}

languages! {
    rust_p1: language("Rust, preview 1", "conformance-rust.p1", Failure::Backtrace("fail_on_purpose"));
    rust_p2: Language {
        exit: SUCCESS_OR_FAILURE,
        ..language("Rust, WASI 0.2", "conformance-rust.p2", Failure::Backtrace("fail_on_purpose"))
    };
    rust_p3: Language {
        files: "yes, those of WASI 0.2: Capstan has none of 0.3",
        ..language("Rust, WASI 0.3", "conformance-rust.p3", Failure::Backtrace("fail_on_purpose"))
    };
    c: Language {
        catch: Cell::Instead {
            reason: "C has no exceptions; the command is unknown",
            code: 2,
            stderr: "",
        },
        ..language("C", "conformance-c", Failure::Backtrace("fail_on_purpose"))
    };
    cpp: language("C++ with exceptions", "conformance-cpp", Failure::Backtrace("fail_on_purpose"));
    lua_script: Language {
        script: Some("lua/conformance.lua"),
        ..language("Lua, script", "conformance-lua", Failure::Exit(1, "fail_on_purpose"))
    };
    zig: language("Zig", "conformance-zig", Failure::Backtrace("failOnPurpose"));
    go: language("Go", "conformance-go", Failure::Exit(2, "main.failOnPurpose"));
    python: Language {
        exit: SUCCESS_OR_FAILURE,
        ..language("Python, component", "conformance-python", Failure::Trap("in fail_on_purpose"))
    };
    python_script: Language {
        script: Some("python/app.py"),
        ..language("Python, script", "prebuilt/python", Failure::Exit(1, "in fail_on_purpose"))
    };
    javascript: Language {
        exit: SUCCESS_OR_FAILURE,
        ..language("JavaScript, component", "conformance-javascript", Failure::Trap("at failOnPurpose"))
    };
    javascript_script: Language {
        script: Some("javascript/script.mjs"),
        ..language("JavaScript, script", "prebuilt/quickjs", Failure::Exit(1, "at failOnPurpose"))
    };
    typescript: Language {
        exit: SUCCESS_OR_FAILURE,
        ..language("TypeScript, component", "conformance-typescript", Failure::Trap("at failOnPurpose"))
    };
    assemblyscript: Language {
        catch: Cell::Instead {
            reason: "the language cannot catch: a `throw` exits with 255",
            code: 255,
            stderr: "abort: not a number",
        },
        ..language("AssemblyScript", "conformance-assemblyscript", Failure::Backtrace("failOnPurpose"))
    };
}

/// Returns the matrix in Markdown.
pub(super) fn render() -> String {
    let mut table = "| language | args, env, stdin, stderr | files | clock, random | 64 MiB of stdin | exit code | catches its errors | failure |\n\
                     |---|---|---|---|---|---|---|---|\n"
        .to_owned();
    for row in LANGUAGES {
        write!(table, "| {} | yes | {} | yes | yes |", row.name, row.files).unwrap();
        for cell in [&row.exit, &row.catch] {
            match cell {
                Cell::Works => write!(table, " yes |").unwrap(),
                Cell::Instead { reason, .. } => write!(table, " no: {reason} |").unwrap(),
            }
        }
        match row.failure {
            Failure::Backtrace(function) => writeln!(table, " trap, `{function}` in the backtrace |").unwrap(),
            Failure::Trap(text) => writeln!(table, " trap, `{text}` on stderr |").unwrap(),
            Failure::Exit(code, text) => writeln!(table, " exit code {code}, `{text}` on stderr |").unwrap(),
        }
    }
    table
}
