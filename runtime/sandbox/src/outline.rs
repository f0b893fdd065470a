//! [`Outline`]: what a program imports and exports, read from its outermost sections alone.
//!
//! Code and nested modules are skipped and nothing is validated, so it takes microseconds for most programs. What cannot be parsed is left to
//! the complexity check, which reports it.

use wasmparser::{
    ComponentExternalKind, CompositeInnerType, ExternalKind, MemoryType, Parser, Payload, RecGroup, TypeRef,
};

/// The most items of a kind that are read, and the most sections. The complexity check rejects programs with more items.
const MAX_ITEMS: usize = 100_000;

/// What a program imports and exports.
#[derive(Debug, Default)]
pub(super) struct Outline<'a> {
    pub(super) imports: Vec<Import<'a>>,
    /// How many imports and exports its sections declare, of which no more than 100,000 each are read.
    pub(super) import_count: u64,
    pub(super) export_count: u64,
    pub(super) exports: Vec<Export<'a>>,
    /// The names of its custom sections.
    pub(super) customs: Vec<&'a str>,
    /// The types of a module, in the order of their indices. `None` is a type that is no function.
    pub(super) types: Vec<Option<wasmparser::FuncType>>,
    /// The type of each function of a module, those that it imports first.
    pub(super) functions: Vec<u32>,
}

/// What is imported or exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Item {
    /// A function of a module, with the index of its type if it is imported, else with its own index.
    Function(u32),
    Memory {
        is_shared: bool,
    },
    Table,
    Global,
    Tag,
    /// A function of a component.
    ComponentFunction,
    Instance,
    Component,
    /// A module of a component.
    Module,
    Type,
    Value,
}

/// An import. Those of components have no module.
#[derive(Debug)]
pub(super) struct Import<'a> {
    pub(super) module: &'a str,
    pub(super) name: &'a str,
    pub(super) item: Item,
}

/// An export.
#[derive(Debug)]
pub(super) struct Export<'a> {
    pub(super) name: &'a str,
    pub(super) item: Item,
}

impl<'a> Outline<'a> {
    /// Reads the outline of `wasm`, up to the first section that cannot be parsed.
    pub(super) fn read(wasm: &'a [u8]) -> Self {
        let mut outline = Self::default();
        let (mut parser, mut rest) = (Parser::new(0), wasm);
        for _ in 0..MAX_ITEMS {
            let Ok(wasmparser::Chunk::Parsed { consumed, payload }) = parser.parse(rest, true) else { break };
            rest = &rest[consumed..];
            let skipped = match &payload {
                Payload::CodeSectionStart { size, .. } => {
                    parser.skip_section();
                    *size as usize
                }
                Payload::ModuleSection { unchecked_range, .. } | Payload::ComponentSection { unchecked_range, .. } => {
                    unchecked_range.len()
                }
                Payload::End(_) => break,
                _ => 0,
            };
            // A declaration that cannot be parsed is left to the complexity check.
            let _ = outline.add(&payload);
            let Some(after) = rest.get(skipped..) else { break };
            rest = after;
        }
        outline
    }

    fn add(&mut self, payload: &Payload<'a>) -> wasmparser::Result<()> {
        match payload {
            Payload::TypeSection(section) => {
                for group in section.clone().into_iter().take(MAX_ITEMS) {
                    self.add_types(group?);
                }
            }
            Payload::ImportSection(section) => {
                self.import_count += u64::from(section.count());
                for import in section.clone().into_imports().take(MAX_ITEMS) {
                    let import = import?;
                    let item = item_of_type(&import.ty);
                    if let Item::Function(ty) = item {
                        self.functions.push(ty);
                    }
                    self.imports.push(Import { module: import.module, name: import.name, item });
                }
            }
            Payload::FunctionSection(section) => {
                for ty in section.clone().into_iter().take(MAX_ITEMS) {
                    self.functions.push(ty?);
                }
            }
            Payload::ExportSection(section) => {
                self.export_count += u64::from(section.count());
                for export in section.clone().into_iter().take(MAX_ITEMS) {
                    let export = export?;
                    let item = match export.kind {
                        ExternalKind::Func | ExternalKind::FuncExact => Item::Function(export.index),
                        ExternalKind::Memory => Item::Memory { is_shared: false },
                        ExternalKind::Table => Item::Table,
                        ExternalKind::Global => Item::Global,
                        ExternalKind::Tag => Item::Tag,
                    };
                    self.exports.push(Export { name: export.name, item });
                }
            }
            Payload::ComponentImportSection(section) => {
                self.import_count += u64::from(section.count());
                for import in section.clone().into_iter().take(MAX_ITEMS) {
                    let import = import?;
                    let item = item_of_component(import.ty.kind());
                    self.imports.push(Import { module: "", name: import.name.name, item });
                }
            }
            Payload::ComponentExportSection(section) => {
                self.export_count += u64::from(section.count());
                for export in section.clone().into_iter().take(MAX_ITEMS) {
                    let export = export?;
                    self.exports.push(Export { name: export.name.name, item: item_of_component(export.kind) });
                }
            }
            Payload::CustomSection(section) => self.customs.push(section.name()),
            _ => {}
        }
        Ok(())
    }

    fn add_types(&mut self, group: RecGroup) {
        for ty in group.into_types().take(MAX_ITEMS) {
            self.types.push(match ty.composite_type.inner {
                CompositeInnerType::Func(function) => Some(function),
                _ => None,
            });
        }
    }

    /// Returns the type of the function of a module with this index, if it is known.
    pub(super) fn function_type(&self, index: u32) -> Option<&wasmparser::FuncType> {
        let ty = *self.functions.get(index as usize)?;
        self.types.get(ty as usize)?.as_ref()
    }

    /// Returns whether `name` is exported as a function.
    pub(super) fn exports_function(&self, name: &str) -> bool {
        self.exports
            .iter()
            .any(|export| export.name == name && matches!(export.item, Item::Function(_) | Item::ComponentFunction))
    }

    /// Returns whether there is a function that a caller could invoke, besides `_start` and `_initialize`. A component may have it in an interface.
    pub(super) fn has_callable(&self) -> bool {
        self.exports.iter().any(|export| match export.item {
            Item::Function(_) => !["_start", "_initialize"].contains(&export.name),
            Item::ComponentFunction | Item::Instance => true,
            _ => false,
        })
    }
}

/// Returns the size with which a memory starts, in bytes.
pub(super) fn initial_size(memory: &MemoryType) -> u64 {
    memory.initial.saturating_mul(page_size(memory))
}

/// Returns the size of a page of a memory, in bytes.
pub(super) fn page_size(memory: &MemoryType) -> u64 {
    1 << memory.page_size_log2.unwrap_or(16).min(63)
}

fn item_of_type(ty: &TypeRef) -> Item {
    match ty {
        TypeRef::Func(index) | TypeRef::FuncExact(index) => Item::Function(*index),
        TypeRef::Memory(memory) => Item::Memory { is_shared: memory.shared },
        TypeRef::Table(_) => Item::Table,
        TypeRef::Global(_) => Item::Global,
        TypeRef::Tag(_) => Item::Tag,
    }
}

fn item_of_component(kind: ComponentExternalKind) -> Item {
    match kind {
        ComponentExternalKind::Module => Item::Module,
        ComponentExternalKind::Func => Item::ComponentFunction,
        ComponentExternalKind::Value => Item::Value,
        ComponentExternalKind::Type => Item::Type,
        ComponentExternalKind::Instance => Item::Instance,
        ComponentExternalKind::Component => Item::Component,
    }
}
