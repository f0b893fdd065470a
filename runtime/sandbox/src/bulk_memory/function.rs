//! The function that does a stroke piece by piece.
//!
//! ```text
//! if length > piece, and neither end lies beyond its memory or segment:
//!     while length > piece: do a piece        from the end where the memory is copied upwards within itself
//! do the rest                                 which is all of it, and traps, where an end lies beyond
//! ```

use wasm_encoder::{BlockType, Encode as _, Function, InstructionSink, MemArg, ValType};

use super::Stroke;

/// Its parameters: where to, what with (a byte, or where from), how much.
const TO: u32 = 0;
const WHAT: u32 = 1;
const LENGTH: u32 = 2;

/// Writes the type of the function.
pub(super) fn signature(stroke: Stroke, memories: &[ValType], types: &mut Vec<u8>) {
    let Types { to, what, length } = Types::of(stroke, memories);
    types.push(0x60);
    [to, what, length].encode(types);
    types.push(0);
}

/// The function, with `piece` bytes at a time.
pub(super) fn in_pieces(stroke: Stroke, memories: &[ValType], piece: u32) -> Function {
    let mut function = Function::new([]);
    let types = Types::of(stroke, memories);
    let mut code = Code { stroke, types, piece, sink: function.instructions() };
    code.sink.block(BlockType::Empty);
    code.is_longer();
    code.sink.i32_eqz().br_if(0);
    code.leave_if_it_wraps(TO);
    code.touch_last(TO, stroke.memory());
    match stroke {
        Stroke::Fill { .. } => code.forwards(),
        Stroke::Init { .. } => {
            code.leave_if_it_wraps(WHAT);
            code.touch_segment();
            code.forwards();
        }
        Stroke::Copy { to, from } => {
            code.leave_if_it_wraps(WHAT);
            code.touch_last(WHAT, from);
            code.copy(to == from);
        }
    }
    code.sink.end();
    code.whole();
    code.sink.end();
    function
}

/// The types of the parameters.
#[derive(Clone, Copy)]
struct Types {
    to: ValType,
    what: ValType,
    length: ValType,
}

struct Code<'a> {
    stroke: Stroke,
    types: Types,
    piece: u32,
    sink: InstructionSink<'a>,
}

impl Stroke {
    /// The memory that is written.
    fn memory(self) -> u32 {
        match self {
            Self::Fill { memory } | Self::Init { memory, .. } | Self::Copy { to: memory, .. } => memory,
        }
    }
}

impl Types {
    fn of(stroke: Stroke, memories: &[ValType]) -> Self {
        let memory = |index: u32| memories[index as usize];
        match stroke {
            Stroke::Fill { memory: to } => Self { to: memory(to), what: ValType::I32, length: memory(to) },
            Stroke::Init { memory: to, .. } => Self { to: memory(to), what: ValType::I32, length: ValType::I32 },
            Stroke::Copy { to, from } => {
                let (to, what) = (memory(to), memory(from));
                Self { to, what, length: if to == what { to } else { ValType::I32 } }
            }
        }
    }

    fn parameter(self, index: u32) -> ValType {
        [self.to, self.what, self.length][index as usize]
    }
}

impl Code<'_> {
    /// Leaves whether the length is longer than a piece.
    fn is_longer(&mut self) {
        self.sink.local_get(LENGTH);
        self.constant(self.types.length, self.piece);
        match self.types.length {
            ValType::I64 => self.sink.i64_gt_u(),
            _ => self.sink.i32_gt_u(),
        };
    }

    /// Leaves the block where the end of a side is beyond the last address that there can be. An end at just that is no wrap.
    fn leave_if_it_wraps(&mut self, side: u32) {
        self.last_of(side);
        self.sink.local_get(side);
        match self.types.parameter(side) {
            ValType::I64 => self.sink.i64_lt_u(),
            _ => self.sink.i32_lt_u(),
        };
        self.sink.br_if(0);
    }

    /// Leaves the last address of a side.
    fn last_of(&mut self, side: u32) {
        let index = self.types.parameter(side);
        self.sink.local_get(side);
        self.length_as(index);
        self.add(index);
        self.constant(index, 1);
        self.subtract(index);
    }

    /// Reads the last byte of a side, which traps as the stroke would if it is not there: before anything is written.
    fn touch_last(&mut self, side: u32, memory: u32) {
        self.last_of(side);
        self.sink.i32_load8_u(MemArg { offset: 0, align: 0, memory_index: memory }).drop();
    }

    /// Copies nothing from the end in a segment, which traps in the same way.
    fn touch_segment(&mut self) {
        let Stroke::Init { memory, segment } = self.stroke else { return };
        self.sink.local_get(TO).local_get(WHAT).local_get(LENGTH).i32_add().i32_const(0).memory_init(memory, segment);
    }

    /// Copies: upwards within one memory from the end, else from the beginning, so that nothing is written before it was read.
    fn copy(&mut self, is_within_one: bool) {
        if !is_within_one {
            return self.forwards();
        }
        self.sink.local_get(TO).local_get(WHAT);
        match self.types.to {
            ValType::I64 => self.sink.i64_gt_u(),
            _ => self.sink.i32_gt_u(),
        };
        self.sink.if_(BlockType::Empty);
        self.backwards();
        self.sink.else_();
        self.forwards();
        self.sink.end();
    }

    /// Pieces from the beginning, until the rest is none that is longer.
    fn forwards(&mut self) {
        self.sink.loop_(BlockType::Empty).local_get(TO).local_get(WHAT);
        self.constant(self.types.length, self.piece);
        self.stroke();
        self.forward(TO);
        if !matches!(self.stroke, Stroke::Fill { .. }) {
            self.forward(WHAT);
        }
        self.shorten();
        self.is_longer();
        self.sink.br_if(0).end();
    }

    /// The same from the end.
    fn backwards(&mut self) {
        self.sink.loop_(BlockType::Empty);
        self.shorten();
        for side in [TO, WHAT] {
            self.sink.local_get(side);
            self.length_as(self.types.parameter(side));
            self.add(self.types.parameter(side));
        }
        self.constant(self.types.length, self.piece);
        self.stroke();
        self.is_longer();
        self.sink.br_if(0).end();
    }

    /// The stroke, of what the parameters are now.
    fn whole(&mut self) {
        self.sink.local_get(TO).local_get(WHAT).local_get(LENGTH);
        self.stroke();
    }

    fn stroke(&mut self) {
        match self.stroke {
            Stroke::Fill { memory } => self.sink.memory_fill(memory),
            Stroke::Copy { to, from } => self.sink.memory_copy(to, from),
            Stroke::Init { memory, segment } => self.sink.memory_init(memory, segment),
        };
    }

    fn forward(&mut self, side: u32) {
        let index = self.types.parameter(side);
        self.sink.local_get(side);
        self.constant(index, self.piece);
        self.add(index);
        self.sink.local_set(side);
    }

    fn shorten(&mut self) {
        self.sink.local_get(LENGTH);
        self.constant(self.types.length, self.piece);
        self.subtract(self.types.length);
        self.sink.local_set(LENGTH);
    }

    /// Leaves the length, as an address of this type.
    fn length_as(&mut self, index: ValType) {
        self.sink.local_get(LENGTH);
        if index == ValType::I64 && self.types.length == ValType::I32 {
            self.sink.i64_extend_i32_u();
        }
    }

    fn constant(&mut self, ty: ValType, value: u32) {
        match ty {
            ValType::I64 => self.sink.i64_const(value.into()),
            _ => self.sink.i32_const(value.cast_signed()),
        };
    }

    fn add(&mut self, ty: ValType) {
        match ty {
            ValType::I64 => self.sink.i64_add(),
            _ => self.sink.i32_add(),
        };
    }

    fn subtract(&mut self, ty: ValType) {
        match ty {
            ValType::I64 => self.sink.i64_sub(),
            _ => self.sink.i32_sub(),
        };
    }
}
