//! [`Findings`]: collects the diagnostics of an evaluation.

use std::fmt;

use super::diagnostic::{Diagnostic, Source, Verdict};
use super::mounts::MountRequest;

/// The diagnostics of an evaluation.
#[derive(Debug, Default)]
pub(super) struct Findings(Vec<Diagnostic>);

impl Findings {
    pub(super) fn into_diagnostics(self) -> Vec<Diagnostic> {
        self.0
    }

    /// Adds a requested limit that exceeds the level above. The request is reduced to `granted` if `clamps`, otherwise it is denied.
    pub(super) fn limit(
        &mut self,
        key: &'static str,
        by: Source,
        requested: String,
        granted: String,
        rule: String,
        clamps: bool,
    ) {
        let (verdict, granted) = if clamps { (Verdict::Clamped, Some(granted)) } else { (Verdict::Denied, None) };
        self.0.push(Diagnostic { key, by, requested, verdict, granted, rule });
    }

    /// Adds a mount that is not granted. The request is denied if `denies`, otherwise the mount is left out.
    pub(super) fn mount(&mut self, by: Source, request: &MountRequest, denies: bool, rule: String) {
        let verdict = if denies { Verdict::Denied } else { Verdict::Clamped };
        let name = request.name.as_ref().or(request.path.as_ref()).map_or("a mount", String::as_str);
        let requested = format!("{name} ({})", request.access);
        self.0.push(Diagnostic { key: "mounts", by, requested, verdict, granted: None, rule });
    }

    /// Returns the requests that `rule` allows, and adds the others. They are denied if `denies`, otherwise they are left out.
    pub(super) fn filter<T: Clone + fmt::Display>(
        &mut self,
        key: &'static str,
        by: Source,
        requests: &[T],
        denies: bool,
        rule: impl Fn(&T) -> Result<(), String>,
    ) -> Vec<T> {
        let mut granted = Vec::new();
        for request in requests {
            match rule(request) {
                Ok(()) => granted.push(request.clone()),
                Err(rule) => {
                    let verdict = if denies { Verdict::Denied } else { Verdict::Clamped };
                    self.0.push(Diagnostic { key, by, requested: request.to_string(), verdict, granted: None, rule });
                }
            }
        }
        granted
    }

    /// Returns the granted requests of a manifest and a caller: those that `operator_allows`. If the manifest has a list, a caller gets only
    /// what an entry of that list `covers`.
    pub(super) fn filter_in_turn<T: Clone + fmt::Display>(
        &mut self,
        key: &'static str,
        [manifest, caller]: [Option<&[T]>; 2],
        clamps_manifest: bool,
        operator_allows: impl Fn(&T) -> Result<(), String>,
        covers: impl Fn(&T, &T) -> bool,
    ) -> Vec<T> {
        let of_manifest =
            manifest.map(|requests| self.filter(key, Source::Manifest, requests, !clamps_manifest, &operator_allows));
        let Some(requests) = caller else { return of_manifest.unwrap_or_default() };
        self.filter(key, Source::Caller, requests, true, |request| match &of_manifest {
            Some(granted) if !granted.iter().any(|granted| covers(granted, request)) => {
                Err("the manifest does not request it".to_owned())
            }
            _ => operator_allows(request),
        })
    }
}
