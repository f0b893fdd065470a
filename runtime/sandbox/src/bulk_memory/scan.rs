//! [`ModuleScan`]: finds the bulk memory instructions of a module that may be long.

use std::ops::Range;

use wasm_encoder::ValType;
use wasmparser::{FunctionBody, MemoryType, Operator, Parser, Payload, Result, TypeRef};

use super::instruction::BulkInstruction;

/// What splitting needs to know about a module.
#[derive(Debug, Default)]
pub(super) struct ModuleScan {
    /// How many types there are.
    pub(super) types: u32,
    /// How many functions there are, imported ones included.
    pub(super) functions: u32,
    /// The address type of each memory.
    pub(super) memories: Vec<ValType>,
    /// Bytes of each data segment.
    segments: Vec<usize>,
    /// The instructions that may be long, in their order, with their byte ranges in the module.
    pub(super) instructions: Vec<(Range<usize>, BulkInstruction)>,
}

impl ModuleScan {
    /// Scans `module` for instructions that may be longer than `chunk` bytes.
    pub(super) fn new(module: &[u8], chunk: u32) -> Result<Self> {
        let mut scan = Self::default();
        for payload in top_level_payloads(module) {
            match payload? {
                Payload::TypeSection(types) => {
                    for group in types {
                        scan.types += u32::try_from(group?.types().len()).expect("sizes in a module have 32 bits");
                    }
                }
                Payload::ImportSection(imports) => {
                    for import in imports.into_imports() {
                        match import?.ty {
                            TypeRef::Func(_) | TypeRef::FuncExact(_) => scan.functions += 1,
                            TypeRef::Memory(memory) => scan.memories.push(address_type(&memory)),
                            TypeRef::Table(_) | TypeRef::Global(_) | TypeRef::Tag(_) => {}
                        }
                    }
                }
                Payload::FunctionSection(functions) => scan.functions += functions.count(),
                Payload::MemorySection(memories) => {
                    for memory in memories {
                        scan.memories.push(address_type(&memory?));
                    }
                }
                Payload::CodeSectionEntry(body) => scan.scan_function(&body, chunk)?,
                Payload::DataSection(segments) => {
                    for segment in segments {
                        scan.segments.push(segment?.data.len());
                    }
                }
                _ => {}
            }
        }
        let Self { segments, instructions, .. } = &mut scan;
        instructions.retain(|(_, instruction)| match instruction {
            BulkInstruction::Init { segment, .. } => {
                segments.get(*segment as usize).is_some_and(|bytes| *bytes > chunk as usize)
            }
            BulkInstruction::Fill { .. } | BulkInstruction::Copy { .. } => true,
        });
        Ok(scan)
    }

    /// Records the instructions of a function. Skips those whose length is a constant of at most `chunk` right before them.
    fn scan_function(&mut self, body: &FunctionBody<'_>, chunk: u32) -> Result<()> {
        let mut operators = body.get_operators_reader()?;
        let mut is_short = false;
        while !operators.eof() {
            let start = operators.original_position();
            let operator = operators.read()?;
            let instruction = match operator {
                Operator::MemoryFill { mem } => Some(BulkInstruction::Fill { memory: mem }),
                Operator::MemoryCopy { dst_mem, src_mem } => Some(BulkInstruction::Copy { to: dst_mem, from: src_mem }),
                Operator::MemoryInit { data_index, mem } => {
                    Some(BulkInstruction::Init { memory: mem, segment: data_index })
                }
                _ => None,
            };
            if let Some(instruction) = instruction.filter(|_| !is_short) {
                self.instructions.push((start..operators.original_position(), instruction));
            }
            is_short = match operator {
                Operator::I32Const { value } => (0..=i64::from(chunk)).contains(&value.into()),
                Operator::I64Const { value } => (0..=i64::from(chunk)).contains(&value),
                _ => false,
            };
        }
        Ok(())
    }
}

/// Returns the payloads of a program without those of nested modules and components.
pub(super) fn top_level_payloads(wasm: &[u8]) -> impl Iterator<Item = Result<Payload<'_>>> {
    let mut depth = 0_usize;
    Parser::new(0).parse_all(wasm).filter(move |payload| {
        let is_top_level = depth == 0;
        match payload {
            Ok(Payload::ModuleSection { .. } | Payload::ComponentSection { .. }) => depth += 1,
            Ok(Payload::End(_)) => depth = depth.saturating_sub(1),
            _ => {}
        }
        is_top_level || payload.is_err()
    })
}

fn address_type(memory: &MemoryType) -> ValType {
    if memory.memory64 { ValType::I64 } else { ValType::I32 }
}
