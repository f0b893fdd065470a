//! [`ProfileEngine`]: a `wasmtime::Engine` with its linkers, one for each profile in use.
//!
//! The engine of the default profile is created at startup. Any other is created by the first load that needs it, and stays.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use capstan_core::feature::Feature;
use wasmtime::{Engine, Result};

use super::epoch_ticker::EpochTicker;
use super::linkers::Linkers;
use super::profile::{self, Profile};

/// Runs the programs of one profile.
#[derive(Debug)]
pub(super) struct ProfileEngine {
    pub(super) profile: Profile,
    pub(super) engine: Engine,
    pub(super) linkers: Linkers,
    /// The fingerprint that compiled code must have to run on this engine.
    pub(super) fingerprint: String,
}

/// The engines that exist so far.
#[derive(Debug)]
pub(super) struct ProfileEngines {
    default: Arc<ProfileEngine>,
    /// Bytes of the stack of each guest.
    stack: usize,
    /// Advances the epoch of every engine.
    ticker: Arc<EpochTicker>,
    others: Mutex<BTreeMap<Profile, Arc<ProfileEngine>>>,
}

impl ProfileEngine {
    fn new(profile: Profile, engine: Engine) -> Arc<Self> {
        let linkers = Linkers::new(&engine, profile.is_metered, profile.has(Feature::P3));
        let fingerprint = profile::fingerprint(&engine, &profile);
        Arc::new(Self { profile, engine, linkers, fingerprint })
    }
}

impl ProfileEngines {
    /// Creates the set with `default` as the engine of the default profile. Guests of further engines get a stack of `stack` bytes.
    /// `ticker` advances the epoch of `default` already.
    pub(super) fn new(default: Engine, stack: usize, ticker: Arc<EpochTicker>) -> Self {
        let default = ProfileEngine::new(Profile::default(), default);
        Self { default, stack, ticker, others: Mutex::default() }
    }

    /// Returns the engine of the default profile.
    pub(super) fn default(&self) -> &Arc<ProfileEngine> {
        &self.default
    }

    /// Returns the engine for `profile`. The first call for a profile creates it, and has its epoch advanced from then on.
    pub(super) fn get_or_create(&self, profile: Profile) -> Result<Arc<ProfileEngine>> {
        if profile.is_default() {
            return Ok(self.default.clone());
        }
        let mut others = self.others.lock().expect("no panic while the lock is held");
        if let Some(engine) = others.get(&profile) {
            return Ok(engine.clone());
        }
        let engine = ProfileEngine::new(profile.clone(), profile::on_demand_engine(&profile, self.stack)?);
        self.ticker.add_engine(&engine.engine);
        others.insert(profile, engine.clone());
        Ok(engine)
    }
}
