//! [`SharedPrograms`]: the linked programs in use, so that all handlers with the same program share its code in memory.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, Weak};

use super::LoadError;
use super::artifact::Artifact;
use super::compiled_program::CodeKey;
use super::engines::ProfileEngine;
use super::invoke;
use super::link::LinkedProgram;

/// The linked programs in use.
#[derive(Debug, Default)]
pub(super) struct SharedPrograms(Mutex<HashMap<CodeKey, Weak<LinkedProgram>>>);

impl SharedPrograms {
    /// Returns the program with the code `key` if a handler has it on `engine`.
    pub(super) fn get(&self, key: &CodeKey, engine: &Arc<ProfileEngine>) -> Option<Arc<LinkedProgram>> {
        let linked = self.programs().get(key).and_then(Weak::upgrade)?;
        Arc::ptr_eq(&linked.engine, engine).then_some(linked)
    }

    /// Links the program with the code `key`, which is in `artifact`, for `engine`, unless a handler has it already.
    ///
    /// # Errors
    /// [`LoadError`]
    pub(super) fn get_or_link(
        &self,
        key: CodeKey,
        engine: Arc<ProfileEngine>,
        artifact: &Artifact,
    ) -> Result<Arc<LinkedProgram>, LoadError> {
        if let Some(linked) = self.get(&key, &engine) {
            return Ok(linked);
        }
        // Without the lock, because it takes a while. Two loads at the same time may both link.
        let linked = Arc::new(LinkedProgram::new(engine, artifact)?);
        invoke::check(&linked.code, &linked.engine.engine)?;
        let mut programs = self.programs();
        programs.retain(|_, program| program.strong_count() > 0);
        programs.insert(key, Arc::downgrade(&linked));
        Ok(linked)
    }

    fn programs(&self) -> MutexGuard<'_, HashMap<CodeKey, Weak<LinkedProgram>>> {
        self.0.lock().expect("no panic while the lock is held")
    }
}
