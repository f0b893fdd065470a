//! [`Ceiling`]: what the operator allows.

use std::collections::BTreeMap;
use std::sync::Arc;

use cap_std::fs::Dir;
use serde::Deserialize;

use super::http::HttpRule;
use super::mounts::Prefix;
use super::network::Rule;
use super::offered_secret::OfferedSecret;
use crate::env::Env;
use crate::feature::{Feature, Features};
use crate::limits::Limits;
use crate::mount::Mount;

/// What the operator allows. [`Ceiling::default`] has the limits of a daemon without a configuration, and grants nothing.
#[derive(Clone, Debug)]
pub struct Ceiling {
    pub limits: Limits,
    /// Directories that may be granted, by name, each with its maximum access.
    pub mounts: BTreeMap<String, Mount>,
    /// Variables of the daemon's environment that may be passed on.
    pub env: Env,
    /// Secrets that may be granted, by name.
    pub secrets: BTreeMap<String, OfferedSecret>,
    pub excess: Excess,
    /// The parts of the network that may be granted.
    pub network: Vec<Rule>,
    /// The HTTP requests that may be granted. Their own secrets and fields do not count: [`Ceiling::secrets`] has what may be granted.
    pub http: Vec<HttpRule>,
    /// Directories of the host below which any path may be granted.
    pub prefixes: Vec<Prefix>,
    /// Maximum size of a scratch directory in bytes. Default: 64 MiB.
    pub scratch: u64,
    /// The directory in which scratch directories are created. Without it there are none.
    pub scratch_folder: Option<Arc<Dir>>,
    /// WebAssembly features that programs may use. Default: [`Feature::allowed_by_default`].
    pub features: Features,
}

/// What happens to a manifest that requests more than the ceiling allows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Excess {
    /// It gets what the ceiling allows, and a diagnostic reports the difference.
    #[default]
    Clamp,
    /// It is rejected when it is pushed. If the ceiling was lowered later, its jobs are rejected.
    Refuse,
}

impl Default for Ceiling {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            mounts: BTreeMap::new(),
            env: Env::new(),
            secrets: BTreeMap::new(),
            excess: Excess::default(),
            network: Vec::new(),
            http: Vec::new(),
            features: Feature::allowed_by_default(),
            prefixes: Vec::new(),
            scratch: 64 << 20,
            scratch_folder: None,
        }
    }
}

impl Ceiling {
    /// Creates a ceiling with these limits that grants nothing.
    pub fn with_limits(limits: Limits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// Returns the longest prefix that contains `path`, and the rest of `path`.
    pub(super) fn prefix<'a>(&self, path: &'a str) -> Option<(&Prefix, &'a str)> {
        let matching = self.prefixes.iter().filter_map(|prefix| Some((prefix, prefix.strip(path)?)));
        matching.max_by_key(|(prefix, _)| prefix.path.len())
    }
}
