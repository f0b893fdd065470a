//! The function that executes a bulk memory instruction chunk by chunk.
//!
//! ```text
//! if length > chunk, and neither end is beyond its memory or segment:
//!     while length > chunk: do a chunk        from the end, if the instruction copies upwards within one memory
//! do the rest                                 if an end is beyond, this is everything, and traps
//! ```

use wasm_encoder::{BlockType, Encode as _, Function, InstructionSink, MemArg, ValType};

use super::instruction::BulkInstruction;

/// The parameters of the function, which are the operands of the instruction. `SOURCE` is a byte value for `memory.fill`.
const DESTINATION: u32 = 0;
const SOURCE: u32 = 1;
const LENGTH: u32 = 2;

/// Appends the encoded type of the function to `types`.
pub(super) fn encode_type(instruction: BulkInstruction, memories: &[ValType], types: &mut Vec<u8>) {
    let OperandTypes { destination, source, length } = OperandTypes::new(instruction, memories);
    types.push(0x60);
    [destination, source, length].encode(types);
    types.push(0);
}

/// Returns the function, which does `chunk` bytes at a time.
pub(super) fn chunked(instruction: BulkInstruction, memories: &[ValType], chunk: u32) -> Function {
    let mut function = Function::new([]);
    let types = OperandTypes::new(instruction, memories);
    let mut code = CodeBuilder { instruction, types, chunk, sink: function.instructions() };
    code.sink.block(BlockType::Empty);
    code.push_is_longer_than_chunk();
    code.sink.i32_eqz().br_if(0);
    code.leave_block_if_end_wraps(DESTINATION);
    code.touch_last_byte(DESTINATION, instruction.written_memory());
    match instruction {
        BulkInstruction::Fill { .. } => code.loop_forwards(),
        BulkInstruction::Init { .. } => {
            code.leave_block_if_end_wraps(SOURCE);
            code.touch_end_of_segment();
            code.loop_forwards();
        }
        BulkInstruction::Copy { to, from } => {
            code.leave_block_if_end_wraps(SOURCE);
            code.touch_last_byte(SOURCE, from);
            code.copy(to == from);
        }
    }
    code.sink.end();
    code.execute_rest();
    code.sink.end();
    function
}

/// The types of the parameters.
#[derive(Clone, Copy)]
struct OperandTypes {
    destination: ValType,
    source: ValType,
    length: ValType,
}

/// Writes the body of the function. "Pushes" means that the written code pushes a value on the stack.
struct CodeBuilder<'a> {
    instruction: BulkInstruction,
    types: OperandTypes,
    chunk: u32,
    sink: InstructionSink<'a>,
}

impl OperandTypes {
    fn new(instruction: BulkInstruction, memories: &[ValType]) -> Self {
        let address = |memory: u32| memories[memory as usize];
        match instruction {
            BulkInstruction::Fill { memory } => {
                Self { destination: address(memory), source: ValType::I32, length: address(memory) }
            }
            BulkInstruction::Init { memory, .. } => {
                Self { destination: address(memory), source: ValType::I32, length: ValType::I32 }
            }
            BulkInstruction::Copy { to, from } => {
                let (destination, source) = (address(to), address(from));
                Self { destination, source, length: if destination == source { destination } else { ValType::I32 } }
            }
        }
    }

    fn parameter(self, index: u32) -> ValType {
        [self.destination, self.source, self.length][index as usize]
    }
}

impl CodeBuilder<'_> {
    /// Pushes whether the length is greater than a chunk.
    fn push_is_longer_than_chunk(&mut self) {
        self.sink.local_get(LENGTH);
        self.constant(self.types.length, self.chunk);
        match self.types.length {
            ValType::I64 => self.sink.i64_gt_u(),
            _ => self.sink.i32_gt_u(),
        };
    }

    /// Leaves the block if the last byte of the operand `side` is beyond the highest address. It may be at that address.
    fn leave_block_if_end_wraps(&mut self, side: u32) {
        self.push_last_address(side);
        self.sink.local_get(side);
        match self.types.parameter(side) {
            ValType::I64 => self.sink.i64_lt_u(),
            _ => self.sink.i32_lt_u(),
        };
        self.sink.br_if(0);
    }

    /// Pushes the address of the last byte of the operand `side`.
    fn push_last_address(&mut self, side: u32) {
        let index = self.types.parameter(side);
        self.sink.local_get(side);
        self.push_length_as(index);
        self.add(index);
        self.constant(index, 1);
        self.subtract(index);
    }

    /// Reads the last byte of the operand `side`. If it is beyond the memory, this traps as the instruction would, before anything is written.
    fn touch_last_byte(&mut self, side: u32, memory: u32) {
        self.push_last_address(side);
        self.sink.i32_load8_u(MemArg { offset: 0, align: 0, memory_index: memory }).drop();
    }

    /// Copies 0 bytes from the end of the source in a segment, which traps in the same way.
    fn touch_end_of_segment(&mut self) {
        let BulkInstruction::Init { memory, segment } = self.instruction else { return };
        self.sink
            .local_get(DESTINATION)
            .local_get(SOURCE)
            .local_get(LENGTH)
            .i32_add()
            .i32_const(0)
            .memory_init(memory, segment);
    }

    /// Copies from the end if the destination is above the source in the same memory, otherwise from the start, so that no byte is
    /// overwritten before it was read.
    fn copy(&mut self, is_same_memory: bool) {
        if !is_same_memory {
            return self.loop_forwards();
        }
        self.sink.local_get(DESTINATION).local_get(SOURCE);
        match self.types.destination {
            ValType::I64 => self.sink.i64_gt_u(),
            _ => self.sink.i32_gt_u(),
        };
        self.sink.if_(BlockType::Empty);
        self.loop_backwards();
        self.sink.else_();
        self.loop_forwards();
        self.sink.end();
    }

    /// Executes chunks from the start, until the rest is at most a chunk.
    fn loop_forwards(&mut self) {
        self.sink.loop_(BlockType::Empty).local_get(DESTINATION).local_get(SOURCE);
        self.constant(self.types.length, self.chunk);
        self.execute();
        self.advance(DESTINATION);
        if !matches!(self.instruction, BulkInstruction::Fill { .. }) {
            self.advance(SOURCE);
        }
        self.shorten();
        self.push_is_longer_than_chunk();
        self.sink.br_if(0).end();
    }

    /// Executes chunks from the end, until the rest is at most a chunk.
    fn loop_backwards(&mut self) {
        self.sink.loop_(BlockType::Empty);
        self.shorten();
        for side in [DESTINATION, SOURCE] {
            self.sink.local_get(side);
            self.push_length_as(self.types.parameter(side));
            self.add(self.types.parameter(side));
        }
        self.constant(self.types.length, self.chunk);
        self.execute();
        self.push_is_longer_than_chunk();
        self.sink.br_if(0).end();
    }

    /// Executes the instruction with the current values of the parameters.
    fn execute_rest(&mut self) {
        self.sink.local_get(DESTINATION).local_get(SOURCE).local_get(LENGTH);
        self.execute();
    }

    fn execute(&mut self) {
        match self.instruction {
            BulkInstruction::Fill { memory } => self.sink.memory_fill(memory),
            BulkInstruction::Copy { to, from } => self.sink.memory_copy(to, from),
            BulkInstruction::Init { memory, segment } => self.sink.memory_init(memory, segment),
        };
    }

    /// Adds a chunk to the operand `side`.
    fn advance(&mut self, side: u32) {
        let index = self.types.parameter(side);
        self.sink.local_get(side);
        self.constant(index, self.chunk);
        self.add(index);
        self.sink.local_set(side);
    }

    /// Subtracts a chunk from the length.
    fn shorten(&mut self) {
        self.sink.local_get(LENGTH);
        self.constant(self.types.length, self.chunk);
        self.subtract(self.types.length);
        self.sink.local_set(LENGTH);
    }

    /// Pushes the length, converted to `index`.
    fn push_length_as(&mut self, index: ValType) {
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
