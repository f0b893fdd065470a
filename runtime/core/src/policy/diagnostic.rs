//! `Diagnostic`: one thing that was asked for and not given, by which rule.

use std::fmt;

use serde::Serialize;

/// One thing that was asked for and not given as it was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// The key of the policy that it is about.
    pub key: &'static str,
    pub by: Source,
    pub asked: String,
    pub verdict: Verdict,
    /// What is given instead; nothing where it is denied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub granted: Option<String>,
    /// The rule that stands against it.
    pub rule: String,
}

/// Who has a say in a policy, from the top.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    Operator,
    Manifest,
    Caller,
}

/// What became of what was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Less is given.
    Clamped,
    /// The run is not begun.
    Denied,
}

/// A policy that is denied: all that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denied(pub Vec<Diagnostic>);

impl Denied {
    /// A scratch directory that there is no place for.
    pub(super) fn scratch(bytes: u64) -> Self {
        let (by, verdict, rule) = (Source::Caller, Verdict::Denied, "there is no place for it".to_owned());
        Self(vec![Diagnostic { key: "scratch", by, asked: super::size(bytes), verdict, granted: None, rule }])
    }
}

impl std::error::Error for Denied {}

impl fmt::Display for Denied {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let denied = self.0.iter().filter(|finding| finding.verdict == Verdict::Denied);
        for (at, finding) in denied.enumerate() {
            if at > 0 {
                formatter.write_str("; ")?;
            }
            write!(formatter, "{finding}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, by, asked, rule, .. } = self;
        write!(formatter, "{key} {asked} of the {by}: {rule}")
    }
}

impl fmt::Display for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Operator => "operator",
            Self::Manifest => "manifest",
            Self::Caller => "caller",
        })
    }
}

/// What is found while a policy comes about.
#[derive(Debug, Default)]
pub(super) struct Notes(Vec<Diagnostic>);

impl Notes {
    pub(super) fn into_findings(self) -> Vec<Diagnostic> {
        self.0
    }

    /// A limit that is asked to be above what stands above it.
    pub(super) fn limit(
        &mut self,
        key: &'static str,
        by: Source,
        asked: String,
        granted: String,
        rule: String,
        clamps: bool,
    ) {
        let (verdict, granted) = if clamps { (Verdict::Clamped, Some(granted)) } else { (Verdict::Denied, None) };
        self.0.push(Diagnostic { key, by, asked, verdict, granted, rule });
    }

    /// A mount that is not granted: a denial where it `denies`, else it is left out.
    pub(super) fn mount(&mut self, by: Source, asked: &super::MountRequest, denies: bool, rule: String) {
        let verdict = if denies { Verdict::Denied } else { Verdict::Clamped };
        let what = asked.name.as_ref().or(asked.path.as_ref()).map_or("a mount", String::as_str);
        let asked = format!("{what} ({})", asked.access);
        self.0.push(Diagnostic { key: "mounts", by, asked, verdict, granted: None, rule });
    }

    /// Those of `asked` that `rule` allows. Of any other the finding is a denial where it `denies`, else it is left out.
    pub(super) fn granted<T: Clone + fmt::Debug + Named>(
        &mut self,
        key: &'static str,
        by: Source,
        asked: &[T],
        denies: bool,
        rule: impl Fn(&T) -> Result<(), String>,
    ) -> Vec<T> {
        let mut granted = Vec::new();
        for one in asked {
            match rule(one) {
                Ok(()) => granted.push(one.clone()),
                Err(rule) => {
                    let verdict = if denies { Verdict::Denied } else { Verdict::Clamped };
                    self.0.push(Diagnostic { key, by, asked: one.name(), verdict, granted: None, rule });
                }
            }
        }
        granted
    }

    /// What is granted of what a manifest and then a caller ask for: what `of_operator` allows, and to a caller only what a list of the
    /// manifest `covers`, if there is one.
    pub(super) fn granted_in_turn<T: Clone + fmt::Debug + Named>(
        &mut self,
        key: &'static str,
        [manifest, caller]: [Option<&[T]>; 2],
        lenient: bool,
        of_operator: impl Fn(&T) -> Result<(), String>,
        covers: impl Fn(&T, &T) -> bool,
    ) -> Vec<T> {
        let wanted = manifest.map(|asked| self.granted(key, Source::Manifest, asked, !lenient, &of_operator));
        let Some(asked) = caller else { return wanted.unwrap_or_default() };
        self.granted(key, Source::Caller, asked, true, |asked| match &wanted {
            Some(wanted) if !wanted.iter().any(|wanted| covers(wanted, asked)) => {
                Err("the manifest does without it".to_owned())
            }
            _ => of_operator(asked),
        })
    }
}

/// What is asked for by a name.
pub(super) trait Named {
    fn name(&self) -> String;
}

impl Named for String {
    fn name(&self) -> String {
        self.clone()
    }
}
