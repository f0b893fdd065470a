//! Flags that make a run the same each time, and those of what its code is made of.

use std::num::NonZeroU64;

use capstan_core::determinism::{Clock, Random};
use capstan_core::feature::Feature;
use capstan_core::limits::Overflow;
use capstan_core::policy::PolicyRequest;
use clap::Args;

/// What is asked of a run that is to be the same each time.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct SamenessArgs {
    /// Let each run of the same input be the same: `--clock fixed --seed 0` unless those say otherwise.
    #[arg(long)]
    deterministic: bool,
    /// Kill it when it computes for more units of fuel, about an instruction each. They are counted exactly, and the same in each run.
    #[arg(long, value_name = "UNITS")]
    fuel: Option<NonZeroU64>,
    /// The clocks it sees: real, coarse (whole milliseconds), fixed, or an instant at which they stand.
    #[arg(long, value_name = "CLOCK")]
    clock: Option<Clock>,
    /// Give it the random bytes of this seed.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Throw away what it prints beyond its limits, and let it go on.
    #[arg(long)]
    truncate: bool,
    /// Compile it with a feature that is off otherwise: memory64, multi-memory, custom-page-sizes, wide-arithmetic. Of a FILE.wasm only.
    #[arg(long, value_name = "FEATURE")]
    feature: Vec<Feature>,
}

impl SamenessArgs {
    pub(super) fn asked(self) -> PolicyRequest {
        let fixed = self.deterministic.then_some(Clock::DEFAULT_FIXED);
        let seeded = self.deterministic.then_some(0);
        PolicyRequest {
            features: (!self.feature.is_empty()).then(|| self.feature.into_iter().collect()),
            fuel: self.fuel,
            clock: self.clock.or(fixed),
            random: self.seed.or(seeded).map(Random::Seeded),
            output: self.truncate.then_some(Overflow::Truncate),
            ..PolicyRequest::EMPTY
        }
    }
}
