//! [`SharedPrograms`]: the linked programs in use, so that all handlers with the same program share its code in memory.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, Weak};

use super::LoadError;
use super::artifact::Artifact;
use super::engines::ProfileEngine;
use super::invoke;
use super::link::LinkedProgram;

/// The linked programs in use, by the digest of the program and the fingerprint of its engine.
#[derive(Debug, Default)]
pub(super) struct SharedPrograms(Mutex<HashMap<(String, String), Weak<LinkedProgram>>>);

impl SharedPrograms {
    /// Returns the program `digest` if a handler has it on `engine`.
    pub(super) fn get(&self, engine: &Arc<ProfileEngine>, digest: &str) -> Option<Arc<LinkedProgram>> {
        let linked = self.programs().get(&key(engine, digest)).and_then(Weak::upgrade)?;
        Arc::ptr_eq(&linked.engine, engine).then_some(linked)
    }

    /// Links the program `digest` for `engine`, unless a handler has it already.
    ///
    /// # Errors
    /// [`LoadError`]
    pub(super) fn get_or_link(
        &self,
        engine: Arc<ProfileEngine>,
        digest: &str,
        artifact: &Artifact,
    ) -> Result<Arc<LinkedProgram>, LoadError> {
        if let Some(linked) = self.get(&engine, digest) {
            return Ok(linked);
        }
        let key = key(&engine, digest);
        // Without the lock, because it takes a while. Two loads at the same time may both link.
        let linked = Arc::new(LinkedProgram::new(engine, artifact)?);
        invoke::check(&linked.code, &linked.engine.engine)?;
        let mut programs = self.programs();
        programs.retain(|_, program| program.strong_count() > 0);
        programs.insert(key, Arc::downgrade(&linked));
        Ok(linked)
    }

    fn programs(&self) -> MutexGuard<'_, HashMap<(String, String), Weak<LinkedProgram>>> {
        self.0.lock().expect("no panic while the lock is held")
    }
}

fn key(engine: &ProfileEngine, digest: &str) -> (String, String) {
    (digest.to_owned(), engine.fingerprint.clone())
}
