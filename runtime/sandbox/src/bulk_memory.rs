//! Splits long bulk memory instructions into chunks, between which a guest yields.
//!
//! `memory.fill`, `memory.copy` and `memory.init` are single instructions that nothing interrupts, and the kernel needs a tenth of a second
//! to provide 256 MiB of pages that were never touched: for that long, a guest would not notice a deadline. So before a program is
//! compiled, each of these instructions becomes a call of a function that does the same chunk by chunk. These functions are added after
//! those of the module, so that no index changes. Everything else stays the same to the byte.

mod function;
mod instruction;
mod scan;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use wasm_encoder::{CodeSection, Component, Encode as _, Instruction, Module, RawSection};
use wasmparser::{BinaryReader, CodeSectionReader, Parser, Payload, Result};

use self::instruction::BulkInstruction;
use self::scan::{ModuleScan, top_level_payloads};

/// Bytes of one chunk. The kernel needs half a millisecond to provide them.
const CHUNK_SIZE: u32 = 1 << 20;

/// The revision of the splitting, which is part of the fingerprint of compiled code. Increase it with every change of the result.
pub(super) const REVISION: u32 = 1;

/// Returns the program `wasm` with its long instructions split, or `wasm` itself if there are none. A valid program stays valid. The
/// complexity check must have accepted the program.
///
/// # Errors
/// If the program is not valid.
pub(super) fn split(wasm: &[u8]) -> Result<Cow<'_, [u8]>> {
    split_into(wasm, CHUNK_SIZE)
}

/// Splits into chunks of `chunk` bytes.
fn split_into(wasm: &[u8], chunk: u32) -> Result<Cow<'_, [u8]>> {
    if Parser::is_component(wasm) { split_component(wasm, chunk) } else { split_module(wasm, chunk) }
}

fn split_component(wasm: &[u8], chunk: u32) -> Result<Cow<'_, [u8]>> {
    let mut component = Component::new();
    let mut is_changed = false;
    for payload in top_level_payloads(wasm) {
        let payload = payload?;
        let Some((id, range)) = payload.as_section() else { continue };
        let mut data = Cow::Borrowed(&wasm[range]);
        if let Payload::ModuleSection { unchecked_range: nested, .. }
        | Payload::ComponentSection { unchecked_range: nested, .. } = payload
        {
            data = split_into(&wasm[nested], chunk)?;
            is_changed |= matches!(data, Cow::Owned(_));
        }
        component.section(&RawSection { id, data: &data });
    }
    Ok(if is_changed { component.finish().into() } else { wasm.into() })
}

fn split_module(wasm: &[u8], chunk: u32) -> Result<Cow<'_, [u8]>> {
    let scan = ModuleScan::new(wasm, chunk)?;
    if scan.instructions.is_empty() {
        return Ok(wasm.into());
    }
    let distinct: BTreeSet<BulkInstruction> = scan.instructions.iter().map(|(_, instruction)| *instruction).collect();
    // Each gets a function, at this position after the functions of the module.
    let added: BTreeMap<BulkInstruction, u32> = distinct.into_iter().zip(0..).collect();
    let mut module = Module::new();
    for payload in top_level_payloads(wasm) {
        let payload = payload?;
        let Some((id, range)) = payload.as_section() else { continue };
        let data = &wasm[range.clone()];
        match payload {
            Payload::TypeSection(_) => {
                let mut types = Vec::new();
                added.keys().for_each(|instruction| function::encode_type(*instruction, &scan.memories, &mut types));
                module.section(&RawSection { id, data: &with_items(data, added.len(), &types)? })
            }
            Payload::FunctionSection(_) => {
                let mut functions = Vec::new();
                added.values().for_each(|position| (scan.types + position).encode(&mut functions));
                module.section(&RawSection { id, data: &with_items(data, added.len(), &functions)? })
            }
            Payload::CodeSectionStart { .. } => module.section(&code_section(&scan, wasm, range, &added, chunk)?),
            _ => module.section(&RawSection { id, data }),
        };
    }
    Ok(module.finish().into())
}

/// Returns `section` with `count` further items, whose encoding is `items`, after its own.
fn with_items(section: &[u8], count: usize, items: &[u8]) -> Result<Vec<u8>> {
    let mut reader = BinaryReader::new(section, 0);
    let mut data = Vec::new();
    (reader.read_var_u32()? as usize + count).encode(&mut data);
    data.extend(&section[reader.original_position()..]);
    data.extend(items);
    Ok(data)
}

/// Returns the code section with each long instruction replaced by a call, followed by the functions that are called.
fn code_section(
    scan: &ModuleScan,
    module: &[u8],
    section: Range<usize>,
    added: &BTreeMap<BulkInstruction, u32>,
    chunk: u32,
) -> Result<CodeSection> {
    let mut code = CodeSection::new();
    let mut instructions = scan.instructions.iter().peekable();
    let bodies = CodeSectionReader::new(BinaryReader::new(&module[section.clone()], section.start))?;
    for body in bodies {
        let Range { start: mut copied, end } = body?.range();
        let mut bytes = Vec::new();
        while let Some((range, instruction)) = instructions.next_if(|(range, _)| range.end <= end) {
            bytes.extend(&module[copied..range.start]);
            Instruction::Call(scan.functions + added[instruction]).encode(&mut bytes);
            copied = range.end;
        }
        bytes.extend(&module[copied..end]);
        code.raw(&bytes);
    }
    for instruction in added.keys() {
        code.function(&function::chunked(*instruction, &scan.memories, chunk));
    }
    Ok(code)
}

#[cfg(test)]
mod tests;
