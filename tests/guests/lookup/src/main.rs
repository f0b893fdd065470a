//! Fills a map of 20,000 entries when it is initialised, or else when it starts. Prints how many entries it finds, its first argument, the
//! variable NUMBER and a random number, as JSON.
//!
//! The map has no random keys, since all runs share it. Maps that a run creates have keys of their own.

#![expect(unsafe_code, reason = "the attribute that names an export is unsafe")]
#![expect(clippy::disallowed_methods, reason = "a guest reads its own variables")]

use std::collections::BTreeMap;
use std::env;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::OnceLock;

static ENTRIES: OnceLock<BTreeMap<String, u32>> = OnceLock::new();

fn entries() -> &'static BTreeMap<String, u32> {
    ENTRIES.get_or_init(|| (0..20_000).map(|number| (format!("key {number}"), number)).collect())
}

// SAFETY: no other function has this name.
#[unsafe(export_name = "wizer-initialize")]
extern "C" fn initialize() {
    entries();
}

fn main() {
    let entries = entries();
    assert_eq!(entries.get("key 19999"), Some(&19_999));
    let argument = env::args().nth(1).unwrap_or_default();
    let variable = env::var("NUMBER").unwrap_or_default();
    let random = RandomState::new().hash_one("");
    println!(
        "{{\"entries\":{},\"argument\":\"{argument}\",\"variable\":\"{variable}\",\"random\":\"{random:016x}\"}}",
        entries.len()
    );
}
