//! What a program exports, and its memories.

use serde::Serialize;
use wasmparser::{FuncType, MemoryType};

use super::{MAX_LISTED, clean};
use crate::outline::{Item, Outline, initial_size, page_size};

/// The most parameters or results of a signature that are listed.
const MAX_VALUES: usize = 16;

/// The exports of a program.
#[derive(Debug, Serialize)]
pub struct Exports {
    /// How many the program declares. The functions of an interface count as one export.
    pub count: u64,
    pub items: Vec<Export>,
}

/// An export, or a function of an interface that a component exports.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Export {
    /// The name, as `--invoke` takes it.
    pub name: String,
    /// `function`, `memory`, `table`, `global`, `tag`, `interface`, `component`, `module`, `type` or `value`.
    pub kind: &'static str,
    /// The type of a function.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub signature: Option<String>,
}

/// A memory of a program.
#[derive(Debug, Serialize)]
pub struct MemoryInfo {
    /// The size with which it starts, in bytes.
    pub initial: u64,
    /// The size that it never exceeds, in bytes. `None` if the program does not limit it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub maximum: Option<u64>,
    pub is_shared: bool,
    pub is_64_bit: bool,
}

impl Exports {
    /// Lists what is exported. `functions` are those of a component, with their interfaces.
    pub(super) fn of(outline: &Outline<'_>, functions: Option<Vec<Export>>) -> Self {
        let items = outline.exports.iter().map(|export| match export.item {
            Item::Function(index) => Export {
                name: clean(export.name),
                kind: "function",
                signature: outline.function_type(index).map(signature),
            },
            item => Export { name: clean(export.name), kind: kind_of(item), signature: None },
        });
        let is_listed = |export: &Export| !(functions.is_some() && matches!(export.kind, "function" | "interface"));
        let mut items: Vec<_> = items.filter(is_listed).take(MAX_LISTED).collect();
        items.extend(functions.into_iter().flatten());
        items.truncate(MAX_LISTED);
        Self { count: outline.export_count, items }
    }
}

impl From<MemoryType> for MemoryInfo {
    fn from(memory: MemoryType) -> Self {
        Self {
            initial: initial_size(&memory),
            maximum: memory.maximum.map(|maximum| maximum.saturating_mul(page_size(&memory))),
            is_shared: memory.shared,
            is_64_bit: memory.memory64,
        }
    }
}

fn kind_of(item: Item) -> &'static str {
    match item {
        Item::Function(_) | Item::ComponentFunction => "function",
        Item::Memory { .. } => "memory",
        Item::Table => "table",
        Item::Global => "global",
        Item::Tag => "tag",
        Item::Instance => "interface",
        Item::Component => "component",
        Item::Module => "module",
        Item::Type => "type",
        Item::Value => "value",
    }
}

/// Returns the type of a function of a module, as `(i32, i64) -> f64`.
fn signature(ty: &FuncType) -> String {
    let list = |values: &[wasmparser::ValType]| {
        let named: Vec<_> = values.iter().take(MAX_VALUES).map(ToString::to_string).collect();
        let more = if values.len() > MAX_VALUES { ", …" } else { "" };
        format!("{}{more}", named.join(", "))
    };
    match ty.results() {
        [] => format!("({})", list(ty.params())),
        [result] => format!("({}) -> {result}", list(ty.params())),
        results => format!("({}) -> ({})", list(ty.params()), list(results)),
    }
}
