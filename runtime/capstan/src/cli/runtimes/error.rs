//! [`RuntimeError`]: why a runtime of scripts cannot be installed, found or removed.

use super::known::{self, Known};

/// Why a runtime of scripts cannot be installed, found or removed.
#[derive(Debug, thiserror::Error)]
pub(in crate::cli) enum RuntimeError {
    #[error("no runtime for .{extension} scripts is installed: {}", advice(.extension, "capstan"))]
    NotInstalled { extension: String },
    #[error("the daemon has no runtime for .{extension} scripts: {}", advice(.extension, "capstan -H ADDR"))]
    NotOnDaemon { extension: String },
    #[error(
        "it is not known which scripts the runtime {name} runs: name their extension with --extension, or write a table [runtime] into its \
         manifest. These are known: {}",
        known::names()
    )]
    NoExtensions { name: String },
    #[error("there is no place for runtimes: set XDG_DATA_HOME or HOME")]
    NoDataHome,
    #[error("{file} is not a WebAssembly program")]
    NotWasm { file: String },
    #[error("{directory} must contain exactly one .wasm file, and has {count}")]
    Programs { directory: String, count: usize },
    #[error("no runtime {0} is installed")]
    Unknown(String),
    #[error("no runtime {name} is installed, which the manifest of the script names: {}", advice_for(.name))]
    Missing { name: String },
    #[error("the handler {0} of the daemon is no runtime: choose another name, or remove it first")]
    NotARuntime(String),
    #[error("the installed runtime {name} is damaged: {reason}; install it again")]
    Damaged { name: String, reason: String },
    #[error("{0:?} is not a valid name: use letters, digits, `.`, `_` and `-`")]
    InvalidName(String),
}

/// Returns how to install a runtime for scripts with `extension`.
fn advice(extension: &str, command: &str) -> String {
    let Some(known) = known::for_extension(extension) else {
        return format!("install one with `{command} runtime add NAME FILE.wasm --extension .{extension}`");
    };
    advice_of(known, command)
}

/// Returns how to install the runtime `name`.
fn advice_for(name: &str) -> String {
    let unknown = || format!("install it with `capstan runtime add {name} FILE.wasm`");
    known::get(name).map_or_else(unknown, |known| advice_of(known, "capstan"))
}

fn advice_of(known: &Known, command: &str) -> String {
    let add = format!("install one with `{command} runtime add {} FILE.wasm`", known.name);
    match known.found_in {
        Some(place) => format!("{add}; a program is {place}"),
        None => add,
    }
}
