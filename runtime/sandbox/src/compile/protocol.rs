//! What the daemon and the compiling child send to each other. Both are the same executable, so the format may change with every build.

use capstan_confinement::Mode;
use capstan_core::feature::Features;
use capstan_engine::handler::Kind;
use serde::{Deserialize, Serialize};

use crate::LoadError;
use crate::artifact::Receipt;
use crate::compile_limits::CompileBudget;

/// The request to the child: JSON in its only argument.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct CompileRequest {
    pub(crate) budget: CompileBudget,
    pub(crate) confine: Mode,
    /// The program to compile. `None` asks the child only to report how it is confined.
    pub(crate) program: Option<ProgramInput>,
}

/// Describes the program on the child's stdin.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ProgramInput {
    pub(crate) kind: Kind,
    pub(crate) step: Step,
    /// The features that it may use.
    pub(crate) allowed: Features,
    /// Whether its code shall count fuel.
    pub(crate) is_metered: bool,
    /// The size of a memory in the default profile, in bytes. A program of another profile gets what its run may have.
    pub(crate) max_memory: u64,
}

/// What the child does to the program before it compiles it.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Step {
    /// Nothing.
    Compile,
    /// It instruments the program, so that its state can be read.
    Instrument,
    /// It puts into the program the image that follows it after `size` bytes.
    Embed { size: usize },
}

/// Describes the code that the child writes to its stdout.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct CompiledCode {
    /// The features that the program uses.
    pub(crate) features: Features,
    pub(crate) receipt: Receipt,
}

/// The response of the child: JSON on its stderr. It describes the code; or it is a
/// [`ConfinementReport`](capstan_confinement::ConfinementReport) if there was no program to compile.
pub(crate) type CompileResponse<T = CompiledCode> = Result<T, LoadError>;
