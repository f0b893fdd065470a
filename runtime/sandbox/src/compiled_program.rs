//! [`CompiledProgram`] and [`CodeKey`]: the code of a program, and what identifies it.

use std::sync::Arc;

use capstan_store::ProgramSummary;

use super::artifact::Artifact;
use super::engines::ProfileEngine;

/// The code of a program, and the engine that runs it.
#[derive(Clone, Debug)]
pub(super) struct CompiledProgram {
    pub(super) engine: Arc<ProfileEngine>,
    pub(super) artifact: Arc<Artifact>,
}

/// Identifies the code of a program.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct CodeKey {
    /// The digest of the program.
    pub(super) digest: String,
    /// The fingerprint of the engine that runs the code, with that of a snapshot. Of a program whose features are not known yet, what is wanted.
    pub(super) fingerprint: String,
}

impl CodeKey {
    /// Identifies the code of `program` for `engine`. `snapshot` is what follows the fingerprint of the engine in that of the code of a snapshot.
    pub(super) fn new(program: &ProgramSummary, engine: &ProfileEngine, snapshot: &str) -> Self {
        Self { digest: program.digest.clone(), fingerprint: format!("{}{snapshot}", engine.fingerprint) }
    }
}
