//! [`inspect`]: describes a program without compiling it.
//!
//! It accepts any bytes, and takes time and memory in proportion to them. Lists are cut at [`MAX_LISTED`] items and have a count.

mod component;
mod features;
mod imports;
mod module;
mod sections;
#[cfg(test)]
mod tests;

use capstan_core::feature::Features;
use capstan_engine::handler::Kind;
use capstan_engine::handler_store::ForeignKind;
use capstan_store::digest;
use serde::Serialize;

pub use self::component::Wit;
pub use self::imports::{ImportGroup, Imports};
pub use self::module::{Export, Exports, MemoryInfo};
pub use self::sections::{Producer, Sections};
use super::LoadError;
use super::outline::Outline;
use super::provided::{is_version_provided, split_version};
use super::{complexity, foreign, interface, kind};

/// The most items of a list.
pub const MAX_LISTED: usize = 500;
/// The most characters of a name or a type.
const MAX_TEXT: usize = 200;

/// The description of a program.
#[derive(Debug, Serialize)]
pub struct Inspection {
    pub kind: Kind,
    pub role: ProgramRole,
    /// Bytes.
    pub size: u64,
    /// The SHA-256 of the program, as `sha256:HEX`.
    pub digest: String,
    /// What wrote it, from its section `producers`.
    pub toolchain: Vec<Producer>,
    pub imports: Imports,
    pub exports: Exports,
    /// The interface of a component, as WIT. `None` for a module, and for a component that is damaged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wit: Option<Wit>,
    /// The proposals that its code and its types use, besides WebAssembly 1.0.
    pub features: Vec<&'static str>,
    pub memories: Vec<MemoryInfo>,
    pub sections: Sections,
    /// Why Capstan would not run it. `None` if nothing speaks against it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<Refusal>,
}

/// What a program is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ProgramRole {
    /// It has an entry point: `_start` or `wasi:cli/run`.
    Command,
    /// It has `_initialize`, and functions to invoke after it.
    Reactor,
    /// It has functions to invoke.
    Library,
    /// It answers HTTP requests.
    HttpHandler,
    /// It exports no function.
    None,
}

/// Why Capstan would not run a program.
#[derive(Debug, Serialize)]
pub struct Refusal {
    /// Which host the program was built for, if that is recognised.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<ForeignKind>,
    pub message: String,
}

/// Describes the program `wasm`, whose manifest requests `features`.
///
/// # Errors
/// [`LoadError::NotWasm`], [`LoadError::TextFormat`] or [`LoadError::Precompiled`]. A program that is damaged is described up to the damage.
pub fn inspect(wasm: &[u8], features: &Features) -> Result<Inspection, LoadError> {
    let kind = kind::detect(wasm)?;
    let outline = Outline::read(wasm);
    let found = sections::read(wasm);
    let checked = complexity::check(wasm, features);
    let is_readable = matches!(checked, Ok(_) | Err(LoadError::FeatureDisabled(_)));
    let component = (kind == Kind::Component && is_readable).then(|| component::decode(wasm)).flatten();
    let refused = foreign::check(wasm, kind).and(checked).and_then(|_| interface::check(wasm, kind, None)).err();
    let (functions, wit) = component.map_or((None, None), |(functions, wit)| (Some(functions), Some(wit)));
    Ok(Inspection {
        kind,
        role: role(&outline, kind),
        size: wasm.len() as u64,
        digest: digest(wasm),
        toolchain: found.toolchain,
        imports: Imports::of(&outline),
        exports: Exports::of(&outline, functions),
        wit,
        features: found.features.into_iter().collect(),
        memories: found.memories,
        sections: found.sections,
        refused: refused.map(|error| Refusal {
            kind: if let LoadError::Foreign { kind, .. } = &error { Some(*kind) } else { None },
            message: error.to_string(),
        }),
    })
}

fn role(outline: &Outline<'_>, kind: Kind) -> ProgramRole {
    let exports_interface = |interface: &str| {
        outline.exports.iter().any(|export| {
            let (name, version) = split_version(export.name);
            name == interface && version.is_none_or(is_version_provided)
        })
    };
    match kind {
        Kind::Component if exports_interface("wasi:cli/run") => ProgramRole::Command,
        Kind::Component if exports_interface("wasi:http/incoming-handler") => ProgramRole::HttpHandler,
        Kind::Component if exports_interface("wasi:http/handler") => ProgramRole::HttpHandler,
        Kind::Module | Kind::Native if outline.exports_function("_start") => ProgramRole::Command,
        Kind::Module | Kind::Native if outline.exports_function("_initialize") => ProgramRole::Reactor,
        _ if outline.has_callable() => ProgramRole::Library,
        _ => ProgramRole::None,
    }
}

/// Returns text that the author of a program chose, without control characters and not longer than people read.
fn clean(text: &str) -> String {
    let mut escaped: String = text.escape_debug().take(MAX_TEXT + 1).collect();
    if let Some((end, _)) = escaped.char_indices().nth(MAX_TEXT) {
        escaped.truncate(end);
        escaped.push('…');
    }
    escaped
}
