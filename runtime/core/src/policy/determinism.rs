//! What a run learns of time and chance: whoever stands below may take precision away, and nobody gives it back.

use super::Narrow;
use crate::determinism::{Clock, Random};

impl Narrow<'_> {
    /// The vaguer of both. Where both stand, the one that is asked for: neither tells anything of the time.
    pub(super) fn clock(&mut self, have: Clock, asked: Option<Clock>) -> Clock {
        let Some(asked) = asked else { return have };
        if asked.vagueness() >= have.vagueness() {
            return asked;
        }
        let rule = format!("the {}'s clock is {have}", self.above);
        self.notes.limit("clock", self.by, asked.to_string(), have.to_string(), rule, self.clamps);
        have
    }

    /// The one that is asked for, unless that is chance where there is none.
    pub(super) fn random(&mut self, have: Random, asked: Option<Random>) -> Random {
        match (have, asked) {
            (have, None) => have,
            (have @ Random::Seeded(_), Some(Random::Real)) => {
                let rule = format!("the {}'s random is of {have}", self.above);
                self.notes.limit("random", self.by, Random::Real.to_string(), have.to_string(), rule, self.clamps);
                have
            }
            (_, Some(asked)) => asked,
        }
    }
}
