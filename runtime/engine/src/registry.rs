//! The registry of handlers: names and what they resolve to.
//!
//! Readers take a snapshot and never wait. Writers take a lock, build the next snapshot and publish it. A job keeps the handler that it was
//! bound to, so that replacing or removing a handler leaves running jobs on the old code.

mod resolved;
mod totals;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use capstan_core::manifest::ManifestRoute;
use jiff::Timestamp;

use self::resolved::CatchAll;
pub use self::resolved::{ResolvedHandler, Source};
pub use self::totals::{Totals, TotalsReport};
use crate::handler::{Handler, HandlerName, InvalidName};
use crate::routes::{RouteTable, RoutesError};

/// What must hold for a handler to be put under a name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Precondition {
    #[default]
    None,
    /// The name is not registered.
    Absent,
    /// The name is registered.
    Present,
    /// The registered handler has one of these [versions](crate::handler::HandlerInfo::version).
    Digest(Vec<String>),
}

/// Why the registry was not changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegistryError {
    #[error(transparent)]
    InvalidName(#[from] InvalidName),
    #[error("handler {0} is already registered")]
    Duplicate(HandlerName),
    #[error("a catch-all handler is already registered")]
    DuplicateCatchAll,
    #[error("handler {0} is built in and can be neither replaced nor removed")]
    Builtin(HandlerName),
    #[error("no handler {0}")]
    Unknown(String),
    #[error("handler {0} does not match the precondition of the request")]
    Precondition(HandlerName),
    #[error(transparent)]
    Routes(#[from] RoutesError),
}

/// The result of [`Registry::put`].
#[derive(Clone, Debug)]
pub struct PutResult {
    pub resolved: Arc<ResolvedHandler>,
    /// Whether it replaced another handler.
    pub replaced: bool,
}

/// All handlers by name.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    snapshot: ArcSwap<Snapshot>,
    writer: Mutex<()>,
}

#[derive(Clone, Debug, Default)]
struct Snapshot {
    handlers: BTreeMap<HandlerName, Arc<ResolvedHandler>>,
    catch_all: Option<CatchAll>,
    /// The routes of all handlers.
    routes: Arc<RouteTable>,
}

impl Registry {
    pub(crate) fn get(&self, name: &str) -> Option<Arc<ResolvedHandler>> {
        let snapshot = self.snapshot.load();
        let registered = snapshot.handlers.get(name).cloned();
        registered.or_else(|| Some(Arc::new(snapshot.catch_all.as_ref()?.resolve(HandlerName::new(name).ok()?))))
    }

    pub(crate) fn list(&self) -> Vec<Arc<ResolvedHandler>> {
        self.snapshot.load().handlers.values().cloned().collect()
    }

    pub(crate) fn count(&self) -> usize {
        self.snapshot.load().handlers.len()
    }

    /// Registers all of `bundle` under names that are free, or nothing.
    pub(crate) fn install(
        &self,
        bundle: Vec<(HandlerName, Arc<dyn Handler>)>,
        source: Source,
    ) -> Result<(), RegistryError> {
        let created = Timestamp::now();
        self.add(bundle.into_iter().map(|(name, handler)| ResolvedHandler::new(name, handler, source, created)))
    }

    /// Registers the handler for names that are not registered. The first registered one stays.
    pub(crate) fn install_catch_all(&self, handler: Arc<dyn Handler>) -> Result<(), RegistryError> {
        let catch_all = CatchAll::new(handler);
        self.change(|next| match next.catch_all {
            Some(_) => Err(RegistryError::DuplicateCatchAll),
            None => {
                next.catch_all = Some(catch_all);
                Ok(())
            }
        })
    }

    /// Registers pushed handlers with the times that they had, or nothing.
    pub(crate) fn restore(
        &self,
        handlers: Vec<(HandlerName, Arc<dyn Handler>, Timestamp)>,
    ) -> Result<(), RegistryError> {
        let handlers = handlers.into_iter();
        self.add(handlers.map(|(name, handler, created)| ResolvedHandler::new(name, handler, Source::Pushed, created)))
    }

    fn add(&self, all: impl Iterator<Item = ResolvedHandler>) -> Result<(), RegistryError> {
        self.change(|next| {
            for resolved in all {
                let name = resolved.name().clone();
                if next.handlers.insert(name.clone(), Arc::new(resolved)).is_some() {
                    return Err(RegistryError::Duplicate(name));
                }
            }
            next.routes = Arc::new(next.all_routes(None));
            Ok(())
        })
    }

    /// Registers `handler` as `name`, and replaces the handler that has the name.
    pub(crate) fn put(
        &self,
        name: HandlerName,
        handler: Arc<dyn Handler>,
        created: Timestamp,
        precondition: &Precondition,
    ) -> Result<PutResult, RegistryError> {
        self.change(|next| {
            let old = next.handlers.get(&name);
            precondition.check(&name, old)?;
            let replaced = old.is_some();
            let resolved = ResolvedHandler::new(name.clone(), handler, Source::Pushed, created);
            let resolved = Arc::new(match old {
                Some(old) => resolved.replacing(old),
                None => resolved,
            });
            let mut routes = next.routes_without(&name);
            routes.add(&name, resolved.handler().routes())?;
            next.routes = Arc::new(routes);
            next.handlers.insert(name, resolved.clone());
            Ok(PutResult { resolved, replaced })
        })
    }

    /// Returns the routes of all handlers.
    pub(crate) fn routes(&self) -> Arc<RouteTable> {
        self.snapshot.load().routes.clone()
    }

    /// Checks that a handler with these routes may be put under `name` now.
    pub(crate) fn check_routes(&self, name: &HandlerName, routes: &[ManifestRoute]) -> Result<(), RegistryError> {
        Ok(self.snapshot.load().routes_without(name).add(name, routes)?)
    }

    /// Returns the error that `put` would return now.
    pub(crate) fn check_put(&self, name: &HandlerName, precondition: &Precondition) -> Result<(), RegistryError> {
        precondition.check(name, self.snapshot.load().handlers.get(name))
    }

    pub(crate) fn remove(
        &self,
        name: &str,
        precondition: &Precondition,
    ) -> Result<Arc<ResolvedHandler>, RegistryError> {
        self.change(|next| {
            let old = next.handlers.get(name).cloned().ok_or_else(|| RegistryError::Unknown(name.to_owned()))?;
            precondition.check(old.name(), Some(&old))?;
            next.routes = Arc::new(next.routes_without(old.name()));
            next.handlers.remove(name);
            Ok(old)
        })
    }

    fn change<T>(&self, edit: impl FnOnce(&mut Snapshot) -> Result<T, RegistryError>) -> Result<T, RegistryError> {
        let _one_writer = self.writer.lock().expect("no panic while the lock is held");
        let mut next = Snapshot::clone(&self.snapshot.load());
        let result = edit(&mut next)?;
        self.snapshot.store(Arc::new(next));
        Ok(result)
    }
}

impl Snapshot {
    /// Returns the routes of all handlers but `name`.
    fn routes_without(&self, name: &HandlerName) -> RouteTable {
        self.all_routes(Some(name))
    }

    /// Returns the routes of all handlers but `without`. Those of a stored handler were checked when it was pushed. If they are not valid any
    /// more, it has none.
    fn all_routes(&self, without: Option<&HandlerName>) -> RouteTable {
        let mut table = RouteTable::default();
        for (name, handler) in self.handlers.iter().filter(|(name, _)| Some(*name) != without) {
            if let Err(error) = table.add(name, handler.handler().routes()) {
                tracing::warn!(%name, %error, "the routes of a handler are left out");
            }
        }
        table
    }
}

impl Precondition {
    /// Checks that the handler `old`, which has `name`, may be replaced or removed.
    fn check(&self, name: &HandlerName, old: Option<&Arc<ResolvedHandler>>) -> Result<(), RegistryError> {
        if old.is_some_and(|old| old.source() == Source::Builtin) {
            return Err(RegistryError::Builtin(name.clone()));
        }
        let holds = match self {
            Self::None => true,
            Self::Absent => old.is_none(),
            Self::Present => old.is_some(),
            Self::Digest(digests) => {
                old.and_then(|old| old.info().version()).is_some_and(|version| digests.contains(&version))
            }
        };
        if holds { Ok(()) } else { Err(RegistryError::Precondition(name.clone())) }
    }
}
