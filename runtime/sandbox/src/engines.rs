//! `Machine`: a `wasmtime::Engine` with its linkers, one for each profile that anybody uses.
//!
//! The default one is built at start. Any other is built at the first load that asks for it, and kept.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use wasmtime::{Engine, Result};

use super::epoch_ticker::Ticker;
use super::linkers::Linkers;
use super::profile::{self, Profile};

/// What runs the programs of one profile.
#[derive(Debug)]
pub(super) struct Machine {
    pub(super) profile: Profile,
    pub(super) engine: Engine,
    pub(super) linkers: Linkers,
    /// What code must have been made with to run here.
    pub(super) fingerprint: String,
}

/// All machines that there are so far.
#[derive(Debug)]
pub(super) struct Machines {
    default: Arc<Machine>,
    /// Bytes of a guest's stack on each.
    stack: usize,
    further: Mutex<BTreeMap<Profile, Arc<Machine>>>,
}

impl Machine {
    fn new(profile: Profile, engine: Engine) -> Result<Arc<Self>> {
        let linkers = Linkers::new(&engine, profile.is_metered)?;
        let fingerprint = profile::fingerprint(&engine, &profile);
        Ok(Arc::new(Self { profile, engine, linkers, fingerprint }))
    }
}

impl Machines {
    /// With the default machine alone, on `engine`, whose guests have a `stack` of so many bytes.
    pub(super) fn new(engine: Engine, stack: usize) -> Result<Self> {
        Ok(Self { default: Machine::new(Profile::default(), engine)?, stack, further: Mutex::default() })
    }

    pub(super) fn default(&self) -> &Arc<Machine> {
        &self.default
    }

    /// The machine for `profile`; built now, and ticked from now on, if it is the first time.
    pub(super) fn of(&self, profile: Profile, ticker: &Ticker) -> Result<Arc<Machine>> {
        if profile.is_default() {
            return Ok(self.default.clone());
        }
        let mut further = self.further.lock().expect("no panic while the lock is held");
        if let Some(machine) = further.get(&profile) {
            return Ok(machine.clone());
        }
        let machine = Machine::new(profile.clone(), profile::further_engine(&profile, self.stack)?)?;
        ticker.tick_too(&machine.engine);
        further.insert(profile, machine.clone());
        Ok(machine)
    }
}
