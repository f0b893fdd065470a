//! Snapshots: a program is initialised once, and its runs start from the image of its memory.
//!
//! Taking one has three steps:
//! 1. A compiling child [instruments](instrument()) the program, so that its globals and memories are exported, and compiles it.
//! 2. The daemon runs its initialisation in the sandbox, like any other run and with fewer rights, and writes its [image](image::Image): see
//!    [`Initialiser`].
//! 3. Another compiling child puts the image into the program, see [`embed`], and checks and compiles the result.
//!
//! The daemon itself parses neither the program nor the image. Only the compiled code is stored. It is made again from the program as it was
//! pushed, if it is damaged or another version of wasmtime needs it.

mod fingerprint;
mod image;
mod initialise;
mod rewrite;

pub(super) use self::initialise::Initialiser;
pub(super) use self::rewrite::{embed, instrument};
