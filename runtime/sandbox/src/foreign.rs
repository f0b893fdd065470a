//! [`check`]: recognises programs that were built for another host, and says what to build in their place.
//!
//! It reads imports, exports and the names of custom sections, and runs before the compiling child is started: such a program is often large,
//! and would exceed a limit on compiling it before anybody learns why it cannot run.

mod component;
mod module;
#[cfg(test)]
mod tests;

use capstan_engine::handler::Kind;
use capstan_engine::handler_store::ForeignKind;

use super::LoadError;
use super::outline::{Import, Outline};
use super::provided::is_provided;

/// The most imports or exports that a message names.
const MAX_NAMED: usize = 4;
/// The most characters of a name that a message repeats.
const MAX_NAME: usize = 80;

/// Checks whether `wasm`, a program of this kind, was built for another host.
///
/// # Errors
/// [`LoadError::Foreign`]
pub(super) fn check(wasm: &[u8], kind: Kind) -> Result<(), LoadError> {
    match recognise(&Outline::read(wasm), kind) {
        Some((kind, message)) => Err(LoadError::Foreign { kind, message }),
        None => Ok(()),
    }
}

/// Returns which host the program was built for, and the message for its author. `None` if it is not recognised.
pub(super) fn recognise(outline: &Outline<'_>, kind: Kind) -> Option<(ForeignKind, String)> {
    let missing: Vec<_> = outline.imports.iter().filter(|import| !is_provided(import)).collect();
    match kind {
        Kind::Component => component::recognise(outline, &missing),
        Kind::Module | Kind::Native => module::recognise(outline, &missing),
    }
}

/// Returns the names of `imports` for a message, of which it may have the first few.
fn list_imports(imports: &[&Import<'_>]) -> String {
    list(
        imports.len(),
        imports.iter().map(|import| match import.module {
            "" => shorten(import.name),
            module => format!("{}.{}", shorten(module), shorten(import.name)),
        }),
    )
}

/// Joins the first few of `count` names for a message.
fn list(count: usize, names: impl Iterator<Item = String>) -> String {
    let named: Vec<_> = names.take(MAX_NAMED).map(|name| format!("`{name}`")).collect();
    match count.saturating_sub(MAX_NAMED) {
        0 => named.join(", "),
        more => format!("{} and {more} more", named.join(", ")),
    }
}

/// Returns a name that the author of the program chose without control characters, and cut to a length that people read.
fn shorten(name: &str) -> String {
    let escaped: String = name.escape_debug().take(MAX_NAME + 1).collect();
    match escaped.char_indices().nth(MAX_NAME) {
        Some((end, _)) => format!("{}…", &escaped[..end]),
        None => escaped,
    }
}
