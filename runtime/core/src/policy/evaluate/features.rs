//! WebAssembly features: the operator allows them, a manifest may allow fewer, and a caller cannot change them.

use crate::feature::Features;
use crate::policy::ceiling::Ceiling;
use crate::policy::diagnostic::Source;
use crate::policy::findings::Findings;
use crate::policy::request::PolicyRequest;

const ONLY_MANIFEST: &str = "features change how code is compiled, so a caller cannot choose them; the program decides which it uses, and `features` \
                             under [policy] in its job.toml which it may use";

impl Ceiling {
    /// Returns the features that code may use. One that the manifest names and the operator does not allow is always denied, because code
    /// that needs it cannot run without it.
    pub(super) fn evaluate_features(
        &self,
        manifest: &PolicyRequest,
        caller: &PolicyRequest,
        findings: &mut Findings,
    ) -> Features {
        let named: Vec<_> = manifest.features.as_ref().unwrap_or(&self.features).iter().copied().collect();
        let granted = findings.filter("features", Source::Manifest, &named, true, |feature| {
            let is_allowed = self.features.contains(feature);
            if is_allowed {
                Ok(())
            } else {
                Err("the operator does not list it in `features` under [policy]".to_owned())
            }
        });
        if let Some(of_caller) = &caller.features {
            let different: Vec<_> = of_caller.symmetric_difference(&named.iter().copied().collect()).copied().collect();
            findings.filter("features", Source::Caller, &different, true, |_| Err(ONLY_MANIFEST.to_owned()));
        }
        granted.into_iter().collect()
    }
}
