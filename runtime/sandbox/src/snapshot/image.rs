//! [`Image`]: the globals and memories of an initialised instance, on their way from the daemon to a compiling child.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::ops::Range;

use serde::{Deserialize, Serialize};
use wasmtime::{AsContextMut, Extern, Instance, Val};
use wasmtime_wizer::{InstanceState, SnapshotVal, ValType};

/// The start of the names under which an instrumented program exports its state.
const STATE_PREFIX: &str = "__wizer_";

/// The state of an instance, as a child reads it.
#[derive(Debug)]
pub(super) struct Image<'a> {
    index: Index,
    memories: &'a [u8],
}

/// What an image contains. Its text precedes the memories in a file.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Index {
    globals: BTreeMap<String, Value>,
    /// Where each memory is, in bytes after the index.
    memories: BTreeMap<String, Range<usize>>,
}

/// The value of a global. Floats are their bits, and a vector is its bytes in little-endian.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum Value {
    I32(i32),
    I64(i64),
    F32(u32),
    F64(u64),
    V128([u8; 16]),
}

/// Writes the state of `instance`, which is one of an instrumented module, to `file`.
///
/// # Errors
/// If `file` cannot be written.
pub(super) fn write(file: &mut impl Write, instance: &Instance, mut store: impl AsContextMut) -> io::Result<()> {
    let (mut index, mut memories, mut end) = (Index::default(), Vec::new(), 0);
    let exports: Vec<_> =
        instance.exports(&mut store).map(|export| (export.name().to_owned(), export.into_extern())).collect();
    for (name, export) in exports.into_iter().filter(|(name, _)| name.starts_with(STATE_PREFIX)) {
        match export {
            Extern::Global(global) => {
                // The instrumentation rejects mutable globals with references.
                index.globals.extend(Value::new(&global.get(&mut store)).map(|value| (name, value)));
            }
            Extern::Memory(memory) => {
                let start = end;
                end += memory.data_size(&store);
                index.memories.insert(name, start..end);
                memories.push(memory);
            }
            _ => {}
        }
    }
    let text = serde_json::to_vec(&index).expect("plain data");
    file.write_all(&(text.len() as u64).to_le_bytes())?;
    file.write_all(&text)?;
    memories.iter().try_for_each(|memory| file.write_all(memory.data(&store)))
}

impl<'a> Image<'a> {
    /// Returns the image in `bytes`, or `None` if they are none.
    pub(super) fn read(bytes: &'a [u8]) -> Option<Self> {
        let (size, rest) = bytes.split_first_chunk()?;
        let (text, memories) = rest.split_at_checked(usize::try_from(u64::from_le_bytes(*size)).ok()?)?;
        let index: Index = serde_json::from_slice(text).ok()?;
        index.memories.values().all(|range| memories.get(range.clone()).is_some()).then_some(Self { index, memories })
    }
}

impl Value {
    fn new(value: &Val) -> Option<Self> {
        match *value {
            Val::I32(value) => Some(Self::I32(value)),
            Val::I64(value) => Some(Self::I64(value)),
            Val::F32(bits) => Some(Self::F32(bits)),
            Val::F64(bits) => Some(Self::F64(bits)),
            Val::V128(bits) => Some(Self::V128(bits.as_u128().to_le_bytes())),
            _ => None,
        }
    }
}

/// The names are those that wasmtime-wizer gave to what it exports, and an image has all of these exports.
impl InstanceState for Image<'_> {
    async fn global_get(&mut self, name: &str, _: ValType) -> SnapshotVal {
        match self.index.globals[name] {
            Value::I32(value) => SnapshotVal::I32(value),
            Value::I64(value) => SnapshotVal::I64(value),
            Value::F32(bits) => SnapshotVal::F32(bits),
            Value::F64(bits) => SnapshotVal::F64(bits),
            Value::V128(bytes) => SnapshotVal::V128(u128::from_le_bytes(bytes)),
        }
    }

    async fn memory_contents(&mut self, name: &str, contents: impl FnOnce(&[u8]) + Send) {
        contents(&self.memories[self.index.memories[name].clone()]);
    }
}
