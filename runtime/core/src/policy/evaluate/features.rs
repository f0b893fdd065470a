//! WebAssembly features: the operator allows them, the manifest requests them, and a caller cannot change them.

use crate::feature::Features;
use crate::policy::ceiling::Ceiling;
use crate::policy::diagnostic::Source;
use crate::policy::findings::Findings;
use crate::policy::request::PolicyRequest;

const ONLY_MANIFEST: &str = "features change how code is compiled, so only the manifest can request them: `features` under [policy] in its job.toml";

impl Ceiling {
    /// Returns the features with which code is compiled. One that the operator does not allow is always denied, because code that needs it
    /// cannot run without it.
    pub(super) fn evaluate_features(
        &self,
        manifest: &PolicyRequest,
        caller: &PolicyRequest,
        findings: &mut Findings,
    ) -> Features {
        let requested: Vec<_> = manifest.features.iter().flatten().copied().collect();
        let granted = findings.filter("features", Source::Manifest, &requested, true, |feature| {
            let is_allowed = self.features.contains(feature);
            if is_allowed {
                Ok(())
            } else {
                Err("the operator does not list it in `features` under [policy]".to_owned())
            }
        });
        if let Some(of_caller) = &caller.features {
            let different: Vec<_> =
                of_caller.symmetric_difference(&requested.iter().copied().collect()).copied().collect();
            findings.filter("features", Source::Caller, &different, true, |_| Err(ONLY_MANIFEST.to_owned()));
        }
        granted.into_iter().collect()
    }
}
