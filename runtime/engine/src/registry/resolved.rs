//! [`ResolvedHandler`]: what a name resolves to at one moment.

use std::sync::Arc;

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
}

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
        Self { name, handler, info, source, created, totals: Arc::default() }
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

    /// Returns when the handler was registered.
    pub fn created(&self) -> Timestamp {
        self.created
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
            service: self.role() == Role::Service,
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
        ResolvedHandler { name, handler, info, source: Source::CatchAll, created: self.created, totals }
    }
}
