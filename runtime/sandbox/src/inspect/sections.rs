//! The sections of a program and of the modules inside it: their sizes, and what they tell about the toolchain.

use serde::Serialize;
use wasmparser::{BinaryReader, CustomSectionReader, KnownCustom, Parser, Payload, ProducersSectionReader, TypeRef};

use super::features::{self, Proposals};
use super::module::MemoryInfo;
use super::{MAX_LISTED, clean};

/// The most items of a section of types, memories or built-in functions that are read.
const MAX_ITEMS: usize = 100_000;

/// The sizes of the sections of a program, with those of the modules inside a component, in bytes.
#[derive(Debug, Default, Serialize)]
pub struct Sections {
    /// How many functions have a body.
    pub functions: u64,
    /// How many modules are inside a component.
    pub modules: u64,
    pub code: u64,
    pub data: u64,
    /// The names of functions.
    pub name: u64,
    /// DWARF and source maps.
    pub debug: u64,
    /// Other custom sections.
    pub custom: u64,
}

/// A tool that took part in making a program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Producer {
    /// `language`, `processed-by` or `sdk`.
    pub field: String,
    pub name: String,
    pub version: String,
}

/// What the sections of a program tell.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) sections: Sections,
    pub(super) toolchain: Vec<Producer>,
    pub(super) features: Proposals,
    pub(super) memories: Vec<MemoryInfo>,
    /// The memories of the module that is being read.
    memories_of_module: usize,
}

/// Reads the sections of `wasm`, up to the first one that cannot be parsed.
pub(super) fn read(wasm: &[u8]) -> Found {
    let mut found = Found::default();
    for payload in Parser::new(0).parse_all(wasm) {
        let Ok(payload) = payload else { break };
        // A section that cannot be parsed is described as far as it can be.
        let _ = found.add(&payload);
    }
    found
}

impl Found {
    fn add(&mut self, payload: &Payload<'_>) -> wasmparser::Result<()> {
        match payload {
            Payload::Version { .. } => self.memories_of_module = 0,
            Payload::ModuleSection { .. } => self.sections.modules += 1,
            Payload::FunctionSection(section) => self.sections.functions += u64::from(section.count()),
            Payload::CodeSectionStart { size, .. } => self.sections.code += u64::from(*size),
            Payload::CodeSectionEntry(body) => features::add_function(&mut self.features, body),
            Payload::DataSection(section) => self.sections.data += section.range().len() as u64,
            Payload::TagSection(_) => {
                self.features.insert("exceptions");
            }
            Payload::TypeSection(section) => {
                for group in section.clone().into_iter().take(MAX_ITEMS) {
                    for ty in group?.types() {
                        features::add_type(&mut self.features, ty);
                    }
                }
            }
            Payload::ImportSection(section) => {
                for import in section.clone().into_imports().take(MAX_ITEMS) {
                    if let TypeRef::Memory(memory) = import?.ty {
                        self.add_memory(memory);
                    }
                }
            }
            Payload::MemorySection(section) => {
                for memory in section.clone().into_iter().take(MAX_ITEMS) {
                    self.add_memory(memory?);
                }
            }
            Payload::ComponentCanonicalSection(section) => {
                for function in section.clone().into_iter().take(MAX_ITEMS) {
                    features::add_canonical(&mut self.features, &function?);
                }
            }
            Payload::CustomSection(section) => self.add_custom(section)?,
            _ => {}
        }
        Ok(())
    }

    fn add_memory(&mut self, memory: wasmparser::MemoryType) {
        features::add_memory(&mut self.features, &memory);
        self.memories_of_module += 1;
        if self.memories_of_module > 1 {
            self.features.insert("multi_memory");
        }
        if self.memories.len() < MAX_LISTED {
            self.memories.push(memory.into());
        }
    }

    fn add_custom(&mut self, section: &CustomSectionReader<'_>) -> wasmparser::Result<()> {
        let size = section.data().len() as u64;
        match section.name() {
            "name" | "component-name" => self.sections.name += size,
            name if name.starts_with(".debug_") || matches!(name, "sourceMappingURL" | "external_debug_info") => {
                self.sections.debug += size;
            }
            _ => self.sections.custom += size,
        }
        if let KnownCustom::Producers(_) = section.as_known() {
            self.add_producers(section)?;
        }
        Ok(())
    }

    fn add_producers(&mut self, section: &CustomSectionReader<'_>) -> wasmparser::Result<()> {
        let reader = BinaryReader::new(section.data(), section.data_offset());
        for field in ProducersSectionReader::new(reader)? {
            let field = field?;
            for value in field.values {
                let value = value?;
                let producer =
                    Producer { field: clean(field.name), name: clean(value.name), version: clean(value.version) };
                if self.toolchain.len() < MAX_LISTED && !self.toolchain.contains(&producer) {
                    self.toolchain.push(producer);
                }
            }
        }
        Ok(())
    }
}
