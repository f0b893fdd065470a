//! The three standard streams of a guest: the pipes of a job behind the stream traits of wasmtime-wasi.
//!
//! There is no task between a guest and its pipe. What the guest writes goes directly into the pipe. What does not fit is kept, and the
//! guest waits until the pipe has taken it. Output is counted, and ends exactly at its cap.

mod preview1;
mod preview3;
mod stdin;
mod stdout;

pub(super) use self::preview1::{Stdio, check_readable, try_write, write};
pub(super) use self::preview3::{HasStandardStreams, StandardStreams};
pub(super) use self::stdin::Stdin;
pub(super) use self::stdout::{CapReached, Stdout, flush_at_pauses};

/// How many bytes a guest may write or read at a time. It is also the size of the chunks that a guest reads if each run must be the same.
const CHUNK_SIZE: usize = 64 << 10;
