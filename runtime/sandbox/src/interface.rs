//! What can be said about a program without compiling it: whether it imports what there is, is a command, and fits into its memory limit.
//!
//! Compiling a large program takes many seconds, and may exceed a limit that is not the reason why the program cannot run. The linker checks
//! all of it again, with types.

use capstan_engine::handler::Kind;
use wasmparser::{ExternalKind, Parser, Payload, TypeRef};

use super::LoadError;
use super::features::invalid;
use super::outline::{Outline, initial_size};
use super::provided::{DRAFT, is_function_provided, is_interface_provided};

/// What a component exports that is a command or answers HTTP requests.
const ENTRIES: [&str; 4] =
    ["wasi:cli/run@0.2", "wasi:cli/run@0.3", "wasi:http/incoming-handler@0.2", "wasi:http/handler@0.3"];

/// What the parser has found so far.
#[derive(Debug, Default)]
struct Found {
    unknown_imports: Vec<String>,
    has_entry: bool,
    /// The size with which the largest memory starts.
    memory: u64,
}

/// Checks a program that passes the complexity check. `max_memory` is the limit on memory that every run has at least.
///
/// # Errors
/// [`LoadError::UnknownImports`], [`LoadError::NotACommand`], [`LoadError::MemoryLimit`], [`LoadError::Invalid`].
pub(super) fn check(wasm: &[u8], kind: Kind, max_memory: Option<u64>) -> Result<(), LoadError> {
    let mut found = Found::default();
    let mut depth = 0_u32;
    for payload in Parser::new(0).parse_all(wasm) {
        let payload = payload.map_err(|error| invalid(&error))?;
        match &payload {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            _ => {}
        }
        // A declaration that cannot be parsed is left to the compiler, which reports it.
        let _ = found.add(&payload, depth == 0);
    }
    if !found.unknown_imports.is_empty() {
        return Err(LoadError::UnknownImports(found.unknown_imports));
    }
    if !found.has_entry && !Outline::read(wasm).has_callable() {
        return Err(LoadError::NotACommand(match kind {
            Kind::Component => "it exports no `wasi:cli/run@0.2`, and no function to invoke either".to_owned(),
            Kind::Module | Kind::Native => "it exports no `_start`, and no function to invoke either".to_owned(),
        }));
    }
    match max_memory {
        Some(limit) if found.memory > limit => Err(LoadError::MemoryLimit { needed: found.memory, limit }),
        _ => Ok(()),
    }
}

impl Found {
    /// Records what a section declares. Imports and exports count only for the program itself, `is_outermost`.
    fn add(&mut self, payload: &Payload<'_>, is_outermost: bool) -> wasmparser::Result<()> {
        match payload {
            Payload::MemorySection(section) => {
                for memory in section.clone() {
                    self.memory = self.memory.max(initial_size(&memory?));
                }
            }
            Payload::ImportSection(section) if is_outermost => {
                for import in section.clone().into_imports() {
                    let import = import?;
                    self.unknown_imports.extend(unknown_import(import.module, import.name, &import.ty));
                }
            }
            Payload::ExportSection(section) if is_outermost => {
                for export in section.clone() {
                    let export = export?;
                    self.has_entry |= export.name == "_start" && export.kind == ExternalKind::Func;
                }
            }
            Payload::ComponentImportSection(section) if is_outermost => {
                for import in section.clone() {
                    let name = import?.name.name;
                    if !is_interface_provided(name) {
                        self.unknown_imports.push(name.escape_debug().to_string());
                    }
                }
            }
            Payload::ComponentExportSection(section) if is_outermost => {
                for export in section.clone() {
                    let name = export?.name.name;
                    self.has_entry |= ENTRIES.iter().any(|entry| name.starts_with(entry));
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// Returns the name of an import that there is not, as an error shows it.
fn unknown_import(module: &str, name: &str, ty: &TypeRef) -> Option<String> {
    let is_function = matches!(ty, TypeRef::Func(_) | TypeRef::FuncExact(_));
    if is_function && is_function_provided(module, name) {
        return None;
    }
    // The author of the program chose the names: control characters in them must not reach a terminal.
    let import = format!("{}.{}", module.escape_debug(), name.escape_debug());
    Some(match module {
        DRAFT => {
            format!("{import} (of a draft of WASI from 2019, in which this call was another; build the program anew)")
        }
        _ => import,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_text(text: &str, max_memory: Option<u64>) -> Result<(), LoadError> {
        let wasm = wat::parse_str(text).unwrap();
        let kind = if text.starts_with("(component") { Kind::Component } else { Kind::Module };
        check(&wasm, kind, max_memory)
    }

    #[test]
    fn check_names_unknown_imports_before_a_missing_entry_point() {
        for (text, expected) in [
            ("(module (import \"env\" \"f\" (func)))", "env.f"),
            ("(module (import \"wasi_snapshot_preview1\" \"fd_wrote\" (func)))", "wasi_snapshot_preview1.fd_wrote"),
            ("(module (import \"wasi_unstable\" \"fd_seek\" (func)))", "draft of WASI"),
            ("(module (import \"wasi_snapshot_preview1\" \"fd_read\" (memory 1)))", "fd_read"),
            ("(component (import \"wasi:nn/tensor@0.2.0\" (instance)))", "wasi:nn/tensor"),
            ("(component (import \"f\" (func)))", "f"),
            ("(module)", "_start"),
            ("(module (memory (export \"_start\") 1))", "_start"),
            ("(component (core module (func (export \"_start\"))))", "wasi:cli/run"),
        ] {
            let error = check_text(text, None).expect_err(text).to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
        for text in [
            "(module (import \"wasi_unstable\" \"fd_write\" (func)) (func (export \"_start\")))",
            "(module (func (export \"_start\")))",
            "(component (import \"wasi:cli/stdin@0.2.0\" (instance)) (instance) (export \"wasi:cli/run@0.2.3\" (instance 1)))",
        ] {
            assert_eq!(check_text(text, None), Ok(()), "{text}");
        }
    }

    #[test]
    fn check_compares_the_least_memory_with_the_limit() {
        let text = "(module (memory 8192) (func (export \"_start\")))";
        assert_eq!(check_text(text, Some(512 << 20)), Ok(()));
        let error = check_text(text, Some(256 << 20)).unwrap_err();
        assert_eq!(error, LoadError::MemoryLimit { needed: 512 << 20, limit: 256 << 20 });
        assert!(error.to_string().contains("--memory"), "{error}");
    }
}
