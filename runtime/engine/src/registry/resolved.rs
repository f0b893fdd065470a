//! [`ResolvedHandler`]: what a name resolves to at one moment.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use capstan_core::policy::{Ceiling, Denied, Policy, PolicyRequest};
use jiff::Timestamp;
use serde::{Serialize, Serializer};

use super::totals::{Totals, TotalsReport};
use crate::handler::{Handler, HandlerInfo, HandlerName, Role};

/// What a name resolves to at one moment.
#[derive(Debug)]
pub struct ResolvedHandler {
    name: HandlerName,
    handler: Arc<dyn Handler>,
    info: Arc<HandlerInfo>,
    source: Source,
    created: Timestamp,
    totals: Arc<Totals>,
    default_policy: DefaultPolicy,
}

/// The policy of jobs whose callers request nothing of their own: the last one that was computed, with its ceiling.
#[derive(Debug, Default)]
struct DefaultPolicy(ArcSwapOption<(Arc<Ceiling>, Arc<Policy>)>);

/// Where a handler comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// It is part of the daemon. It can be neither replaced nor removed.
    Builtin,
    /// A client pushed it.
    Pushed,
    /// The name is not registered, and the catch-all handler answers to it.
    CatchAll,
}

/// The handler that answers to valid names that are not registered. It has no name itself and is in no list.
#[derive(Clone, Debug)]
pub(super) struct CatchAll {
    handler: Arc<dyn Handler>,
    info: Arc<HandlerInfo>,
    created: Timestamp,
    totals: Arc<Totals>,
}

impl ResolvedHandler {
    pub(super) fn new(name: HandlerName, handler: Arc<dyn Handler>, source: Source, created: Timestamp) -> Self {
        let info = Arc::new(handler.info());
        Self { name, handler, info, source, created, totals: Arc::default(), default_policy: DefaultPolicy::default() }
    }

    /// Returns `self` with the totals of `old`, which it replaces.
    pub(super) fn replacing(self, old: &Self) -> Self {
        Self { totals: old.totals.clone(), ..self }
    }

    /// Returns the name.
    pub fn name(&self) -> &HandlerName {
        &self.name
    }

    /// Returns what runs.
    pub fn handler(&self) -> &Arc<dyn Handler> {
        &self.handler
    }

    /// Returns the description of the handler.
    pub fn info(&self) -> &Arc<HandlerInfo> {
        &self.info
    }

    /// Returns how the engine treats its jobs.
    pub fn role(&self) -> Role {
        self.handler.role()
    }

    /// Returns where the handler comes from.
    pub fn source(&self) -> Source {
        self.source
    }

    /// Returns what its jobs have used.
    pub fn totals(&self) -> &Totals {
        &self.totals
    }

    /// Returns the policy of a job of the handler, whose caller requests `requested`.
    ///
    /// # Errors
    /// [`Denied`]
    pub(crate) fn policy(&self, ceiling: &Arc<Ceiling>, requested: &PolicyRequest) -> Result<Arc<Policy>, Denied> {
        let compute = || {
            let policy =
                ceiling.evaluate(self.name.as_str(), self.handler.policy_request(), requested).into_policy()?;
            Ok(Arc::new(policy))
        };
        if *requested == PolicyRequest::EMPTY {
            self.default_policy.get_or_compute(ceiling, compute)
        } else {
            compute()
        }
    }

    /// Returns when the handler was registered.
    pub fn created(&self) -> Timestamp {
        self.created
    }
}

impl DefaultPolicy {
    /// Returns the policy for `ceiling`, which is computed only if the last one was for another.
    fn get_or_compute(
        &self,
        ceiling: &Arc<Ceiling>,
        compute: impl FnOnce() -> Result<Arc<Policy>, Denied>,
    ) -> Result<Arc<Policy>, Denied> {
        if let Some(last) = &*self.0.load()
            && Arc::ptr_eq(&last.0, ceiling)
        {
            return Ok(last.1.clone());
        }
        let policy = compute()?;
        self.0.store(Some(Arc::new((ceiling.clone(), policy.clone()))));
        Ok(policy)
    }
}

/// Serializes the handler as lists show it.
impl Serialize for ResolvedHandler {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Listed<'a> {
            name: &'a str,
            source: Source,
            #[serde(flatten)]
            info: &'a HandlerInfo,
            created: String,
            service: bool,
            totals: TotalsReport,
        }
        let listed = Listed {
            name: self.name.as_str(),
            source: self.source,
            info: &self.info,
            created: format!("{:.9}", self.created),
            service: self.handler().is_reserved(),
            totals: self.totals.report(),
        };
        listed.serialize(serializer)
    }
}

impl CatchAll {
    pub(super) fn new(handler: Arc<dyn Handler>) -> Self {
        Self { info: Arc::new(handler.info()), handler, created: Timestamp::now(), totals: Arc::default() }
    }

    pub(super) fn resolve(&self, name: HandlerName) -> ResolvedHandler {
        let (handler, info, totals) = (self.handler.clone(), self.info.clone(), self.totals.clone());
        ResolvedHandler {
            name,
            handler,
            info,
            source: Source::CatchAll,
            created: self.created,
            totals,
            default_policy: DefaultPolicy::default(),
        }
    }
}
