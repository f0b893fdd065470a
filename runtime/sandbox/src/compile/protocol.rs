//! What the daemon and the compiling child send to each other. Both are the same executable, so the format may change with every build.

use capstan_confinement::Mode;
use capstan_engine::handler::Kind;
use serde::{Deserialize, Serialize};

use crate::LoadError;
use crate::artifact::Receipt;
use crate::compile_limits::CompileBudget;
use crate::profile::Profile;

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
    /// The profile whose engine shall run the code.
    pub(crate) profile: Profile,
    /// The most memory that a run of it may have, in bytes. `None` if that is not known yet.
    pub(crate) max_memory: Option<u64>,
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

/// The response of the child: JSON on its stderr. It contains a [`Receipt`] for the code, which is on its stdout; or a
/// [`ConfinementReport`](capstan_confinement::ConfinementReport) if there was no program to compile.
pub(crate) type CompileResponse<T = Receipt> = Result<T, LoadError>;
