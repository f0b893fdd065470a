//! `DeterminismArgs`: the options that make a run repeatable.

use std::num::NonZeroU64;

use capstan_core::determinism::{Clock, Random};
use capstan_core::policy::PolicyRequest;
use clap::Args;

/// The options that make runs of the same input equal.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Repeatable runs")]
pub(super) struct DeterminismArgs {
    /// Make runs of the same input equal: short for `--clock fixed --seed 0` [default: off]
    ///
    /// --clock and --seed override their part of it. Add --fuel to stop every run at the same instruction.
    #[arg(long)]
    deterministic: bool,
    /// Maximum fuel, in units of about one WebAssembly instruction [default: no limit, fuel is not counted]
    ///
    /// Fuel is counted exactly: the same run takes the same fuel on every machine. Capstan kills a run that uses more (exit code
    /// 137).
    /// Example: --fuel 100000000
    #[arg(long, value_name = "UNITS")]
    fuel: Option<NonZeroU64>,
    /// Clock of the guest: real, coarse, fixed, or a time [default: real]
    ///
    /// `coarse` shows whole milliseconds. `fixed` always shows 2000-01-01T00:00:00Z. A time such as 2026-01-01T00:00:00Z always shows that
    /// time.
    #[arg(long, value_name = "CLOCK")]
    clock: Option<Clock>,
    /// Seed of the random bytes of the guest, 0 to 2^64 - 1 [default: real random bytes]
    ///
    /// Seeded bytes are the same in every run and are not secret: do not seed a program that generates keys.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
}

impl DeterminismArgs {
    /// Returns the part of a policy request that these options set.
    pub(super) fn to_request(&self) -> PolicyRequest {
        let default_clock = self.deterministic.then_some(Clock::DEFAULT_FIXED);
        let default_seed = self.deterministic.then_some(0);
        PolicyRequest {
            fuel: self.fuel,
            clock: self.clock.or(default_clock),
            random: self.seed.or(default_seed).map(Random::Seeded),
            ..PolicyRequest::EMPTY
        }
    }
}
