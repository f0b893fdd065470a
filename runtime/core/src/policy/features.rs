//! Features of WebAssembly: allowed by the operator, asked for by the manifest, and nothing that a caller has a say in.

use super::diagnostic::{Named, Notes};
use super::{Ceiling, PolicyRequest, Source};
use crate::feature::{Feature, Features};

/// Why a caller cannot change what the code of a handler is made of.
const SHAPES_CODE: &str =
    "features shape compiled code, so the manifest alone asks for them: `features` under [policy] in its job.toml";

impl Ceiling {
    /// The features that code is compiled with. One that is not allowed is denied whatever becomes of other excess: code that needs it
    /// cannot do without.
    pub(super) fn features(&self, manifest: &PolicyRequest, caller: &PolicyRequest, notes: &mut Notes) -> Features {
        let wanted: Vec<_> = manifest.features.iter().flatten().copied().collect();
        let granted = notes.granted("features", Source::Manifest, &wanted, true, |feature| {
            let allowed = self.features.contains(feature);
            if allowed { Ok(()) } else { Err("the operator does not list it in `features` under [policy]".to_owned()) }
        });
        if let Some(asked) = &caller.features {
            let strange: Vec<_> = asked.symmetric_difference(&wanted.iter().copied().collect()).copied().collect();
            notes.granted("features", Source::Caller, &strange, true, |_| Err(SHAPES_CODE.to_owned()));
        }
        granted.into_iter().collect()
    }
}

impl Named for Feature {
    fn name(&self) -> String {
        self.to_string()
    }
}
