//! Long strokes over memory, cut into pieces between which a guest yields.
//!
//! `memory.fill`, `memory.copy` and `memory.init` are single instructions that nothing interrupts, and the kernel takes a tenth of a second to
//! find 256 MiB of pages that were never touched: so long a deadline would go unheard. Before a program is compiled, each becomes a call
//! of a function that does the same piece by piece. Such functions are added behind those of the module, so that no index changes, and
//! everything else stays as it was, to the byte.

mod function;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use wasm_encoder::{CodeSection, Component, Encode as _, Instruction, Module, RawSection, ValType};
use wasmparser::{
    BinaryReader, CodeSectionReader, FunctionBody, MemoryType, Operator, Parser, Payload, Result, TypeRef,
};

/// Bytes of one piece: memory that was never touched takes half a millisecond of them.
const PIECE: u32 = 1 << 20;

/// What the cutting is known by. Code that was compiled before a change of it is not that of a load after.
pub(super) const REVISION: u32 = 1;

/// What is cut, with the memories and the segment that it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stroke {
    Fill { memory: u32 },
    Copy { to: u32, from: u32 },
    Init { memory: u32, segment: u32 },
}

/// What cutting needs to know of a module.
#[derive(Debug, Default)]
struct Survey {
    types: u32,
    functions: u32,
    /// The type of each memory's addresses.
    memories: Vec<ValType>,
    /// Bytes of each segment of data.
    segments: Vec<usize>,
    /// Strokes that may be long, in their order, each with its place in the module.
    strokes: Vec<(Range<usize>, Stroke)>,
}

/// The program, whose shape was checked, with its long strokes cut; as it was where it has none. What is valid stays so.
///
/// # Errors
/// Those of a program that is not valid.
pub(super) fn cut(wasm: &[u8]) -> Result<Cow<'_, [u8]>> {
    cut_into(wasm, PIECE)
}

fn cut_into(wasm: &[u8], piece: u32) -> Result<Cow<'_, [u8]>> {
    if Parser::is_component(wasm) { cut_component(wasm, piece) } else { cut_module(wasm, piece) }
}

fn cut_component(wasm: &[u8], piece: u32) -> Result<Cow<'_, [u8]>> {
    let mut component = Component::new();
    let mut changed = false;
    for payload in outermost(wasm) {
        let payload = payload?;
        let Some((id, range)) = payload.as_section() else { continue };
        let mut data = Cow::Borrowed(&wasm[range]);
        if let Payload::ModuleSection { unchecked_range: nested, .. }
        | Payload::ComponentSection { unchecked_range: nested, .. } = payload
        {
            data = cut_into(&wasm[nested], piece)?;
            changed |= matches!(data, Cow::Owned(_));
        }
        component.section(&RawSection { id, data: &data });
    }
    Ok(if changed { component.finish().into() } else { wasm.into() })
}

fn cut_module(wasm: &[u8], piece: u32) -> Result<Cow<'_, [u8]>> {
    let survey = Survey::of(wasm, piece)?;
    if survey.strokes.is_empty() {
        return Ok(wasm.into());
    }
    let kinds: BTreeSet<Stroke> = survey.strokes.iter().map(|(_, stroke)| *stroke).collect();
    let added: BTreeMap<Stroke, u32> = kinds.into_iter().zip(0..).collect();
    let mut module = Module::new();
    for payload in outermost(wasm) {
        let payload = payload?;
        let Some((id, range)) = payload.as_section() else { continue };
        let data = &wasm[range.clone()];
        match payload {
            Payload::TypeSection(_) => {
                let mut types = Vec::new();
                added.keys().for_each(|stroke| function::signature(*stroke, &survey.memories, &mut types));
                module.section(&RawSection { id, data: &extended(data, added.len(), &types)? })
            }
            Payload::FunctionSection(_) => {
                let mut functions = Vec::new();
                added.values().for_each(|place| (survey.types + place).encode(&mut functions));
                module.section(&RawSection { id, data: &extended(data, added.len(), &functions)? })
            }
            Payload::CodeSectionStart { .. } => module.section(&survey.code(wasm, range, &added, piece)?),
            _ => module.section(&RawSection { id, data }),
        };
    }
    Ok(module.finish().into())
}

/// The payloads of a program but those of what is nested in it.
fn outermost(wasm: &[u8]) -> impl Iterator<Item = Result<Payload<'_>>> {
    let mut depth = 0_usize;
    Parser::new(0).parse_all(wasm).filter(move |payload| {
        let is_outermost = depth == 0;
        match payload {
            Ok(Payload::ModuleSection { .. } | Payload::ComponentSection { .. }) => depth += 1,
            Ok(Payload::End(_)) => depth = depth.saturating_sub(1),
            _ => {}
        }
        is_outermost || payload.is_err()
    })
}

/// A section with `count` items more, which are `items`, behind its own.
fn extended(section: &[u8], count: usize, items: &[u8]) -> Result<Vec<u8>> {
    let mut reader = BinaryReader::new(section, 0);
    let mut data = Vec::new();
    (reader.read_var_u32()? as usize + count).encode(&mut data);
    data.extend(&section[reader.original_position()..]);
    data.extend(items);
    Ok(data)
}

impl Survey {
    fn of(module: &[u8], piece: u32) -> Result<Self> {
        let mut survey = Self::default();
        for payload in outermost(module) {
            match payload? {
                Payload::TypeSection(types) => {
                    for group in types {
                        survey.types += u32::try_from(group?.types().len()).expect("sizes of a module are 32 bits");
                    }
                }
                Payload::ImportSection(imports) => {
                    for import in imports.into_imports() {
                        match import?.ty {
                            TypeRef::Func(_) | TypeRef::FuncExact(_) => survey.functions += 1,
                            TypeRef::Memory(memory) => survey.memories.push(address(&memory)),
                            TypeRef::Table(_) | TypeRef::Global(_) | TypeRef::Tag(_) => {}
                        }
                    }
                }
                Payload::FunctionSection(functions) => survey.functions += functions.count(),
                Payload::MemorySection(memories) => {
                    for memory in memories {
                        survey.memories.push(address(&memory?));
                    }
                }
                Payload::CodeSectionEntry(body) => survey.look_through(&body, piece)?,
                Payload::DataSection(segments) => {
                    for segment in segments {
                        survey.segments.push(segment?.data.len());
                    }
                }
                _ => {}
            }
        }
        let Self { segments, strokes, .. } = &mut survey;
        strokes.retain(|(_, stroke)| match stroke {
            Stroke::Init { segment, .. } => {
                segments.get(*segment as usize).is_some_and(|bytes| *bytes > piece as usize)
            }
            Stroke::Fill { .. } | Stroke::Copy { .. } => true,
        });
        Ok(survey)
    }

    /// Notes the strokes of a function. Those whose length is written before them, and is a piece at most, are left alone.
    fn look_through(&mut self, body: &FunctionBody<'_>, piece: u32) -> Result<()> {
        let mut operators = body.get_operators_reader()?;
        let mut is_short = false;
        while !operators.eof() {
            let begin = operators.original_position();
            let operator = operators.read()?;
            let stroke = match operator {
                Operator::MemoryFill { mem } => Some(Stroke::Fill { memory: mem }),
                Operator::MemoryCopy { dst_mem, src_mem } => Some(Stroke::Copy { to: dst_mem, from: src_mem }),
                Operator::MemoryInit { data_index, mem } => Some(Stroke::Init { memory: mem, segment: data_index }),
                _ => None,
            };
            if let Some(stroke) = stroke.filter(|_| !is_short) {
                self.strokes.push((begin..operators.original_position(), stroke));
            }
            is_short = match operator {
                Operator::I32Const { value } => (0..=i64::from(piece)).contains(&value.into()),
                Operator::I64Const { value } => (0..=i64::from(piece)).contains(&value),
                _ => false,
            };
        }
        Ok(())
    }

    /// The code section: each stroke a call, and the functions that are called at its end.
    fn code(
        &self,
        module: &[u8],
        section: Range<usize>,
        added: &BTreeMap<Stroke, u32>,
        piece: u32,
    ) -> Result<CodeSection> {
        let mut code = CodeSection::new();
        let mut strokes = self.strokes.iter().peekable();
        let bodies = CodeSectionReader::new(BinaryReader::new(&module[section.clone()], section.start))?;
        for body in bodies {
            let Range { start: mut copied, end } = body?.range();
            let mut bytes = Vec::new();
            while let Some((place, stroke)) = strokes.next_if(|(place, _)| place.end <= end) {
                bytes.extend(&module[copied..place.start]);
                Instruction::Call(self.functions + added[stroke]).encode(&mut bytes);
                copied = place.end;
            }
            bytes.extend(&module[copied..end]);
            code.raw(&bytes);
        }
        for stroke in added.keys() {
            code.function(&function::in_pieces(*stroke, &self.memories, piece));
        }
        Ok(code)
    }
}

fn address(memory: &MemoryType) -> ValType {
    if memory.memory64 { ValType::I64 } else { ValType::I32 }
}

#[cfg(test)]
mod tests;
